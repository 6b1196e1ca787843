// BERT's text normalization, before the text is split into words: cleaning, Chinese characters, accents, lower case.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "bundle/json_reader.hpp"
#include "tokenize/characters.hpp"

namespace crosstune::core {

// Which steps are enabled, in the order in which they run.
struct NormalizerSteps {
  bool clean_text, handle_chinese_chars, strip_accents, lowercase;
};

// Reads the "normalizer" of a tokenizer.json. Throws Failure.
NormalizerSteps read_normalizer(const JsonReader& normalizer);

// Normalizes a text one code point at a time and calls sink(code) for each code point of the result.
template <typename Sink>
class BertNormalizer {
 public:
  BertNormalizer(const NormalizerSteps& steps, Sink sink) : steps_(steps), sink_(sink) {}

  void add(char32_t code) {
    std::uint16_t properties = properties_of(code);
    if (steps_.clean_text) {
      if (properties & kRemoved) return;
      if (properties & kSpace) properties = properties_of(code = U' ');
    }
    const bool is_chinese = steps_.handle_chinese_chars && (properties & kChinese);
    if (is_chinese) strip_accent(U' ', properties_of(U' '));
    if (steps_.strip_accents && (properties & kDecomposes)) {
      char32_t buffer[3];
      for (const char32_t part : decomposition_of(code, buffer)) strip_accent(part, properties_of(part));
    } else {
      strip_accent(code, properties);
    }
    if (is_chinese) strip_accent(U' ', properties_of(U' '));
  }

  // Emits the combining marks whose order was still open. Call it after the last code point.
  void flush_marks() {
    if (marks_.empty()) return;
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const RankedMark& a, const RankedMark& b) { return a.rank < b.rank; });
    for (const RankedMark& mark : marks_) lowercase(mark.code, properties_of(mark.code));
    marks_.clear();
  }

 private:
  struct RankedMark {
    std::uint8_t rank;
    char32_t code;
  };

  void strip_accent(char32_t code, std::uint16_t properties) {
    if (!steps_.strip_accents) return lowercase(code, properties);
    if (properties & kMark) {  // marks are sorted, so they wait for the next character that is none
      if (!(properties & kStripped)) marks_.push_back({rank_of(code), code});
      return;
    }
    flush_marks();
    if (!(properties & kStripped)) lowercase(code, properties);
  }

  void lowercase(char32_t code, std::uint16_t properties) {
    if (steps_.lowercase && (properties & kLowers)) {
      for (const char32_t part : lower_of(code)) sink_(part);
    } else {
      sink_(code);
    }
  }

  const NormalizerSteps steps_;
  Sink sink_;
  std::vector<RankedMark> marks_;
};

}  // namespace crosstune::core
