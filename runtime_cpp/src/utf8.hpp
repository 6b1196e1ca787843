// UTF-8: checking, repairing, reading and writing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace crosstune::core {

// Where the first sequence starts that is not UTF-8; the size of `text` when there is none.
std::size_t first_invalid(std::string_view text);

// `text` with each maximal part of a broken sequence replaced by U+FFFD, as Python's errors="replace" has it, then cut to
// at most `max_bytes`, back to the last whole code point. The result may point into `buffer`. `cut` tells whether
// something was cut.
std::string_view repaired(std::string_view text, std::size_t max_bytes, std::string* buffer, bool* cut);

void append_utf8(char32_t code, std::string* text);

// The code point at `*position` of valid UTF-8, which is moved behind it.
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

}  // namespace crosstune::core
