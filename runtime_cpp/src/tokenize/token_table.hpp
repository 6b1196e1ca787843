// Tokens, looked up by what a text begins with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace crosstune::core {

// A hash table with open addressing. The hash of a text is that of the text without its last code point, and one more step.
class TokenTable {
 public:
  explicit TokenTable(std::size_t most_tokens);

  // A token that is there already gets the new id. At most as many as the constructor was told, none of them empty.
  void add(std::u32string_view token, std::int32_t id);

  // Calls sink(size, id) for each token with which `text` begins, the shortest first.
  template <typename Sink>
  void each_prefix(std::u32string_view text, Sink sink) const {
    std::uint64_t hash = 0;
    const std::size_t longest = std::min(text.size(), longest_);
    for (std::size_t size = 1; size <= longest; ++size) {
      hash = extended(hash, text[size - 1]);
      const Slot& slot = slots_[index_of(text.substr(0, size), hash)];
      if (slot.size != 0) sink(size, slot.id);
    }
  }

  // The id of a token; -1 if there is no such token.
  std::int32_t id_of(std::u32string_view token) const;

 private:
  struct Slot {
    std::uint32_t start = 0, size = 0;  // of the token in texts_; size 0 marks a free slot
    std::uint32_t hash_high = 0;        // compared before the token
    std::int32_t id = -1;
  };

  static std::uint64_t extended(std::uint64_t hash, char32_t code) { return (hash + code + 1) * 0x9E3779B97F4A7C15u; }
  static std::uint64_t hash_of(std::u32string_view token);

  // The index of a token's slot, or of the free one where it would be.
  std::size_t index_of(std::u32string_view token, std::uint64_t hash) const {
    const std::size_t mask = slots_.size() - 1;
    const auto high = static_cast<std::uint32_t>(hash >> 32);
    for (std::size_t i = static_cast<std::size_t>(hash >> 20) & mask;; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.size == 0) return i;
      if (slot.hash_high == high && slot.size == token.size() && texts_.compare(slot.start, slot.size, token) == 0) return i;
    }
  }

  std::vector<Slot> slots_;  // as many as a power of two, at most half of them used
  std::u32string texts_;
  std::size_t longest_ = 0;
};

}  // namespace crosstune::core
