#include "tokenize/byte_level_bpe.hpp"

#include <algorithm>
#include <limits>
#include <queue>

#include "tokenize/byte_alphabet.hpp"
#include "tokenize/unsupported.hpp"
#include "tokenize/vocabulary.hpp"
#include "utf8.hpp"

namespace crosstune::core {
namespace {

constexpr std::size_t kMostTokens = 1 << 21;

// A token of a piece that is being merged. Neighbors are linked by their positions.
struct Symbol {
  std::int32_t id;
  std::int32_t previous, next;  // -1 at the ends
  bool merged_away = false;
};

// A merge that was possible when it was put into the queue.
struct Candidate {
  std::uint32_t rank;
  std::int32_t position, id;

  bool operator<(const Candidate& other) const {  // the lowest rank comes first, and then the first position
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

// Bytes that occur in UTF-8.
bool occurs(unsigned byte) { return byte < 0xC0 || (byte > 0xC1 && byte < 0xF5); }

std::pair<std::string, std::string> sides_of(const JsonReader& model, const Json& json) {
  if (const auto* text = json.as<std::string>()) {  // as older files have it
    const std::size_t space = text->find(' ');
    if (space != std::string::npos && text->find(' ', space + 1) == std::string::npos)
      return {text->substr(0, space), text->substr(space + 1)};
  } else if (const auto* sides = json.as<JsonArray>(); sides != nullptr && sides->size() == 2) {
    const auto *left = (*sides)[0].as<std::string>(), *right = (*sides)[1].as<std::string>();
    if (left != nullptr && right != nullptr) return {*left, *right};
  }
  throw model.field_error("merges", "an array with " + describe(json), "pairs of tokens");
}

void expect_no_affix(const JsonReader& model, const std::string& key) {
  if (model.optional(key) != nullptr && !model.string(key).empty())
    throw unsupported(model, "its BPE has the " + key + " " + json_text(model.string(key)));
}

}  // namespace

ByteLevelBpe::ByteLevelBpe(const JsonReader& model) {
  expect_no_affix(model, "continuing_subword_prefix");
  expect_no_affix(model, "end_of_word_suffix");
  if (model.optional("dropout") != nullptr && model.number("dropout") != 0) throw unsupported(model, "its BPE has a dropout");
  const JsonObject& tokens = model.object("vocab");
  if (tokens.size() > kMostTokens) throw model.field_error("vocab", std::to_string(tokens.size()) + " tokens", "at most 2097152");
  std::unordered_map<std::string_view, std::int32_t> vocabulary(tokens.size());
  for (const auto& [token, json] : tokens) {
    const std::int32_t id = id_in(model, token, json);
    vocabulary.emplace(token, id);
    largest_id_ = std::max(largest_id_, id);
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto found = vocabulary.find(character_of(static_cast<unsigned char>(byte)));
    if (found == vocabulary.end() && occurs(byte)) throw unsupported(model, "its BPE has no token for the byte " + std::to_string(byte));
    byte_ids_[byte] = found == vocabulary.end() ? 0 : found->second;
  }
  read_merges(model, vocabulary);
  if (model.optional("ignore_merges") == nullptr || !model.boolean("ignore_merges")) return;
  for (const auto& [token, id] : vocabulary)
    if (const auto bytes = bytes_of(token)) whole_pieces_.emplace(*bytes, id);
}

void ByteLevelBpe::read_merges(const JsonReader& model, const std::unordered_map<std::string_view, std::int32_t>& vocabulary) {
  const JsonArray& merges = model.array("merges");
  if (merges.size() > kMostTokens) throw model.field_error("merges", std::to_string(merges.size()) + " merges", "at most 2097152");
  std::size_t size = 16;
  while (size < 2 * merges.size()) size *= 2;
  merges_.resize(size);
  std::uint32_t rank = 0;
  for (const Json& json : merges) {
    const auto [left, right] = sides_of(model, json);
    const auto id = [&vocabulary, &model, &json](const std::string& token) {
      const auto found = vocabulary.find(token);
      if (found == vocabulary.end()) throw model.field_error("merges", "an array with " + describe(json), "pairs of tokens of the vocabulary");
      return found->second;
    };
    add({id(left), id(right), id(left + right), rank++});
  }
}

namespace {

std::size_t hash_of(std::int32_t left, std::int32_t right) {
  const auto pair = std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  return static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15u) >> 32);
}

}  // namespace

void ByteLevelBpe::add(const Merge& merge) {
  const std::size_t mask = merges_.size() - 1;
  std::size_t i = hash_of(merge.left, merge.right) & mask;
  while (merges_[i].id >= 0 && (merges_[i].left != merge.left || merges_[i].right != merge.right)) i = (i + 1) & mask;
  merges_[i] = merge;  // of a pair that stands twice, the last one counts
}

const ByteLevelBpe::Merge* ByteLevelBpe::find(std::int32_t left, std::int32_t right) const {
  const std::size_t mask = merges_.size() - 1;
  for (std::size_t i = hash_of(left, right) & mask; merges_[i].id >= 0; i = (i + 1) & mask)
    if (merges_[i].left == left && merges_[i].right == right) return &merges_[i];
  return nullptr;
}

void ByteLevelBpe::append_ids(std::u32string_view piece, std::vector<std::int32_t>* ids) const {
  std::string bytes;
  for (const char32_t code : piece) append_utf8(code, &bytes);
  if (!whole_pieces_.empty()) {
    const auto found = whole_pieces_.find(bytes);
    if (found != whole_pieces_.end()) return ids->push_back(found->second);
  }
  const auto size = static_cast<std::int32_t>(bytes.size());
  std::vector<Symbol> symbols;
  symbols.reserve(bytes.size());
  for (std::int32_t i = 0; i < size; ++i)
    symbols.push_back({byte_ids_[static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)])], i - 1, i + 1 < size ? i + 1 : -1});
  const auto at = [&symbols](std::int32_t position) -> Symbol& { return symbols[static_cast<std::size_t>(position)]; };
  std::priority_queue<Candidate> queue;
  const auto offer = [&](std::int32_t left, std::int32_t right) {
    if (left < 0 || right < 0) return;
    if (const Merge* merge = find(at(left).id, at(right).id)) queue.push({merge->rank, left, merge->id});
  };
  for (std::int32_t i = 0; i + 1 < size; ++i) offer(i, i + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = at(best.position);
    if (left.merged_away || left.next < 0) continue;
    Symbol& right = at(left.next);
    const Merge* merge = find(left.id, right.id);
    if (merge == nullptr || merge->id != best.id) continue;  // its neighbor has changed since
    left.id = best.id;
    left.next = right.next;
    right.merged_away = true;
    if (left.next >= 0) at(left.next).previous = best.position;
    offer(left.previous, best.position);
    offer(best.position, left.next);
  }
  for (const Symbol& symbol : symbols)
    if (!symbol.merged_away) ids->push_back(symbol.id);
}

}  // namespace crosstune::core
