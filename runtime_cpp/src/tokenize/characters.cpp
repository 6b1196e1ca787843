#include "tokenize/characters.hpp"

#include <algorithm>
#include <iterator>

namespace crosstune::core {
namespace {

#include "character_tables.inc"

constexpr char32_t kHangulFirst = 0xAC00, kHangulLast = 0xD7A3;

template <std::size_t N>
std::size_t index_of(const char32_t (&sorted)[N], char32_t code) {
  return static_cast<std::size_t>(std::lower_bound(std::begin(sorted), std::end(sorted), code) - std::begin(sorted));
}

}  // namespace

std::uint16_t properties_of(char32_t code) { return kProperties[std::size_t{kBlockOf[code >> 8]} * 256 + (code & 255)]; }

CodePoints decomposition_of(char32_t code, char32_t* buffer) {
  if (code >= kHangulFirst && code <= kHangulLast) {
    const char32_t syllable = code - kHangulFirst;
    buffer[0] = 0x1100 + syllable / 588;
    buffer[1] = 0x1161 + syllable % 588 / 28;
    buffer[2] = 0x11A7 + syllable % 28;
    return {buffer, buffer + (syllable % 28 == 0 ? 2 : 3)};
  }
  const std::size_t i = index_of(kDecompositionCodes, code);
  return {kDecompositionPool + kDecompositionStarts[i], kDecompositionPool + kDecompositionStarts[i + 1]};
}

CodePoints lower_of(char32_t code) {
  const std::size_t i = index_of(kLowerCodes, code);
  return {kLowerPool + kLowerStarts[i], kLowerPool + kLowerStarts[i + 1]};
}

std::uint8_t rank_of(char32_t mark) { return kRanks[index_of(kRankedMarks, mark)]; }

const char* reference_tokenizer() { return kReference; }

}  // namespace crosstune::core
