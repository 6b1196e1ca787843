// SentencePiece's Unigram model: of all ways to split a piece into tokens, the one with the highest sum of scores.
#pragma once

#include "bundle/json_reader.hpp"
#include "tokenize/subword_model.hpp"
#include "tokenize/token_table.hpp"

namespace crosstune::core {

class Unigram : public SubwordModel {
 public:
  // `model` is the "model" of a tokenizer.json. Throws Failure.
  explicit Unigram(const JsonReader& model);

  void append_ids(std::u32string_view piece, std::vector<std::int32_t>* ids) const override;
  std::int32_t largest_id() const override { return static_cast<std::int32_t>(scores_.size()) - 1; }

  // The id of a token; -1 if there is no such token.
  std::int32_t id_of(std::u32string_view token) const { return tokens_.id_of(token); }

 private:
  void append_unknown(std::u32string_view text, std::vector<std::int32_t>* ids) const;

  TokenTable tokens_;
  std::vector<double> scores_;
  std::int32_t unknown_id_;
  double unknown_score_;
  std::vector<std::int32_t> byte_ids_;  // of each byte of an unknown text; empty unless the model has tokens for bytes
};

}  // namespace crosstune::core
