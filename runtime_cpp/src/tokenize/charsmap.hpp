// SentencePiece's table of characters and what takes their place: the normalizer "Precompiled".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/json_reader.hpp"

namespace crosstune::core {

class Charsmap {
 public:
  // `part` is the normalizer. Throws Failure.
  explicit Charsmap(const JsonReader& part);

  // Replaces each grapheme cluster of at most five bytes as a whole, and each other character by itself.
  void apply(std::u32string* text) const;

 private:
  // What takes the place of the shortest key with which `bytes` begins.
  std::optional<std::string_view> find(std::string_view bytes) const;

  std::vector<std::uint32_t> units_;  // a double array, as the library Darts-clone writes it
  std::string texts_;                 // each ends with a NUL
};

}  // namespace crosstune::core
