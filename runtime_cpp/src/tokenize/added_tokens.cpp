#include "tokenize/added_tokens.hpp"

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "tokenize/unsupported.hpp"
#include "utf8.hpp"

namespace crosstune::core {
namespace {

constexpr std::size_t kMostTokenBytes = 512;

std::vector<JsonReader> tokens_of(const JsonReader& file) {
  std::vector<JsonReader> tokens;
  if (file.optional("added_tokens") == nullptr) return tokens;
  for (std::size_t i = 0; i < file.array("added_tokens").size(); ++i) tokens.push_back(file.item("added_tokens", i));
  return tokens;
}

std::int32_t id_of_token(const JsonReader& token) {
  return static_cast<std::int32_t>(token.integer("id", 0, std::numeric_limits<std::int32_t>::max()));
}

bool is_special(const JsonReader& token) { return token.boolean("special"); }

void expect_plain(const JsonReader& file, const JsonReader& token) {
  for (const char* key : {"lstrip", "rstrip", "single_word"}) {
    if (token.boolean(key))
      throw unsupported(file, "it adds the token " + json_text(token.string("content")) + " with " + key);
  }
}

}  // namespace

std::int32_t largest_added_id(const JsonReader& file) {
  std::int32_t largest = 0;
  for (const JsonReader& token : tokens_of(file)) {
    if (!is_special(token))
      throw unsupported(file, "it adds the token " + json_text(token.string("content")) + ", which is not special, expected special ones only");
    largest = std::max(largest, id_of_token(token));
  }
  return largest;
}

AddedTokens::AddedTokens(const JsonReader& file, const Normalizer& normalizer, std::size_t vocabulary_size, const IdOf& id_of)
    : AddedTokens(file, tokens_of(file), normalizer, vocabulary_size, id_of) {}

AddedTokens::AddedTokens(const JsonReader& file, const std::vector<JsonReader>& tokens, const Normalizer& normalizer,
                         std::size_t vocabulary_size, const IdOf& id_of)
    : raw_(tokens.size()), normalized_(tokens.size()) {
  for (const JsonReader& token : tokens) largest_id_ = std::max(largest_id_, id_of_token(token));
  if (std::all_of(tokens.begin(), tokens.end(), is_special)) return;
  std::unordered_set<std::string> contents;
  auto next_id = static_cast<std::int64_t>(vocabulary_size);
  for (const JsonReader& token : tokens) {
    const std::string& content = token.string("content");
    if (content.empty() || content.size() > kMostTokenBytes) throw token.field_error("content", describe(Json{content}), "1 to 512 bytes");
    if (!contents.insert(content).second) throw unsupported(file, "it adds the token " + json_text(content) + " twice");
    std::int64_t id = id_of(content);
    if (id < 0) id = next_id++;  // as the reference numbers them, whatever the file says
    if (!is_special(token)) expect_plain(file, token);
    if (!is_special(token) && id != id_of_token(token))
      throw unsupported(file, "it adds the token " + json_text(content) + " with an id of another token");
    std::u32string pattern = code_points_of(content);
    const bool normalized = token.boolean("normalized");
    if (normalized) normalizer.apply(&pattern);
    TokenTable& table = normalized ? normalized_ : raw_;
    if (pattern.empty() || table.id_of(pattern) >= 0)
      throw token.field_error("content", json_text(content), "a token that normalization leaves different from the others");
    table.add(pattern, static_cast<std::int32_t>(tokens_.size()));
    tokens_.push_back({id_of_token(token), is_special(token)});
  }
}

void AddedTokens::split(const TokenTable& table, std::u32string_view text, const Sink& sink) const {
  std::size_t start = 0, position = 0;  // of the text before the next token
  const auto end_text = [&] {
    if (start < position) sink(-1, text.substr(start, position - start));
  };
  while (!tokens_.empty() && position < text.size()) {
    std::size_t longest = 0;
    std::int32_t index = 0;
    table.each_prefix(text.substr(position), [&](std::size_t size, std::int32_t found) { longest = size, index = found; });
    if (longest == 0) {
      ++position;
      continue;
    }
    const Token& token = tokens_[static_cast<std::size_t>(index)];
    if (!token.special) {
      end_text();
      sink(token.id, {});
      start = position + longest;
    }
    position += longest;
  }
  position = text.size();
  end_text();
}

}  // namespace crosstune::core
