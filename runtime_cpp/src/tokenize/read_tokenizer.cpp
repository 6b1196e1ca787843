#include "tokenize/read_tokenizer.hpp"

#include <utility>

#include "bundle/json_reader.hpp"
#include "tokenize/added_tokens.hpp"
#include "tokenize/bert_normalizer.hpp"
#include "tokenize/byte_level_bpe.hpp"
#include "tokenize/subword_tokenizer.hpp"
#include "tokenize/unigram.hpp"
#include "tokenize/unsupported.hpp"
#include "tokenize/vocabulary.hpp"
#include "tokenize/wordpiece.hpp"
#include "utf8.hpp"

namespace crosstune::core {
namespace {

// The "type" of a part of the tokenizer; "missing" when there is none.
std::string type_of(const JsonReader& file, const std::string& part) {
  return file.optional(part) == nullptr ? "missing" : file.child(part).string("type");
}

void expect_type(const JsonReader& file, const std::string& part, const std::string& expected) {
  const std::string type = type_of(file, part);
  if (type != expected) throw unsupported(file, "its " + part + " is " + type + ", expected " + expected);
}

std::unique_ptr<const Tokenizer> read_wordpiece(const JsonReader& file) {
  expect_type(file, "normalizer", "BertNormalizer");
  expect_type(file, "pre_tokenizer", "BertPreTokenizer");
  return std::make_unique<const WordPiece>(file.child("model"), read_normalizer(file.child("normalizer")), largest_added_id(file));
}

std::unique_ptr<const Tokenizer> read_unigram(const JsonReader& file) {
  auto model = std::make_unique<const Unigram>(file.child("model"));
  Normalizer normalizer(file);
  AddedTokens added(file, normalizer, file.child("model").array("vocab").size(),
                    [&model](const std::string& token) { return model->id_of(code_points_of(token)); });
  return std::make_unique<const SubwordTokenizer>(std::move(normalizer), std::move(added), PreTokenizer(file, false), std::move(model));
}

std::unique_ptr<const Tokenizer> read_bpe(const JsonReader& file) {
  PreTokenizer pre_tokenizer(file, true);
  const JsonReader model = file.child("model");
  const JsonObject& vocabulary = model.object("vocab");
  Normalizer normalizer(file);
  AddedTokens added(file, normalizer, vocabulary.size(), [&](const std::string& token) {
    const Json* id = find(vocabulary, token);
    return id == nullptr ? -1 : id_in(model, token, *id);
  });
  return std::make_unique<const SubwordTokenizer>(std::move(normalizer), std::move(added), std::move(pre_tokenizer),
                                                  std::make_unique<const ByteLevelBpe>(model));
}

}  // namespace

std::unique_ptr<const Tokenizer> read_tokenizer(std::string_view bytes, const std::string& where) {
  Json json;
  try {
    json = parse_json(bytes);
  } catch (const JsonError& error) {
    throw bundle_error(where + ": not a usable tokenizer (" + error.what() + "). Build the bundle again.");
  }
  const JsonReader file(where, json);
  const std::string model = type_of(file, "model");
  if (model == "WordPiece") return read_wordpiece(file);
  if (model == "Unigram") return read_unigram(file);
  if (model == "BPE") return read_bpe(file);
  throw unsupported(file, "its model is " + model + ", expected WordPiece, Unigram or byte-level BPE");
}

}  // namespace crosstune::core
