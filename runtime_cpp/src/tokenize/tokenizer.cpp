#include "tokenize/tokenizer.hpp"

#include <algorithm>
#include <limits>

#include "bundle/json_reader.hpp"
#include "error.hpp"
#include "tokenize/bert_normalizer.hpp"

namespace crosstune::core {
namespace {

// The "type" of a part of the tokenizer; "null" when the part is missing.
std::string type_of(const JsonReader& file, const std::string& part) {
  return file.optional(part) == nullptr ? "null" : file.child(part).string("type");
}

void expect_type(const JsonReader& file, const std::string& part, const std::string& expected) {
  const std::string type = type_of(file, part);
  if (type == expected) return;
  throw bundle_error(file.where() + ": its " + part + " is " + type + ", expected " + expected +
                     ": this library has the WordPiece tokenizer of BERT and no other. Use the Python runtime for this bundle.");
}

// Checks that all added tokens are special, because others would have to be matched before the text is split into words.
// Returns their largest id.
std::int32_t expect_special_tokens_only(const JsonReader& file) {
  std::int64_t largest = 0;
  if (file.optional("added_tokens") == nullptr) return 0;
  for (std::size_t i = 0; i < file.array("added_tokens").size(); ++i) {
    const JsonReader token = file.item("added_tokens", i);
    if (!token.boolean("special")) {
      throw bundle_error(file.where() + ": it adds the token " + json_text(token.string("content")) +
                         ", which is not special, expected special ones only. Use the Python runtime for this bundle.");
    }
    largest = std::max(largest, token.integer("id", 0, std::numeric_limits<std::int32_t>::max()));
  }
  return static_cast<std::int32_t>(largest);
}

}  // namespace

std::unique_ptr<const WordPiece> read_tokenizer(std::string_view bytes, const std::string& where) {
  Json json;
  try {
    json = parse_json(bytes);
  } catch (const JsonError& error) {
    throw bundle_error(where + ": not a usable tokenizer (" + error.what() + "). Build the bundle again.");
  }
  const JsonReader file(where, json);
  expect_type(file, "model", "WordPiece");
  expect_type(file, "normalizer", "BertNormalizer");
  expect_type(file, "pre_tokenizer", "BertPreTokenizer");
  const std::int32_t largest = expect_special_tokens_only(file);
  return std::make_unique<const WordPiece>(file.child("model"), read_normalizer(file.child("normalizer")), largest);
}

}  // namespace crosstune::core
