#include "tokenize/pre_tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "tokenize/characters.hpp"
#include "tokenize/parts.hpp"
#include "tokenize/split_expressions.hpp"
#include "tokenize/unsupported.hpp"
#include "utf8.hpp"

namespace crosstune::core {
namespace {

constexpr char32_t kMetaspace = U'\u2581';

bool has(char32_t code, int properties) { return (properties_of(code) & properties) != 0; }

void split_at_spaces(std::u32string_view text, Pieces* pieces) {
  for (const char32_t code : text) {
    if (has(code, kWhitespace)) pieces->end_piece();
    else pieces->add_to_piece(code);
  }
  pieces->end_piece();
}

void isolate_punctuation(std::u32string_view text, Pieces* pieces) {
  for (const char32_t code : text) {
    if (has(code, kPunctuation)) pieces->end_piece();
    pieces->add_to_piece(code);
    if (has(code, kPunctuation)) pieces->end_piece();
  }
  pieces->end_piece();
}

// Writes spaces as a visible character, and begins a piece at each.
void mark_spaces(bool prepends, bool splits, std::u32string_view text, Pieces* pieces) {
  if (prepends && text[0] != U' ' && text[0] != kMetaspace) pieces->add_to_piece(kMetaspace);
  bool is_first = true;
  for (const char32_t code : text) {
    const bool is_space = code == U' ' || code == kMetaspace;
    if (is_space && splits && !is_first) pieces->end_piece();
    pieces->add_to_piece(is_space ? kMetaspace : code);
    is_first = false;
  }
  pieces->end_piece();
}

void split_by(SplitExpression match, std::u32string_view text, Pieces* pieces) {
  while (!text.empty()) {
    const std::size_t size = match(text);
    pieces->add(text.substr(0, size));
    text.remove_prefix(size);
  }
}

void split_bytes(bool adds_space, bool uses_expression, std::u32string_view text, Pieces* pieces) {
  std::u32string with_space;
  if (adds_space && text[0] != U' ') text = with_space = U' ' + std::u32string(text);
  if (uses_expression) split_by(gpt2_match, text, pieces);
  else pieces->add(text);
}

}  // namespace

PreTokenizer::PreTokenizer(const JsonReader& file, bool byte_level) {
  const std::vector<JsonReader> parts = parts_of(file, "pre_tokenizer", "pretokenizers");
  const auto is_byte_level = [](const JsonReader& part) { return part.string("type") == "ByteLevel"; };
  const auto found = std::find_if(parts.begin(), parts.end(), is_byte_level);
  if (found != (byte_level && !parts.empty() ? parts.end() - 1 : parts.end()) || (byte_level && parts.empty()))
    throw unsupported(file, "its pre_tokenizer needs a ByteLevel as the last part for BPE, and nowhere else");
  for (const JsonReader& part : parts) steps_.push_back(step(part));
}

PreTokenizer::Step PreTokenizer::step(const JsonReader& part) {
  const std::string& type = part.string("type");
  if (type == "WhitespaceSplit") return split_at_spaces;
  if (type == "Punctuation" && part.string("behavior") == "Isolated") return isolate_punctuation;
  if (type == "Metaspace" && part.string("replacement") == "\u2581") {
    const std::string& scheme = part.string("prepend_scheme");
    if (scheme != "always" && scheme != "never") throw unsupported(part, "its Metaspace has the prepend_scheme " + json_text(scheme));
    const bool splits = part.boolean("split");
    return [prepends = scheme == "always", splits](auto text, auto* pieces) { mark_spaces(prepends, splits, text, pieces); };
  }
  if (type == "ByteLevel") {
    const bool adds_space = part.boolean("add_prefix_space");
    const bool uses_expression = part.optional("use_regex") == nullptr || part.boolean("use_regex");
    return [=](auto text, auto* pieces) { split_bytes(adds_space, uses_expression, text, pieces); };
  }
  if (type == "Split" && part.string("behavior") == "Isolated" && !part.boolean("invert") && part.child("pattern").has("Regex")) {
    const SplitExpression match = split_expression(part.child("pattern").string("Regex"));
    if (match != nullptr) return [match](auto text, auto* pieces) { split_by(match, text, pieces); };
    throw unsupported(part, "its pre_tokenizer has the expression " + json_text(part.child("pattern").string("Regex")));
  }
  throw unsupported(part, "its pre_tokenizer has the part " + json_text(type));
}

Pieces PreTokenizer::split(std::u32string_view text) const {
  Pieces pieces;
  pieces.add(text);
  for (const Step& step : steps_) {
    Pieces smaller;
    for (std::size_t i = 0; i < pieces.size(); ++i) step(pieces[i], &smaller);
    pieces = std::move(smaller);
  }
  return pieces;
}

}  // namespace crosstune::core
