// Byte-level BPE: a piece begins as the tokens of its bytes, and pairs of neighbors are merged, the earliest learned pair first.
#pragma once

#include <unordered_map>

#include "bundle/json_reader.hpp"
#include "tokenize/subword_model.hpp"

namespace crosstune::core {

class ByteLevelBpe : public SubwordModel {
 public:
  // `model` is the "model" of a tokenizer.json. Throws Failure.
  explicit ByteLevelBpe(const JsonReader& model);

  void append_ids(std::u32string_view piece, std::vector<std::int32_t>* ids) const override;
  std::int32_t largest_id() const override { return largest_id_; }

 private:
  struct Merge {
    std::int32_t left = 0, right = 0;
    std::int32_t id = -1;    // of the merged token; -1 marks a free slot
    std::uint32_t rank = 0;  // pairs of lower rank are merged first
  };

  void read_merges(const JsonReader& model, const std::unordered_map<std::string_view, std::int32_t>& vocabulary);
  void add(const Merge& merge);
  const Merge* find(std::int32_t left, std::int32_t right) const;

  std::int32_t byte_ids_[256];
  std::int32_t largest_id_ = 0;
  std::vector<Merge> merges_;  // a hash table of a power of two, at most half of it used
  std::unordered_map<std::string, std::int32_t> whole_pieces_;  // pieces that are tokens without any merge; by their bytes
};

}  // namespace crosstune::core
