// Text to the row of ids that the graph sees, as docs/bundle_format.md lays it out.
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
  std::vector<std::int64_t> type_ids;  // as many
  bool truncated = false;
};

// How many tokens of each text of a pair are kept, the longer one giving way first.
std::pair<std::size_t, std::size_t> longest_first(std::size_t first, std::size_t second, std::size_t budget);

class RowMaker {
 public:
  RowMaker(std::unique_ptr<const Tokenizer> tokenizer, const TokenLayout& layout)
      : tokenizer_(std::move(tokenizer)), layout_(layout) {}

  // The largest id that a row can hold.
  std::int32_t largest_id() const;

  TokenRow single(std::string_view text) const;
  TokenRow pair(std::string_view first, std::string_view second) const;

 private:
  std::vector<std::int32_t> ids_of(std::string_view text, std::size_t enough, bool* cut) const;

  std::unique_ptr<const Tokenizer> tokenizer_;
  TokenLayout layout_;
};

}  // namespace crosstune::core
