#include "tokenize/unigram.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "tokenize/unsupported.hpp"
#include "utf8.hpp"

namespace crosstune::core {
namespace {

constexpr std::size_t kMostTokens = 1 << 21;
constexpr std::size_t kMostTokenBytes = 512;  // tokens of real vocabularies are below 200
constexpr double kMostScore = 1e6;
constexpr double kUnknownPenalty = 10;  // how far the score of an unknown character is below the lowest one

struct Piece {
  const std::string* token;
  double score;
};

Piece piece_of(const JsonReader& model, const Json& json) {
  const auto* pair = json.as<JsonArray>();
  const std::string* token = pair != nullptr && pair->size() == 2 ? (*pair)[0].as<std::string>() : nullptr;
  if (token == nullptr) throw model.field_error("vocab", "an array with " + describe(json), "pairs of a token and its score");
  double score = kMostScore * 2;
  if (const auto* real = (*pair)[1].as<double>()) score = *real;
  else if (const auto* integer = (*pair)[1].as<std::int64_t>()) score = static_cast<double>(*integer);
  if (!(std::abs(score) <= kMostScore))
    throw model.field_error("vocab", "an array with the score " + describe((*pair)[1]), "scores of at most 1e6");
  if (token->size() > kMostTokenBytes)
    throw model.field_error("vocab", "an array with a token of " + std::to_string(token->size()) + " bytes", "at most 512 bytes");
  return {token, score};
}

}  // namespace

Unigram::Unigram(const JsonReader& model) : tokens_(model.array("vocab").size()) {
  const JsonArray& vocabulary = model.array("vocab");
  if (vocabulary.size() > kMostTokens) throw model.field_error("vocab", std::to_string(vocabulary.size()) + " tokens", "at most 2097152");
  if (model.optional("unk_id") == nullptr) throw unsupported(model, "its Unigram has no unknown token");
  unknown_id_ = static_cast<std::int32_t>(model.integer("unk_id", 0, static_cast<std::int64_t>(vocabulary.size()) - 1));
  scores_.reserve(vocabulary.size());
  for (const Json& json : vocabulary) {
    const Piece piece = piece_of(model, json);
    if (!piece.token->empty()) tokens_.add(code_points_of(*piece.token), static_cast<std::int32_t>(scores_.size()));
    scores_.push_back(piece.score);
  }
  unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
  if (model.optional("byte_fallback") == nullptr || !model.boolean("byte_fallback")) return;
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    byte_ids_.push_back(id_of(code_points_of(name)));
  }
}

void Unigram::append_ids(std::u32string_view piece, std::vector<std::int32_t>* ids) const {
  struct Best {
    double score = 0;           // of the best way to split everything before a position
    std::int32_t id = 0;        // of its last token
    std::uint32_t start = 0;    // where its last token begins
    bool reached = false;
  };
  std::vector<Best> best(piece.size() + 1);
  for (std::size_t start = 0; start < piece.size(); ++start) {
    const double before = best[start].score;
    const auto offer = [&](std::size_t size, std::int32_t id, double score) {
      Best& end = best[start + size];
      if (!end.reached || before + score > end.score) end = {before + score, id, static_cast<std::uint32_t>(start), true};
    };
    bool has_single = false;
    tokens_.each_prefix(piece.substr(start), [&](std::size_t size, std::int32_t id) {
      offer(size, id, scores_[static_cast<std::size_t>(id)]);
      has_single |= size == 1;
    });
    if (!has_single) offer(1, unknown_id_, unknown_score_);
  }
  // From the end to the start, and then turned around. Unknown tokens that follow each other are one.
  std::vector<std::pair<std::size_t, std::size_t>> tokens;
  bool unknown_before = false;
  for (std::size_t end = piece.size(); end > 0; end = best[end].start) {
    const bool unknown = best[end].id == unknown_id_;
    if (unknown && unknown_before) tokens.back().first = best[end].start;
    else tokens.emplace_back(best[end].start, end);
    unknown_before = unknown;
  }
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
    const auto [start, end] = *token;
    const std::int32_t id = best[end].id;
    if (id != unknown_id_) ids->push_back(id);
    else append_unknown(piece.substr(start, end - start), ids);
  }
}

void Unigram::append_unknown(std::u32string_view text, std::vector<std::int32_t>* ids) const {
  const std::int32_t id = id_of(text);  // unknown characters may together be a token whose score is lower still
  if (id >= 0) return ids->push_back(id);
  if (byte_ids_.empty()) return ids->push_back(unknown_id_);
  std::string bytes;
  for (const char32_t code : text) append_utf8(code, &bytes);
  const std::size_t before = ids->size();
  for (const char byte : bytes) {
    const std::int32_t byte_id = byte_ids_[static_cast<unsigned char>(byte)];
    if (byte_id >= 0) {
      ids->push_back(byte_id);
      continue;
    }
    ids->resize(before);
    return ids->push_back(unknown_id_);
  }
}

}  // namespace crosstune::core
