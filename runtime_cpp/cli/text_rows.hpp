// Reads the texts to classify, one at a time, from a text file or JSON Lines.
#pragma once

#include <istream>
#include <optional>
#include <string>

namespace crosstune::cli {

struct TextRow {
  std::string text;
  std::optional<std::string> pair;
};

enum class Format { kText, kJsonLines };

// The format by the file extension; text for standard input and pipes. Throws core::Failure for other extensions.
Format format_of(const std::string& file);

class TextRows {
 public:
  // `where` names the source in messages.
  TextRows(std::istream& source, std::string where, Format format, bool takes_pairs);

  // The next row, or std::nullopt at the end. Skips blank lines. Throws core::Failure with the line number.
  std::optional<TextRow> next();

 private:
  bool read_line(std::string* line);
  TextRow read_json(const std::string& line) const;
  void check_first_bytes(const std::string& line) const;
  TextRow checked(TextRow row) const;  // throws when a text has a control character
  std::string position() const { return where_ + ":" + std::to_string(line_number_); }

  std::istream& source_;
  std::string where_;
  Format format_;
  bool takes_pairs_;
  std::size_t line_number_ = 0, line_start_ = 0, bytes_read_ = 0;
};

}  // namespace crosstune::cli
