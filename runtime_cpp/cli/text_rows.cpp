#include "text_rows.hpp"

#include <cctype>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <cstring>
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
  for (const char* ending : {".csv", ".tsv", ".tab", ".parquet", ".xlsx", ".json", ".gz"}) {
    if (ends_with(name, ending))
      throw Failure(CROSSTUNE_USAGE, file + ": ending '" + ending + "', expected .jsonl or .txt. "
                                            "Use crosstune-export classify, which reads such files, or convert it.");
  }
  if (ends_with(name, ".jsonl") || ends_with(name, ".ndjson") || ends_with(name, ".jsonlines")) return Format::kJsonLines;
  std::error_code error;
  const bool is_pipe = !std::filesystem::is_regular_file(file, error) && std::filesystem::exists(file, error);
  if (ends_with(name, ".txt") || name == "-" || is_pipe) return Format::kText;
  throw Failure(CROSSTUNE_USAGE, file + ": unknown ending, expected .jsonl, .ndjson, .jsonlines or .txt. "
                                        "Name the format with --input-format jsonl or --input-format text.");
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
    if (line_number_ == 1) check_first_bytes(line);
    const std::size_t invalid = core::first_invalid(line);
    if (invalid != line.size()) {
      char byte[5];
      std::snprintf(byte, sizeof byte, "0x%02x", static_cast<unsigned char>(line[invalid]));
      throw bad_input(position() + ": byte " + byte + " at offset " + std::to_string(line_start_ + invalid) +
                      " is not UTF-8. Save the file as UTF-8, for example with: iconv -f cp1252 -t utf-8");
    }
    if (line_number_ == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
    if (is_blank(line)) continue;
    if (format_ == Format::kJsonLines) return read_json(line);
    return checked({line, std::nullopt});
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
    if (member != nullptr) {
      throw bad_input(position() + ": " + name + (member->is_null() ? " is null" : " is not a string") +
                      ", expected a string. Remove the row or fill it in.");
    }
    std::string names;
    if (object != nullptr)
      for (const auto& [key, _] : *object) names += (names.empty() ? "" : ", ") + core::json_text(key);
    throw bad_input(position() + ": no field '" + name + "', found " + (names.empty() ? "none" : names) +
                    ". Give every row " + (takes_pairs_ ? "text and text_pair." : "text."));
  };
  TextRow row{field("text"), std::nullopt};
  if (takes_pairs_) row.pair = field("text_pair");
  return checked(std::move(row));
}

// Names files that are no text, so that nobody looks for a wrong byte in them.
void TextRows::check_first_bytes(const std::string& line) const {
  static constexpr std::pair<const char*, const char*> kBinary[] = {
      {"\x1f\x8b", "a gzip file, expected text. Run gunzip first."},
      {"PK\x03\x04", "a zip archive or an Excel workbook, expected text. Save its texts as UTF-8."},
      {"PAR1", "a Parquet file, expected text. Use crosstune-export classify, which reads Parquet."},
      {"\xff\xfe", "UTF-16, expected UTF-8. Run: iconv -f utf-16 -t utf-8"},
      {"\xfe\xff", "UTF-16, expected UTF-8. Run: iconv -f utf-16 -t utf-8"},
  };
  for (const auto& [start, what] : kBinary)
    if (line.compare(0, std::strlen(start), start) == 0) throw bad_input(where_ + ": is " + what);
}

TextRow TextRows::checked(TextRow row) const {
  std::string problem = core::control_problem(row.text);
  if (!problem.empty()) throw bad_input(position() + ": text " + problem);
  if (row.pair) problem = core::control_problem(*row.pair);
  if (!problem.empty()) throw bad_input(position() + ": text_pair " + problem);
  return row;
}

}  // namespace crosstune::cli
