#include "tokenize/normalizer.hpp"

#include <algorithm>
#include <memory>

#include "tokenize/bert_normalizer.hpp"
#include "tokenize/characters.hpp"
#include "tokenize/charsmap.hpp"
#include "tokenize/parts.hpp"
#include "tokenize/unicode_forms.hpp"
#include "tokenize/unsupported.hpp"
#include "utf8.hpp"

namespace crosstune::core {
namespace {

constexpr double kMostGrowth = 16;

bool has(char32_t code, int properties) { return (properties_of(code) & properties) != 0; }

void to_lower_case(std::u32string* text) {
  if (std::none_of(text->begin(), text->end(), [](char32_t code) { return has(code, kLowers); })) return;
  std::u32string lowered;
  lowered.reserve(text->size());
  for (const char32_t code : *text) {
    if (!has(code, kLowers)) lowered.push_back(code);
    else for (const char32_t part : lower_of(code)) lowered.push_back(part);
  }
  *text = std::move(lowered);
}

void strip_accents(std::u32string* text) {
  text->erase(std::remove_if(text->begin(), text->end(), [](char32_t code) { return has(code, kCombines); }), text->end());
}

void strip_spaces(bool left, bool right, std::u32string* text) {
  const auto is_text = [](char32_t code) { return !has(code, kWhitespace); };
  if (right) text->erase(std::find_if(text->rbegin(), text->rend(), is_text).base(), text->end());
  if (left) text->erase(text->begin(), std::find_if(text->begin(), text->end(), is_text));
}

void replace_all(const std::u32string& pattern, const std::u32string& content, std::u32string* text) {
  std::size_t found = text->find(pattern);
  if (found == std::u32string::npos) return;
  std::u32string result;
  std::size_t start = 0;
  for (; found != std::u32string::npos; found = text->find(pattern, start)) {
    result.append(*text, start, found - start).append(content);
    start = found + pattern.size();
  }
  result.append(*text, start);
  *text = std::move(result);
}

// Replaces each run of characters for which `is_space` holds by `content`, unless it is a single one that `stays`.
template <typename IsSpace, typename Stays>
void replace_runs(const std::u32string& content, IsSpace is_space, Stays stays, std::u32string* text) {
  std::u32string result;
  result.reserve(text->size());
  for (auto at = text->begin(); at != text->end();) {
    const auto end = std::find_if_not(at, text->end(), is_space);
    if (end == at) result.push_back(*at++);
    else if (end - at == 1 && stays(*at)) result.push_back(*at++);
    else result.append(content), at = end;
  }
  *text = std::move(result);
}

void normalize_as_bert(const NormalizerSteps& steps, std::u32string* text) {
  std::u32string result;
  BertNormalizer normalizer(steps, [&result](char32_t code) { result.push_back(code); });
  for (const char32_t code : *text) normalizer.add(code);
  normalizer.flush_marks();
  *text = std::move(result);
}

}  // namespace

Normalizer::Normalizer(const JsonReader& file) {
  for (const JsonReader& part : parts_of(file, "normalizer", "normalizers")) add(part);
  if (growth_ > kMostGrowth) throw unsupported(file, "its normalizers make texts much longer");
}

void Normalizer::add(const JsonReader& part) {
  const std::string& type = part.string("type");
  if (type == "NFC") return steps_.push_back([](auto* text) { normalize_to(UnicodeForm::kNfc, text); });
  if (type == "NFD") return steps_.push_back([](auto* text) { normalize_to(UnicodeForm::kNfd, text); });
  if (type == "NFKC") return steps_.push_back([](auto* text) { normalize_to(UnicodeForm::kNfkc, text); });
  if (type == "NFKD") return steps_.push_back([](auto* text) { normalize_to(UnicodeForm::kNfkd, text); });
  if (type == "Lowercase") return steps_.push_back(to_lower_case);
  if (type == "StripAccents") return steps_.push_back(strip_accents);
  if (type == "Replace") return steps_.push_back(replacement(part));
  if (type == "Strip") {
    const bool left = part.boolean("strip_left"), right = part.boolean("strip_right");
    return steps_.push_back([=](auto* text) { strip_spaces(left, right, text); });
  }
  if (type == "Precompiled") {
    if (part.optional("precompiled_charsmap") == nullptr || part.string("precompiled_charsmap").empty())
      throw unsupported(part, "its normalizer has a Precompiled without a table");
    const auto charsmap = std::make_shared<const Charsmap>(part);
    return steps_.push_back([charsmap](auto* text) { charsmap->apply(text); });
  }
  if (type == "BertNormalizer") {
    const NormalizerSteps steps = read_normalizer(part);
    return steps_.push_back([steps](auto* text) { normalize_as_bert(steps, text); });
  }
  throw unsupported(part, "its normalizer has the part " + json_text(type));
}

Normalizer::Step Normalizer::replacement(const JsonReader& part) {
  const std::u32string content = code_points_of(part.string("content"));
  const JsonReader pattern = part.child("pattern");
  const auto always = [](char32_t) { return true; };
  const bool is_string = pattern.has("String");
  const std::u32string found = code_points_of(pattern.string(is_string ? "String" : "Regex"));
  if (found.empty()) throw pattern.field_error("String", "\"\"", "a text");
  growth_ *= std::max(1.0, static_cast<double>(content.size()) / static_cast<double>(is_string ? found.size() : 1));
  if (is_string) return [=](auto* text) { replace_all(found, content, text); };
  if (found == U" {2,}")
    return [=](auto* text) { replace_runs(content, [](char32_t code) { return code == U' '; }, always, text); };
  if (found == U"\\s{2,}|[\\n\\r\\t]") {
    const auto stays = [](char32_t code) { return code != U'\n' && code != U'\r' && code != U'\t'; };
    return [=](auto* text) { replace_runs(content, [](char32_t code) { return has(code, kWhitespace); }, stays, text); };
  }
  throw unsupported(part, "its normalizer has the expression " + json_text(pattern.string("Regex")));
}

}  // namespace crosstune::core
