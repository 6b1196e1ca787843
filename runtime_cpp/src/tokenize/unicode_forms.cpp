#include "tokenize/unicode_forms.hpp"

#include <algorithm>
#include <cstdint>

#include "tokenize/characters.hpp"

namespace crosstune::core {
namespace {

std::uint8_t rank(char32_t code) { return properties_of(code) & kMark ? rank_of(code) : 0; }

// Puts marks that follow each other into the order of their ranks.
void sort_marks(std::u32string* text) {
  const auto is_mark = [](char32_t code) { return (properties_of(code) & kMark) != 0; };
  auto first = std::find_if(text->begin(), text->end(), is_mark);
  while (first != text->end()) {
    const auto last = std::find_if_not(first, text->end(), is_mark);
    std::stable_sort(first, last, [](char32_t a, char32_t b) { return rank_of(a) < rank_of(b); });
    first = std::find_if(last, text->end(), is_mark);
  }
}

void decompose(std::u32string* text, bool compatible) {
  std::u32string parts;
  parts.reserve(text->size());
  for (const char32_t code : *text) {
    const std::uint16_t properties = properties_of(code);
    char32_t buffer[3];
    if (compatible && (properties & kCompatible)) {
      for (const char32_t part : compatible_of(code)) parts.push_back(part);
    } else if (properties & kDecomposes) {
      for (const char32_t part : decomposition_of(code, buffer)) parts.push_back(part);
    } else {
      parts.push_back(code);
    }
  }
  sort_marks(&parts);
  *text = std::move(parts);
}

// Composes each starter with the marks and jamo behind it, unless something of the same rank or a higher one is between.
void compose(std::u32string* text) {
  constexpr std::size_t kNone = std::u32string::npos;
  std::size_t starter = kNone, size = 0;
  std::uint8_t last_rank = 0;
  for (const char32_t code : *text) {
    const std::uint8_t own_rank = rank(code);
    if (starter != kNone && (last_rank == 0 || last_rank < own_rank)) {
      if (const char32_t composite = composite_of((*text)[starter], code)) {
        (*text)[starter] = composite;
        continue;
      }
    }
    if (own_rank == 0) starter = size;
    last_rank = own_rank;
    (*text)[size++] = code;
  }
  text->resize(size);
}

}  // namespace

void normalize_to(UnicodeForm form, std::u32string* text) {
  const bool composed = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const int changing = (composed ? kComposes : kDecomposes | kMark) | (compatible ? kCompatible : 0);
  if (std::none_of(text->begin(), text->end(), [=](char32_t code) { return properties_of(code) & changing; })) return;
  decompose(text, compatible);
  if (composed) compose(text);
}

}  // namespace crosstune::core
