// A text as the row of token ids that the graph takes. docs/bundle_format.md has the layout.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "bundle/manifest.hpp"
#include "tokenize/tokenizer.hpp"

namespace crosstune::core {

struct TokenRow {
  std::vector<std::int64_t> ids;       // special ids included
  std::vector<std::int64_t> type_ids;  // one per id
  bool truncated = false;              // whether the text had more tokens than the row
};

// How many tokens of each text of a pair fit into `budget` tokens, truncating the longer text first.
std::pair<std::size_t, std::size_t> longest_first(std::size_t first, std::size_t second, std::size_t budget);

// Turns texts into rows for one bundle.
class TextTokenizer {
 public:
  TextTokenizer(std::unique_ptr<const Tokenizer> tokenizer, const TokenLayout& layout)
      : tokenizer_(std::move(tokenizer)), layout_(layout) {}

  // The largest id that a row can contain.
  std::int32_t largest_id() const;

  TokenRow single(std::string_view text) const;
  TokenRow pair(std::string_view first, std::string_view second) const;

 private:
  // Stops early once there are more than `max_ids` ids. `truncated` tells whether the text had too many bytes.
  std::vector<std::int32_t> ids_of(std::string_view text, std::size_t max_ids, bool* truncated) const;

  std::unique_ptr<const Tokenizer> tokenizer_;
  TokenLayout layout_;
};

}  // namespace crosstune::core
