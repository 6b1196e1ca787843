// Where a text may be divided into grapheme clusters: what a reader takes for one character.
#pragma once

#include <cstddef>
#include <string_view>

namespace crosstune::core {

// Finds the clusters of a text, one after the other. Pairs of regional indicators count as two clusters: nobody asks for them.
class GraphemeClusters {
 public:
  explicit GraphemeClusters(std::u32string_view text) : text_(text) {}

  // The next cluster; empty at the end of the text.
  std::u32string_view next();

 private:
  std::u32string_view text_;
  std::size_t position_ = 0;
};

}  // namespace crosstune::core
