#include "tokenize/split_expressions.hpp"

#include "tokenize/characters.hpp"

namespace crosstune::core {
namespace {

bool is_letter(char32_t code) { return (properties_of(code) & kLetter) != 0; }
bool is_number(char32_t code) { return (properties_of(code) & kNumber) != 0; }
bool is_space(char32_t code) { return (properties_of(code) & kWhitespace) != 0; }
bool is_other(char32_t code) { return (properties_of(code) & (kLetter | kNumber | kWhitespace)) == 0; }
bool is_line_end(char32_t code) { return code == U'\r' || code == U'\n'; }

// Where the characters for which `holds` end that begin at `start`.
template <typename Predicate>
std::size_t end_of(std::u32string_view text, std::size_t start, Predicate holds) {
  while (start < text.size() && holds(text[start])) ++start;
  return start;
}

template <typename Predicate>
bool holds_at(std::u32string_view text, std::size_t position, Predicate holds) {
  return position < text.size() && holds(text[position]);
}

// 's|'t|'re|'ve|'m|'ll|'d; 0 if it does not match. In any case, the long s is an s.
std::size_t contraction(std::u32string_view text, bool any_case) {
  if (text[0] != U'\'') return 0;
  const auto letter = [&](std::size_t i) -> char32_t {
    if (i >= text.size()) return 0;
    if (any_case && text[i] == U'\u017F') return U's';
    return any_case && text[i] >= U'A' && text[i] <= U'Z' ? text[i] + 32 : text[i];
  };
  const char32_t first = letter(1), second = letter(2);
  if (first == U's' || first == U't' || first == U'm' || first == U'd') return 2;
  if ((first == U'r' || first == U'v') && second == U'e') return 3;
  return first == U'l' && second == U'l' ? 3 : 0;
}

// \s+(?!\S)|\s+: all spaces but the last one, which belongs to the next word.
std::size_t spaces(std::u32string_view text) {
  const std::size_t end = end_of(text, 0, is_space);
  return end == text.size() || end == 1 ? end : end - 1;
}

}  // namespace

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t gpt2_match(std::u32string_view text) {
  if (const std::size_t size = contraction(text, false)) return size;
  const std::size_t start = text[0] == U' ' ? 1 : 0;
  if (holds_at(text, start, is_letter)) return end_of(text, start, is_letter);
  if (holds_at(text, start, is_number)) return end_of(text, start, is_number);
  if (holds_at(text, start, is_other)) return end_of(text, start, is_other);
  return spaces(text);
}

namespace {

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <std::size_t kMostDigits>
std::size_t cl100k_match(std::u32string_view text) {
  if (const std::size_t size = contraction(text, true)) return size;
  if (is_letter(text[0])) return end_of(text, 0, is_letter);
  if (is_number(text[0])) return end_of(text.substr(0, kMostDigits), 0, is_number);
  if (!is_line_end(text[0]) && holds_at(text, 1, is_letter)) return end_of(text, 1, is_letter);
  const std::size_t start = text[0] == U' ' ? 1 : 0;
  if (holds_at(text, start, is_other)) return end_of(text, end_of(text, start, is_other), is_line_end);
  std::size_t end = end_of(text, 0, is_space);
  while (end > 0 && !is_line_end(text[end - 1])) --end;
  return end > 0 ? end : spaces(text);
}

}  // namespace

SplitExpression split_expression(std::string_view expression) {
  // Qwen
  if (expression ==
      R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re")
    return cl100k_match<1>;
  // Llama 3
  if (expression ==
      R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re")
    return cl100k_match<3>;
  return nullptr;
}

}  // namespace crosstune::core
