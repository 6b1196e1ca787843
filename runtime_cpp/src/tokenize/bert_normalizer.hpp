// What BERT does to characters before it looks for words: cleaning, Chinese, accents, lower case.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tokenize/characters.hpp"
#include "bundle/json_reader.hpp"

namespace crosstune::core {

// The steps that are on, in the order in which they happen.
struct NormalizerSteps {
  bool clean_text, handle_chinese_chars, strip_accents, lowercase;
};

// Throws Failure.
NormalizerSteps read_normalizer(const JsonReader& normalizer);

// Normalizes a text a code point at a time. `Sink` is called as sink(code) for each code point that comes out.
template <typename Sink>
class BertNormalizer {
 public:
  BertNormalizer(const NormalizerSteps& steps, Sink sink) : steps_(steps), sink_(sink) {}

  void put(char32_t code) {
    std::uint16_t properties = properties_of(code);
    if (steps_.clean_text) {
      if (properties & kRemoved) return;
      if (properties & kSpace) properties = properties_of(code = U' ');
    }
    const bool chinese = steps_.handle_chinese_chars && (properties & kChinese);
    if (chinese) strip(U' ', properties_of(U' '));
    if (steps_.strip_accents && (properties & kDecomposes)) {
      char32_t buffer[3];
      for (const char32_t part : decomposition_of(code, buffer)) strip(part, properties_of(part));
    } else {
      strip(code, properties);
    }
    if (chinese) strip(U' ', properties_of(U' '));
  }

  // To be called once, after the last code point.
  void finish() { release_marks(); }

 private:
  struct RankedMark {
    std::uint8_t rank;
    char32_t code;
  };

  void strip(char32_t code, std::uint16_t properties) {
    if (!steps_.strip_accents) return lower(code, properties);
    if (properties & kMark) {  // the order of marks is known when the next character without a class comes
      if (!(properties & kStripped)) marks_.push_back({rank_of(code), code});
      return;
    }
    release_marks();
    if (!(properties & kStripped)) lower(code, properties);
  }

  void release_marks() {
    if (marks_.empty()) return;
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const RankedMark& a, const RankedMark& b) { return a.rank < b.rank; });
    for (const RankedMark& mark : marks_) lower(mark.code, properties_of(mark.code));
    marks_.clear();
  }

  void lower(char32_t code, std::uint16_t properties) {
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
