// Inputs to classify, one at a time from lines of text or JSON Lines.
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

// By the ending of a file name; lines of text for any that is not known. Throws core::Failure for .csv and .tsv.
Format format_of(const std::string& file);

class TextRows {
 public:
  // `where` names the source in messages.
  TextRows(std::istream& source, std::string where, Format format, bool takes_pairs);

  // The next row, or nothing at the end; blank lines are skipped. Throws core::Failure with the number of the line.
  std::optional<TextRow> next();

 private:
  bool read_line(std::string* line);
  TextRow read_json(const std::string& line) const;
  std::string place() const { return where_ + ":" + std::to_string(number_); }

  std::istream& source_;
  std::string where_;
  Format format_;
  bool takes_pairs_;
  std::size_t number_ = 0, offset_ = 0, read_ = 0;  // of the line; bytes before it; bytes read
};

}  // namespace crosstune::cli
