// The tokens of a WordPiece model, found by the longest prefix of a word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace crosstune::core {

// A set of byte strings with an id each: one open-addressed table, probed with the hashes of all prefixes of a word, which
// cost one multiplication a byte.
class PrefixTable {
 public:
  explicit PrefixTable(std::size_t expected_keys);

  // Keys must be distinct and not empty.
  void add(std::string_view key, std::int32_t id);

  struct Match {
    std::size_t size;  // bytes, 0 where there is none
    std::int32_t id;
  };

  // The longest key that `text` starts with.
  Match longest_prefix(std::string_view text) const;

 private:
  struct Slot {
    std::uint32_t start = 0, size = 0;  // of the key in keys_; size 0: free
    std::uint32_t check = 0;            // upper half of the hash
    std::int32_t id = 0;
  };

  static std::uint64_t extend(std::uint64_t hash, char byte);

  std::vector<Slot> slots_;  // a power of two, at most half full
  std::string keys_;
  std::size_t longest_key_ = 0;
};

}  // namespace crosstune::core
