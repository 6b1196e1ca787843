#include "tokenizer.hpp"

#include "bert_normalizer.hpp"
#include "error.hpp"
#include "json_reader.hpp"
#include "wordpiece.hpp"

namespace crosstune::core {
namespace {

// The "type" of a part of the tokenizer; "null" where there is none.
std::string type_of(const JsonReader& file, const std::string& part) {
  return file.optional(part) == nullptr ? "null" : file.inner(part).text("type");
}

void expect_type(const JsonReader& file, const std::string& part, const std::string& expected) {
  const std::string found = type_of(file, part);
  if (found == expected) return;
  throw refused(file.where() + ": its " + part + " is " + found + ", expected " + expected +
                ": this library has the WordPiece tokenizer of BERT and no other. Use the Python runtime for this bundle.");
}

// Added tokens that are not special are found in texts before anything else; special ones are ordinary text.
void expect_special_tokens_only(const JsonReader& file) {
  if (file.optional("added_tokens") == nullptr) return;
  for (std::size_t i = 0; i < file.array("added_tokens").size(); ++i) {
    const JsonReader token = file.item("added_tokens", i);
    if (token.boolean("special")) continue;
    throw refused(file.where() + ": it adds the token " + json_text(token.text("content")) +
                  ", which is not special, expected special ones only. Use the Python runtime for this bundle.");
  }
}

}  // namespace

std::unique_ptr<const Tokenizer> read_tokenizer(std::string_view bytes, const std::string& where) {
  Json json;
  try {
    json = parse_json(bytes);
  } catch (const JsonError& error) {
    throw refused(where + ": not a usable tokenizer (" + error.what() + "). Build the bundle again.");
  }
  const JsonReader file(where, json);
  expect_type(file, "model", "WordPiece");
  expect_type(file, "normalizer", "BertNormalizer");
  expect_type(file, "pre_tokenizer", "BertPreTokenizer");
  expect_special_tokens_only(file);
  return std::make_unique<WordPiece>(file.inner("model"), read_normalizer(file.inner("normalizer")));
}

}  // namespace crosstune::core
