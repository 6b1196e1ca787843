#include "tokenize/wordpiece.hpp"

#include <algorithm>
#include <limits>

#include "tokenize/utf8.hpp"

namespace crosstune::core {
namespace {

constexpr std::size_t kLongestPiece = 512;  // bytes; no real vocabulary has one of 200

// Values of ascii_ below the space, where no letter stands after normalization.
constexpr std::uint8_t kNothing = 0, kWordEnds = 1, kPunctuationMark = 2;
// Any other value is the character itself, as it stands in a word.
constexpr std::uint8_t kSlow = 0x80;  // left to the normalizer

std::int32_t id_in(const JsonReader& model, const std::string& token, const Json& json) {
  const auto* id = json.as<std::int64_t>();
  if (id == nullptr || *id < 0 || *id > std::numeric_limits<std::int32_t>::max())
    throw model.bad("vocab", json_text(token) + ": " + describe(json), "an id for every token");
  return static_cast<std::int32_t>(*id);
}

}  // namespace

WordPiece::WordPiece(const JsonReader& model, const NormalizerSteps& steps, std::int32_t largest_added_id)
    : steps_(steps), largest_id_(largest_added_id), first_pieces_(model.object("vocab").size()), later_pieces_(model.object("vocab").size()) {
  max_word_characters_ = static_cast<std::size_t>(model.integer("max_input_chars_per_word", 0, 1 << 30));
  const std::string& prefix = model.text("continuing_subword_prefix");
  const JsonObject& vocabulary = model.object("vocab");
  for (const auto& [token, json] : vocabulary) {
    const std::int32_t id = id_in(model, token, json);
    largest_id_ = std::max(largest_id_, id);
    if (token.size() > kLongestPiece)
      throw model.bad("vocab", "one with a token of " + std::to_string(token.size()) + " bytes", "at most 512");
    if (!token.empty()) first_pieces_.add(token, id);
    if (token.size() > prefix.size() && token.compare(0, prefix.size(), prefix) == 0)
      later_pieces_.add(std::string_view(token).substr(prefix.size()), id);
  }
  const std::string& unknown = model.text("unk_token");
  const Json* found = find(vocabulary, unknown);
  if (found == nullptr) throw model.bad("unk_token", json_text(unknown), "a token of the vocabulary");
  unknown_id_ = id_in(model, unknown, *found);

  for (char32_t code = 0; code < 128; ++code) {
    std::vector<char32_t> out;
    BertNormalizer normalizer(steps_, [&out](char32_t part) { out.push_back(part); });
    normalizer.put(code);
    normalizer.finish();
    const std::uint16_t properties = out.size() == 1 ? properties_of(out[0]) : 0;
    std::uint8_t& action = ascii_[code];
    if (out.empty()) action = kNothing;
    else if (properties & kWhitespace) action = kWordEnds;
    else if ((properties & kPunctuation) && out[0] == code) action = kPunctuationMark;
    else if (out.size() == 1 && out[0] > U' ' && out[0] < 127) action = static_cast<std::uint8_t>(out[0]);
    else action = kSlow;
  }
}

// Collects normalized code points into words and has the pieces of each appended.
class WordPiece::Words {
 public:
  Words(const WordPiece& model, std::vector<std::int32_t>* ids) : model_(model), ids_(ids) {}

  void put(char32_t code) {
    const std::uint16_t properties = properties_of(code);
    if (properties & (kWhitespace | kPunctuation)) end_word();
    if (properties & kWhitespace) return;
    append_utf8(code, &word_);
    ++characters_;
    if (properties & kPunctuation) end_word();
  }

  void put_in_word(char ascii) {
    word_.push_back(ascii);
    ++characters_;
  }

  void put_punctuation(char ascii) {
    end_word();
    put_in_word(ascii);
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

void WordPiece::append_ids(std::string_view text, std::size_t enough, std::vector<std::int32_t>* ids) const {
  Words words(*this, ids);
  BertNormalizer normalizer(steps_, [&words](char32_t code) { words.put(code); });
  std::size_t position = 0;
  while (position < text.size() && ids->size() <= enough) {
    const auto byte = static_cast<unsigned char>(text[position]);
    const std::uint8_t action = byte < 128 ? ascii_[byte] : kSlow;
    if (action == kSlow) {
      normalizer.put(next_code_point(text, &position));
      continue;
    }
    ++position;
    if (action == kNothing) continue;
    normalizer.finish();  // marks that wait for a character without a class
    if (action == kWordEnds) words.end_word();
    else if (action == kPunctuationMark) words.put_punctuation(static_cast<char>(byte));
    else words.put_in_word(static_cast<char>(action));
  }
  normalizer.finish();
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
