#include "utf8.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace crosstune::core {
namespace {

struct Sequence {
  std::size_t size;  // in bytes; of an invalid sequence, its maximal part
  bool valid;
};

// The sequence that starts at `start`, by table 3-7 of the Unicode standard.
Sequence sequence_at(std::string_view text, std::size_t start) {
  const auto lead = static_cast<unsigned char>(text[start]);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < size; ++i) {
    if (start + i == text.size()) return {i, false};
    const auto byte = static_cast<unsigned char>(text[start + i]);
    if (byte < low || byte > high) return {i, false};
    low = 0x80;
    high = 0xBF;
  }
  return {size, true};
}

std::size_t skip_ascii(std::string_view text, std::size_t position) {
  while (position + 8 <= text.size()) {
    std::uint64_t eight;
    std::memcpy(&eight, text.data() + position, 8);
    if ((eight & 0x8080808080808080u) != 0) break;
    position += 8;
  }
  return position;
}

}  // namespace

std::size_t first_invalid(std::string_view text) {
  std::size_t position = 0;
  while (position < text.size()) {
    position = skip_ascii(text, position);
    if (position == text.size()) break;
    const Sequence sequence = sequence_at(text, position);
    if (!sequence.valid) return position;
    position += sequence.size;
  }
  return position;
}

std::string_view to_valid_utf8(std::string_view text, std::size_t max_bytes, std::string* buffer, bool* truncated) {
  *truncated = false;
  // Four bytes more than are kept show whether the last sequence is complete; a long text need not be read further.
  const std::size_t valid = first_invalid(text.substr(0, max_bytes + 4));
  if (valid == text.size() && valid <= max_bytes) return text;
  buffer->clear();
  std::size_t position = 0;
  while (position < text.size()) {
    const Sequence sequence = sequence_at(text, position);
    const std::string_view piece = sequence.valid ? text.substr(position, sequence.size) : "\xEF\xBF\xBD";
    if (buffer->size() + piece.size() > max_bytes) {
      *truncated = true;
      break;
    }
    buffer->append(piece);
    position += sequence.size;
  }
  return *buffer;
}

std::string control_problem(std::string_view text) {
  std::size_t position = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x80 && byte < 0xC0) continue;  // within a code point
    const unsigned next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    const bool is_c1 = byte == 0xC2 && next >= 0x80 && next < 0xA0;
    if (is_c1 || byte == 0x7F || (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r')) {
      char code[8];
      std::snprintf(code, sizeof code, "U+%04X", is_c1 ? next : byte);
      return std::string("has the control character ") + code + " at position " + std::to_string(position) + ". Remove it.";
    }
    ++position;
  }
  return "";
}

void append_utf8(char32_t code, std::string* text) {
  const auto append = [text](char32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    append(code);
  } else if (code < 0x800) {
    append(0xC0 | code >> 6);
    append(0x80 | (code & 63));
  } else if (code < 0x10000) {
    append(0xE0 | code >> 12);
    append(0x80 | (code >> 6 & 63));
    append(0x80 | (code & 63));
  } else {
    append(0xF0 | code >> 18);
    append(0x80 | (code >> 12 & 63));
    append(0x80 | (code >> 6 & 63));
    append(0x80 | (code & 63));
  }
}

std::u32string code_points_of(std::string_view text) {
  std::u32string codes;
  codes.reserve(text.size());
  for (std::size_t position = 0; position < text.size();) codes.push_back(next_code_point(text, &position));
  return codes;
}

}  // namespace crosstune::core
