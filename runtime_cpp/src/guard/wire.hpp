// A reader for the protobuf wire format, sufficient to walk an ONNX file. It copies nothing and never reads past the message.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace crosstune::core {

// Says why bytes are not a valid message, or not one that the rules allow.
class WireError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class WireKind : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct WireField {
  std::uint32_t number = 0;
  WireKind kind = WireKind::kVarint;
  std::uint64_t value = 0;  // of a varint
  std::string_view bytes;   // of every other kind
};

// Decodes the varint at `*offset` and moves `*offset` past it. Throws WireError.
std::uint64_t read_varint(std::string_view message, std::size_t* offset);

// Iterates over the fields of a message.
class WireReader {
 public:
  explicit WireReader(std::string_view message) : message_(message) {}

  // Reads the next field; false at the end. Throws WireError.
  bool next(WireField* field);

 private:
  std::string_view message_;
  std::size_t offset_ = 0;
};

}  // namespace crosstune::core
