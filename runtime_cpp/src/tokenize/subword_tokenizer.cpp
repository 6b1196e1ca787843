#include "tokenize/subword_tokenizer.hpp"

#include <algorithm>

#include "utf8.hpp"

namespace crosstune::core {

void SubwordTokenizer::append_ids(std::string_view text, std::size_t max_ids, std::vector<std::int32_t>* ids) const {
  const auto append_pieces = [&](std::u32string_view part) {
    const Pieces pieces = pre_tokenizer_.split(part);
    for (std::size_t i = 0; i < pieces.size() && ids->size() <= max_ids; ++i) model_->append_ids(pieces[i], ids);
  };
  added_.split_raw(code_points_of(text), [&](std::int32_t raw_id, std::u32string_view raw) {
    if (ids->size() > max_ids) return;
    if (raw_id >= 0) return ids->push_back(raw_id);
    std::u32string normalized(raw);
    normalizer_.apply(&normalized);
    added_.split_normalized(normalized, [&](std::int32_t id, std::u32string_view part) {
      if (ids->size() > max_ids) return;
      if (id >= 0) ids->push_back(id);
      else append_pieces(part);
    });
  });
}

std::int32_t SubwordTokenizer::largest_id() const { return std::max(model_->largest_id(), added_.largest_id()); }

}  // namespace crosstune::core
