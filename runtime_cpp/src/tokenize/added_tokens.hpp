// Tokens that are found in a text before anything else happens to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/json_reader.hpp"
#include "tokenize/normalizer.hpp"
#include "tokenize/token_table.hpp"

namespace crosstune::core {

// Special tokens are ordinary text, but what they cover is not searched for other tokens, as in the reference.
class AddedTokens {
 public:
  // The id of a token in the vocabulary of the model; -1 if it has none.
  using IdOf = std::function<std::int32_t(const std::string&)>;
  // Gets the parts of a text: an id and no text, or -1 and text without tokens.
  using Sink = std::function<void(std::int32_t, std::u32string_view)>;

  // `file` is the whole tokenizer.json. Throws Failure.
  AddedTokens(const JsonReader& file, const Normalizer& normalizer, std::size_t vocabulary_size, const IdOf& id_of);

  // Splits a text that is not normalized yet.
  void split_raw(std::u32string_view text, const Sink& sink) const { split(raw_, text, sink); }
  // Splits a text that is normalized.
  void split_normalized(std::u32string_view text, const Sink& sink) const { split(normalized_, text, sink); }

  std::int32_t largest_id() const { return largest_id_; }

 private:
  struct Token {
    std::int32_t id;
    bool special;
  };

  AddedTokens(const JsonReader& file, const std::vector<JsonReader>& tokens, const Normalizer& normalizer,
              std::size_t vocabulary_size, const IdOf& id_of);

  void split(const TokenTable& table, std::u32string_view text, const Sink& sink) const;

  std::vector<Token> tokens_;
  TokenTable raw_, normalized_;  // their ids are indices of tokens_
  std::int32_t largest_id_ = 0;
};

// The largest id of the added tokens. Throws Failure unless all of them are special.
std::int32_t largest_added_id(const JsonReader& file);

}  // namespace crosstune::core
