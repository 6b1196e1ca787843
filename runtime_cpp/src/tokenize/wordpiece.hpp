// WordPiece with the words of BERT, equal to the `tokenizers` library id for id.
#pragma once

#include "tokenize/bert_normalizer.hpp"
#include "bundle/json_reader.hpp"
#include "tokenize/tokenizer.hpp"
#include "tokenize/vocabulary.hpp"

namespace crosstune::core {

class WordPiece : public Tokenizer {
 public:
  // `model` is the "model" of a tokenizer.json, `largest_added_id` that of its special tokens. Throws Failure.
  WordPiece(const JsonReader& model, const NormalizerSteps& steps, std::int32_t largest_added_id);

  void append_ids(std::string_view text, std::size_t enough, std::vector<std::int32_t>* ids) const override;
  std::int32_t largest_id() const override { return largest_id_; }

 private:
  class Words;

  void append_word(std::string_view word, std::size_t characters, std::vector<std::int32_t>* ids) const;

  NormalizerSteps steps_;
  std::size_t max_word_characters_;
  std::int32_t unknown_id_, largest_id_;
  PrefixTable first_pieces_, later_pieces_;
  std::uint8_t ascii_[128];  // what becomes of an ASCII character, see kWordEnds and below in wordpiece.cpp
};

}  // namespace crosstune::core
