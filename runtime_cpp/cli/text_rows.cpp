#include "text_rows.hpp"

#include <cctype>
#include <cstdio>
#include <utility>

#include "bundle/strict_json.hpp"
#include "error.hpp"
#include "utf8.hpp"

namespace crosstune::cli {
namespace {

using core::Failure;

Failure bad_input(const std::string& message) { return Failure(CROSSTUNE_INPUT, message); }

// The white space that Python's str.strip() removes.
bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_blank(const std::string& line) {
  for (std::size_t i = 0; i < line.size();)
    if (!is_space(core::next_code_point(line, &i))) return false;
  return true;
}

// The value of an escape sequence \uXXXX at `start`; -1 if there is none.
int escaped_unit(const std::string& json, std::size_t start) {
  if (start + 6 > json.size() || json[start] != '\\' || json[start + 1] != 'u') return -1;
  int value = 0;
  for (std::size_t i = start + 2; i < start + 6; ++i) {
    if (std::isxdigit(static_cast<unsigned char>(json[i])) == 0) return -1;
    value = value * 16 + (json[i] <= '9' ? json[i] - '0' : (json[i] | 32) - 'a' + 10);
  }
  return value;
}

// Replaces unpaired escaped surrogates by U+FFFD, as the other runtimes do; the parser would reject them.
void replace_lone_surrogates(std::string* json) {
  for (std::size_t i = json->find('\\'); i != std::string::npos && i + 1 < json->size(); i = json->find('\\', i)) {
    const int unit = escaped_unit(*json, i);
    if (unit < 0xD800 || unit > 0xDFFF) {
      i += 2;
      continue;
    }
    const int next = escaped_unit(*json, i + 6);
    if (unit < 0xDC00 && next >= 0xDC00 && next <= 0xDFFF) {
      i += 12;
      continue;
    }
    json->replace(i, 6, "\\ufffd");
    i += 6;
  }
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

Format format_of(const std::string& file) {
  std::string name = file;
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (ends_with(name, ".csv") || ends_with(name, ".tsv")) {
    throw Failure(CROSSTUNE_USAGE, file + ": a table, expected .jsonl or a text file. "
                                          "Use crosstune-export classify, which reads tables, or convert it.");
  }
  return ends_with(name, ".jsonl") || ends_with(name, ".ndjson") ? Format::kJsonLines : Format::kText;
}

TextRows::TextRows(std::istream& source, std::string where, Format format, bool takes_pairs)
    : source_(source), where_(std::move(where)), format_(format), takes_pairs_(takes_pairs) {
  if (format == Format::kText && takes_pairs)
    throw bad_input(where_ + ": lines of text, expected pairs. Use JSON Lines with the fields text and text_pair.");
}

// Lines end with \n, \r\n or \r, as in Python.
bool TextRows::read_line(std::string* line) {
  line->clear();
  line_start_ = bytes_read_;
  for (char byte; source_.get(byte); line->push_back(byte)) {
    ++bytes_read_;
    if (byte != '\n' && byte != '\r') continue;
    if (byte == '\r' && source_.peek() == '\n' && source_.get(byte)) ++bytes_read_;
    return true;
  }
  return !line->empty();
}

std::optional<TextRow> TextRows::next() {
  std::string line;
  while (read_line(&line)) {
    ++line_number_;
    const std::size_t invalid = core::first_invalid(line);
    if (invalid != line.size()) {
      char byte[5];
      std::snprintf(byte, sizeof byte, "0x%02x", static_cast<unsigned char>(line[invalid]));
      throw bad_input(position() + ": byte " + byte + " at offset " + std::to_string(line_start_ + invalid) +
                      " is not UTF-8. Save the file as UTF-8, for example with: iconv -f latin1 -t utf-8");
    }
    if (line_number_ == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
    if (is_blank(line)) continue;
    if (format_ == Format::kJsonLines) return read_json(line);
    return TextRow{line, std::nullopt};
  }
  if (source_.bad()) throw bad_input(where_ + ": cannot be read to its end, expected a file. Check the disk.");
  return std::nullopt;
}

TextRow TextRows::read_json(const std::string& line) const {
  core::Json json;
  std::string text = line;
  replace_lone_surrogates(&text);
  try {
    json = core::parse_json(text);
  } catch (const core::JsonError& error) {
    throw bad_input(position() + ": not valid JSON (" + error.what() + "). Correct the line.");
  }
  const auto* object = json.as<core::JsonObject>();
  const auto field = [&](const char* name) {
    const core::Json* member = object == nullptr ? nullptr : core::find(*object, name);
    if (const auto* value = member == nullptr ? nullptr : member->as<std::string>()) return *value;
    std::string names;
    if (object != nullptr)
      for (const auto& [key, _] : *object) names += (names.empty() ? "" : ", ") + core::json_text(key);
    throw bad_input(position() + ": no string \"" + name + "\", found fields " + (names.empty() ? "none" : names) +
                    ". Give every row " + (takes_pairs_ ? "text and text_pair." : "text."));
  };
  TextRow row{field("text"), std::nullopt};
  if (takes_pairs_) row.pair = field("text_pair");
  return row;
}

}  // namespace crosstune::cli
