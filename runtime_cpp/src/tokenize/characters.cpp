#include "tokenize/characters.hpp"

#include <algorithm>
#include <iterator>

namespace crosstune::core {
namespace {

#include "character_tables.inc"

constexpr char32_t kHangulFirst = 0xAC00, kHangulLast = 0xD7A3;
constexpr char32_t kLeadingJamo = 0x1100, kVowelJamo = 0x1161, kTrailingJamo = 0x11A7;
constexpr char32_t kLeadings = 19, kVowels = 21, kTrailings = 28;  // a trailing jamo of 0 is none

template <typename T, std::size_t N>
std::size_t index_of(const T (&sorted)[N], T value) {
  return static_cast<std::size_t>(std::lower_bound(std::begin(sorted), std::end(sorted), value) - std::begin(sorted));
}

}  // namespace

std::uint16_t properties_of(char32_t code) { return kProperties[std::size_t{kPropertiesBlockOf[code >> 8]} * 256 + (code & 255)]; }

GraphemeClass grapheme_class_of(char32_t code) {
  return static_cast<GraphemeClass>(kGraphemes[std::size_t{kGraphemesBlockOf[code >> 8]} * 256 + (code & 255)]);
}

CodePoints decomposition_of(char32_t code, char32_t* buffer) {
  if (code >= kHangulFirst && code <= kHangulLast) {
    const char32_t syllable = code - kHangulFirst;
    buffer[0] = kLeadingJamo + syllable / (kVowels * kTrailings);
    buffer[1] = kVowelJamo + syllable / kTrailings % kVowels;
    buffer[2] = kTrailingJamo + syllable % kTrailings;
    return {buffer, buffer + (syllable % kTrailings == 0 ? 2 : 3)};
  }
  const std::size_t i = index_of(kDecompositionCodes, code);
  return {kDecompositionPool + kDecompositionStarts[i], kDecompositionPool + kDecompositionStarts[i + 1]};
}

CodePoints compatible_of(char32_t code) {
  const std::size_t i = index_of(kCompatibleCodes, code);
  return {kCompatiblePool + kCompatibleStarts[i], kCompatiblePool + kCompatibleStarts[i + 1]};
}

char32_t composite_of(char32_t first, char32_t second) {
  if (first - kLeadingJamo < kLeadings && second - kVowelJamo < kVowels)
    return kHangulFirst + ((first - kLeadingJamo) * kVowels + (second - kVowelJamo)) * kTrailings;
  if (first >= kHangulFirst && first <= kHangulLast && (first - kHangulFirst) % kTrailings == 0 &&
      second > kTrailingJamo && second - kTrailingJamo < kTrailings)
    return first + (second - kTrailingJamo);
  const std::uint64_t pair = std::uint64_t{first} << 32 | second;
  const std::size_t i = index_of(kPairs, pair);
  return i < std::size(kPairs) && kPairs[i] == pair ? kComposites[i] : 0;
}

CodePoints lower_of(char32_t code) {
  const std::size_t i = index_of(kLowerCodes, code);
  return {kLowerPool + kLowerStarts[i], kLowerPool + kLowerStarts[i + 1]};
}

std::uint8_t rank_of(char32_t mark) { return kRanks[index_of(kRankedMarks, mark)]; }

const char* reference_tokenizer() { return kReference; }

}  // namespace crosstune::core
