// One protobuf message of an ONNX file, checked against its rules.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "guard/graph_rules.hpp"
#include "guard/wire.hpp"

namespace crosstune::core {

class Message {
 public:
  // Refuses fields that `rules` do not list, other wire types, and repetitions of single fields. `bytes` must outlive the
  // message. Throws WireError.
  Message(std::string_view bytes, const MessageRules& rules);

  // Calls `use(field)` for each field with this number. Walks the bytes each time, because a hostile message may hold
  // millions of fields.
  template <typename Use>
  void each(std::uint32_t number, Use use) const {
    WireReader reader(bytes_);
    WireField field;
    while (reader.next(&field))
      if (field.number == number) use(field);
  }

  std::optional<WireField> find(std::uint32_t number) const;

  // The value of a single field: "" or 0 when it is missing.
  std::string string(std::uint32_t number) const;
  std::uint64_t number(std::uint32_t number) const;

 private:
  std::string_view bytes_;
};

// The field's bytes as UTF-8. Throws WireError when they are not.
std::string string_of(const WireField& field);

// The error that a field must hold bytes.
WireError not_bytes(const WireField& field);

// Checks the metadata entries in a field; their contents are ignored.
void check_entries(const Message& message, std::uint32_t number);

// A name from the graph for an error message: in quotes, on one line, at most 60 bytes.
std::string quoted(std::string_view name);

// The same without quotes.
std::string escaped(std::string_view name);

// `text`, truncated to `max_bytes` bytes of valid UTF-8.
std::string at_most(std::size_t max_bytes, const std::string& text);

}  // namespace crosstune::core
