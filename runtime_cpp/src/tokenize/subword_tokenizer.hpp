// A tokenizer in four steps, as the reference runs them: added tokens, normalizer, pre-tokenizer, model.
#pragma once

#include <memory>
#include <utility>

#include "tokenize/added_tokens.hpp"
#include "tokenize/normalizer.hpp"
#include "tokenize/pre_tokenizer.hpp"
#include "tokenize/subword_model.hpp"
#include "tokenize/tokenizer.hpp"

namespace crosstune::core {

class SubwordTokenizer : public Tokenizer {
 public:
  SubwordTokenizer(Normalizer normalizer, AddedTokens added, PreTokenizer pre_tokenizer, std::unique_ptr<const SubwordModel> model)
      : normalizer_(std::move(normalizer)),
        added_(std::move(added)),
        pre_tokenizer_(std::move(pre_tokenizer)),
        model_(std::move(model)) {}

  void append_ids(std::string_view text, std::size_t max_ids, std::vector<std::int32_t>* ids) const override;
  std::int32_t largest_id() const override;

 private:
  Normalizer normalizer_;
  AddedTokens added_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const SubwordModel> model_;
};

}  // namespace crosstune::core
