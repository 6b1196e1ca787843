// The pre-tokenizer of a tokenizer.json: steps that each split a text into smaller pieces.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/json_reader.hpp"

namespace crosstune::core {

// Pieces of a text, one after the other. No piece is empty.
class Pieces {
 public:
  void add(std::u32string_view piece) {
    text_.append(piece);
    end_piece();
  }
  void add_to_piece(char32_t code) { text_.push_back(code); }
  void end_piece() {
    if (text_.size() > (ends_.empty() ? 0 : ends_.back())) ends_.push_back(text_.size());
  }

  std::size_t size() const { return ends_.size(); }
  std::u32string_view operator[](std::size_t i) const {
    const std::size_t start = i == 0 ? 0 : ends_[i - 1];
    return std::u32string_view(text_).substr(start, ends_[i] - start);
  }

 private:
  std::u32string text_;
  std::vector<std::size_t> ends_;
};

class PreTokenizer {
 public:
  // `file` is the whole tokenizer.json, `byte_level` whether its model needs pieces of bytes. Throws Failure.
  PreTokenizer(const JsonReader& file, bool byte_level);

  Pieces split(std::u32string_view text) const;

 private:
  using Step = std::function<void(std::u32string_view, Pieces*)>;

  static Step step(const JsonReader& part);

  std::vector<Step> steps_;
};

}  // namespace crosstune::core
