#include "tokenize/wordpiece.hpp"

#include <algorithm>
#include <limits>

#include "utf8.hpp"

namespace crosstune::core {
namespace {

constexpr std::size_t kMaxTokenBytes = 512;  // PrefixTable looks no further; tokens of real vocabularies are below 200

// What to do with an ASCII character. Any other value is the normalized character, to be added to the word.
constexpr std::uint8_t kDropped = 0, kEndsWord = 1, kIsPunctuation = 2, kNeedsNormalizer = 0x80;

std::uint8_t ascii_action(char32_t code, const NormalizerSteps& steps) {
  std::vector<char32_t> normalized;
  BertNormalizer normalizer(steps, [&normalized](char32_t part) { normalized.push_back(part); });
  normalizer.add(code);
  normalizer.flush_marks();
  if (normalized.empty()) return kDropped;
  const char32_t first = normalized[0];
  const std::uint16_t properties = normalized.size() == 1 ? properties_of(first) : 0;
  if (properties & kWhitespace) return kEndsWord;
  if ((properties & kPunctuation) && first == code) return kIsPunctuation;
  if (normalized.size() == 1 && first > U' ' && first < 127) return static_cast<std::uint8_t>(first);
  return kNeedsNormalizer;
}

}  // namespace

WordPiece::WordPiece(const JsonReader& model, const NormalizerSteps& steps, std::int32_t largest_added_id)
    : steps_(steps),
      largest_id_(largest_added_id),
      first_pieces_(model.object("vocab").size()),
      later_pieces_(model.object("vocab").size()) {
  max_word_characters_ = static_cast<std::size_t>(model.integer("max_input_chars_per_word", 0, 1000));
  const std::string& prefix = model.string("continuing_subword_prefix");
  const JsonObject& vocabulary = model.object("vocab");
  for (const auto& [token, json] : vocabulary) {
    const std::int32_t id = id_in(model, token, json);
    largest_id_ = std::max(largest_id_, id);
    if (token.size() > kMaxTokenBytes)
      throw model.field_error("vocab", "a vocabulary with a token of " + std::to_string(token.size()) + " bytes", "at most 512 bytes");
    if (!token.empty()) first_pieces_.add(token, id);
    if (token.size() > prefix.size() && token.compare(0, prefix.size(), prefix) == 0)
      later_pieces_.add(std::string_view(token).substr(prefix.size()), id);
  }
  const std::string& unknown = model.string("unk_token");
  const Json* unknown_json = find(vocabulary, unknown);
  if (unknown_json == nullptr) throw model.field_error("unk_token", json_text(unknown), "a token of the vocabulary");
  unknown_id_ = id_in(model, unknown, *unknown_json);
  for (char32_t code = 0; code < 128; ++code) ascii_actions_[code] = ascii_action(code, steps_);
}

// Joins normalized code points to words and appends the ids of each word.
class WordPiece::WordBuilder {
 public:
  WordBuilder(const WordPiece& model, std::vector<std::int32_t>* ids) : model_(model), ids_(ids) {}

  void add(char32_t code) {
    const std::uint16_t properties = properties_of(code);
    if (properties & (kWhitespace | kPunctuation)) end_word();
    if (properties & kWhitespace) return;
    append_utf8(code, &word_);
    ++characters_;
    if (properties & kPunctuation) end_word();
  }

  void add_to_word(char ascii) {
    word_.push_back(ascii);
    ++characters_;
  }

  void add_punctuation(char ascii) {
    end_word();
    add_to_word(ascii);
    end_word();
  }

  void end_word() {
    if (characters_ == 0) return;
    model_.append_word(word_, characters_, ids_);
    word_.clear();
    characters_ = 0;
  }

 private:
  const WordPiece& model_;
  std::vector<std::int32_t>* ids_;
  std::string word_;
  std::size_t characters_ = 0;
};

void WordPiece::append_ids(std::string_view text, std::size_t max_ids, std::vector<std::int32_t>* ids) const {
  WordBuilder words(*this, ids);
  BertNormalizer normalizer(steps_, [&words](char32_t code) { words.add(code); });
  std::size_t position = 0;
  while (position < text.size() && ids->size() <= max_ids) {
    const auto byte = static_cast<unsigned char>(text[position]);
    const std::uint8_t action = byte < 128 ? ascii_actions_[byte] : kNeedsNormalizer;
    if (action == kNeedsNormalizer) {
      normalizer.add(next_code_point(text, &position));
      continue;
    }
    ++position;
    if (action == kDropped) continue;
    normalizer.flush_marks();
    if (action == kEndsWord) words.end_word();
    else if (action == kIsPunctuation) words.add_punctuation(static_cast<char>(byte));
    else words.add_to_word(static_cast<char>(action));
  }
  normalizer.flush_marks();
  words.end_word();
}

void WordPiece::append_word(std::string_view word, std::size_t characters, std::vector<std::int32_t>* ids) const {
  if (characters > max_word_characters_) return ids->push_back(unknown_id_);
  const std::size_t before = ids->size();
  const PrefixTable* pieces = &first_pieces_;
  while (!word.empty()) {
    const PrefixTable::Match match = pieces->longest_prefix(word);
    if (match.size == 0) {
      ids->resize(before);
      return ids->push_back(unknown_id_);
    }
    ids->push_back(match.id);
    word.remove_prefix(match.size);
    pieces = &later_pieces_;
  }
}

}  // namespace crosstune::core
