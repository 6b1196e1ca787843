#include "tokenize/token_row.hpp"

#include <algorithm>
#include <limits>

#include "utf8.hpp"

namespace crosstune::core {
namespace {

void append(const std::vector<std::int32_t>& from, std::size_t count, std::vector<std::int64_t>* to) {
  to->insert(to->end(), from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace

std::pair<std::size_t, std::size_t> longest_first(std::size_t first, std::size_t second, std::size_t budget) {
  if (first + second <= budget) return {first, second};
  const auto [shorter, longer] = std::minmax(first, second);
  std::size_t keep_short = shorter;
  std::size_t keep_long = keep_short > budget ? keep_short : std::max(keep_short, budget - keep_short);
  if (keep_short + keep_long > budget) {
    keep_short = budget / 2;
    keep_long = keep_short + budget % 2;
  }
  keep_short = std::min(keep_short, shorter);
  keep_long = std::min(keep_long, longer);
  return first <= second ? std::pair(keep_short, keep_long) : std::pair(keep_long, keep_short);
}

std::vector<std::int32_t> TextTokenizer::ids_of(std::string_view text, std::size_t max_ids, bool* truncated) const {
  std::string buffer;
  std::vector<std::int32_t> ids;
  tokenizer_->append_ids(to_valid_utf8(text, layout_.max_text_bytes, &buffer, truncated), max_ids, &ids);
  return ids;
}

std::int32_t TextTokenizer::largest_id() const {
  std::int32_t largest = std::max(tokenizer_->largest_id(), layout_.pad_id);
  for (const auto* ids : {&layout_.prefix_ids, &layout_.infix_ids, &layout_.suffix_ids})
    for (const std::int32_t id : *ids) largest = std::max(largest, id);
  return largest;
}

TokenRow TextTokenizer::single(std::string_view text) const {
  const std::size_t budget = layout_.max_length_tokens - layout_.prefix_ids.size() - layout_.suffix_ids.size();
  bool too_many_bytes = false;
  const std::vector<std::int32_t> ids = ids_of(text, budget, &too_many_bytes);
  TokenRow row;
  row.truncated = too_many_bytes || ids.size() > budget;
  append(layout_.prefix_ids, layout_.prefix_ids.size(), &row.ids);
  append(ids, std::min(ids.size(), budget), &row.ids);
  append(layout_.suffix_ids, layout_.suffix_ids.size(), &row.ids);
  row.type_ids.resize(row.ids.size(), 0);
  return row;
}

TokenRow TextTokenizer::pair(std::string_view first, std::string_view second) const {
  constexpr auto kNoLimit = std::numeric_limits<std::size_t>::max();  // how much is kept depends on both full lengths
  const std::size_t special = layout_.prefix_ids.size() + layout_.infix_ids.size() + layout_.suffix_ids.size();
  bool first_too_long = false, second_too_long = false;
  const std::vector<std::int32_t> a = ids_of(first, kNoLimit, &first_too_long);
  const std::vector<std::int32_t> b = ids_of(second, kNoLimit, &second_too_long);
  const auto [keep_a, keep_b] = longest_first(a.size(), b.size(), layout_.max_length_tokens - special);
  TokenRow row;
  row.truncated = first_too_long || second_too_long || keep_a < a.size() || keep_b < b.size();
  append(layout_.prefix_ids, layout_.prefix_ids.size(), &row.ids);
  append(a, keep_a, &row.ids);
  append(layout_.infix_ids, layout_.infix_ids.size(), &row.ids);
  row.type_ids.resize(row.ids.size(), 0);
  append(b, keep_b, &row.ids);
  append(layout_.suffix_ids, layout_.suffix_ids.size(), &row.ids);
  row.type_ids.resize(row.ids.size(), layout_.second_type_id);
  return row;
}

}  // namespace crosstune::core
