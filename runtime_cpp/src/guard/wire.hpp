// Just enough of the protobuf wire format to walk an ONNX file. Nothing is copied, and no read leaves its message.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace crosstune::core {

// Why bytes are not a message, or not one that is wanted.
class WireError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class WireKind : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct WireField {
  std::uint32_t number = 0;
  WireKind kind = WireKind::kVarint;
  std::uint64_t value = 0;  // of a varint
  std::string_view bytes;   // the contents of all others
};

// The number that begins at `*at`, which is moved behind it. Throws WireError.
std::uint64_t read_varint(std::string_view message, std::size_t* at);

// The fields of a message in their order.
class WireReader {
 public:
  explicit WireReader(std::string_view message) : message_(message) {}

  // False at the end. Throws WireError.
  bool next(WireField* field);

 private:
  std::string_view message_;
  std::size_t at_ = 0;
};

}  // namespace crosstune::core
