// UTF-8: validate, repair, decode and encode.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace crosstune::core {

// Index of the first byte that is not valid UTF-8; the size of `text` when all of it is valid.
std::size_t first_invalid(std::string_view text);

// `text` as valid UTF-8 of at most `max_bytes` bytes. Each maximal part of an invalid sequence becomes U+FFFD, as with
// Python's errors="replace"; a longer text is truncated after a whole code point, and `truncated` tells so. The result is
// a view of `text` or of `buffer`.
std::string_view to_valid_utf8(std::string_view text, std::size_t max_bytes, std::string* buffer, bool* truncated);

// What to say of the first control character other than tab, line feed and carriage return, which no text may have; empty when
// there is none. Positions are in code points.
std::string control_problem(std::string_view text);

void append_utf8(char32_t code, std::string* text);

// Decodes the code point at `*position` and moves `*position` past it. `text` must be valid UTF-8.
inline char32_t next_code_point(std::string_view text, std::size_t* position) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[*position + i]); };
  const char32_t lead = byte(0);
  char32_t code = lead;
  std::size_t size = 1;
  if (lead >= 0xF0) {
    code = (lead & 7) << 18 | (byte(1) & 63u) << 12 | (byte(2) & 63u) << 6 | (byte(3) & 63u);
    size = 4;
  } else if (lead >= 0xE0) {
    code = (lead & 15) << 12 | (byte(1) & 63u) << 6 | (byte(2) & 63u);
    size = 3;
  } else if (lead >= 0x80) {
    code = (lead & 31) << 6 | (byte(1) & 63u);
    size = 2;
  }
  *position += size;
  return code;
}

// The code points of a text, which must be valid UTF-8.
std::u32string code_points_of(std::string_view text);

}  // namespace crosstune::core
