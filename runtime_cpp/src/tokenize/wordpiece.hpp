// BERT's WordPiece tokenizer. It gives exactly the ids of the `tokenizers` library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "bundle/json_reader.hpp"
#include "tokenize/bert_normalizer.hpp"
#include "tokenize/tokenizer.hpp"
#include "tokenize/vocabulary.hpp"

namespace crosstune::core {

class WordPiece : public Tokenizer {
 public:
  // `model` is the "model" of a tokenizer.json, `largest_added_id` the largest id of its special tokens. Throws Failure.
  WordPiece(const JsonReader& model, const NormalizerSteps& steps, std::int32_t largest_added_id);

  void append_ids(std::string_view text, std::size_t max_ids, std::vector<std::int32_t>* ids) const override;
  std::int32_t largest_id() const override { return largest_id_; }

 private:
  class WordBuilder;

  void append_word(std::string_view word, std::size_t characters, std::vector<std::int32_t>* ids) const;

  NormalizerSteps steps_;
  std::size_t max_word_characters_;
  std::int32_t unknown_id_, largest_id_;
  PrefixTable first_pieces_, later_pieces_;
  std::uint8_t ascii_actions_[128];  // see kDropped and the following in wordpiece.cpp
};

}  // namespace crosstune::core
