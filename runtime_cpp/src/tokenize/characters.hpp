// What the reference tokenizer does with each code point. tools/make_character_tables.py generates the tables.
#pragma once

#include <cstdint>

namespace crosstune::core {

// Bits of properties_of(). The generator uses the same names.
enum Property : std::uint16_t {
  kRemoved = 1 << 0,      // clean_text removes it
  kSpace = 1 << 1,        // clean_text replaces it by a space
  kChinese = 1 << 2,      // handle_chinese_chars puts spaces around it
  kStripped = 1 << 3,     // strip_accents removes it
  kMark = 1 << 4,         // a combining mark: adjacent marks are sorted
  kDecomposes = 1 << 5,   // decomposition_of() changes it
  kLowers = 1 << 6,       // lower_of() changes it
  kWhitespace = 1 << 7,   // it ends a word
  kPunctuation = 1 << 8,  // it is a word of its own
  kLetter = 1 << 9,       // the expression \p{L} matches it
  kNumber = 1 << 10,      // the expression \p{N} matches it
  kCombines = 1 << 11,    // StripAccents removes it
  kCompatible = 1 << 12,  // compatible_of() changes it
  kComposes = 1 << 13,    // NFC may change it, or what is before it
};

// Classes of code points for grapheme clusters. The generator uses the same order.
enum class GraphemeClass : std::uint8_t {
  kOther, kControl, kPrepend, kExtend, kLinker, kNonJoiner, kJoiner, kSpacing, kPictograph,
  kHangulL, kHangulV, kHangulT, kHangulLv, kHangulLvt, kConsonant,
};

// A range of code points in a table.
struct CodePoints {
  const char32_t* first;
  const char32_t* last;
  const char32_t* begin() const { return first; }
  const char32_t* end() const { return last; }
};

// The properties of a code point, which must not exceed U+10FFFF.
std::uint16_t properties_of(char32_t code);

// The full canonical decomposition of a code point with kDecomposes. `buffer` has room for three code points.
CodePoints decomposition_of(char32_t code, char32_t* buffer);

// The full compatibility decomposition of a code point with kCompatible.
CodePoints compatible_of(char32_t code);

// What two code points become in NFC; 0 if they stay two.
char32_t composite_of(char32_t first, char32_t second);

GraphemeClass grapheme_class_of(char32_t code);

// The lower case of a code point with kLowers.
CodePoints lower_of(char32_t code);

// The rank of a mark: marks are sorted by rank, and equal ranks keep their order.
std::uint8_t rank_of(char32_t mark);

// The library from which the tables were made, for example "tokenizers 0.23.3".
const char* reference_tokenizer();

}  // namespace crosstune::core
