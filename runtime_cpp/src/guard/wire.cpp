#include "guard/wire.hpp"

#include <string>

namespace crosstune::core {

std::uint64_t read_varint(std::string_view message, std::size_t* offset) {
  std::uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    if (*offset >= message.size() || shift > 63) throw WireError("no whole number at byte " + std::to_string(*offset));
    const auto byte = static_cast<unsigned char>(message[(*offset)++]);
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte >= 0x80) continue;
    if (shift == 63 && byte > 1) throw WireError("a number beyond 64 bits before byte " + std::to_string(*offset));
    return value;
  }
}

bool WireReader::next(WireField* field) {
  if (offset_ >= message_.size()) return false;
  const std::size_t start = offset_;
  const auto position = [start] { return " at byte " + std::to_string(start); };
  const std::uint64_t tag = read_varint(message_, &offset_);
  if (tag > 0xFFFFFFFFu || tag < 8) throw WireError("no field " + std::to_string(tag >> 3) + position());
  field->number = static_cast<std::uint32_t>(tag >> 3);
  field->kind = static_cast<WireKind>(tag & 7);
  field->value = 0;
  field->bytes = {};
  std::uint64_t size = 0;
  switch (field->kind) {
    case WireKind::kVarint: field->value = read_varint(message_, &offset_); return true;
    case WireKind::kBytes: size = read_varint(message_, &offset_); break;
    case WireKind::kFixed32: size = 4; break;
    case WireKind::kFixed64: size = 8; break;
    default: throw WireError("wire type " + std::to_string(tag & 7) + position());
  }
  if (size > message_.size() - offset_) throw WireError("field " + std::to_string(field->number) + " ends beyond the message");
  field->bytes = message_.substr(offset_, size);
  offset_ += size;
  return true;
}

}  // namespace crosstune::core
