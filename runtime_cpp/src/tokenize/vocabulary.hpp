// The vocabulary of a tokenizer.json, and the tokens of a WordPiece vocabulary, looked up by the longest prefix of a word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/json_reader.hpp"

namespace crosstune::core {

// The id of a token in the field "vocab" of a model. Throws Failure.
std::int32_t id_in(const JsonReader& model, const std::string& token, const Json& json);

// A map from byte strings to ids: a hash table with open addressing. FNV-1a gives the hashes of all prefixes of a word at
// the cost of one multiplication per byte.
class PrefixTable {
 public:
  explicit PrefixTable(std::size_t expected_keys);

  // Keys must be distinct and must not be empty.
  void add(std::string_view key, std::int32_t id);

  struct Match {
    std::size_t size;  // of the key in bytes; 0 when no key matches
    std::int32_t id;
  };

  // The longest key that is a prefix of `text`.
  Match longest_prefix(std::string_view text) const;

 private:
  struct Slot {
    std::uint32_t start = 0, size = 0;  // of the key in keys_; size 0 marks a free slot
    std::uint32_t hash_high = 0;        // upper half of the hash, compared before the key
    std::int32_t id = 0;
  };

  static std::uint64_t extend(std::uint64_t hash, char byte);

  std::vector<Slot> slots_;  // as many as a power of two, at most half of them used
  std::string keys_;
  std::size_t longest_key_ = 0;
};

}  // namespace crosstune::core
