// Splits a piece of a text, which a pre-tokenizer cut out, into tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace crosstune::core {

// Thread-safe.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;

  // Appends the ids of a piece, which is not empty.
  virtual void append_ids(std::u32string_view piece, std::vector<std::int32_t>* ids) const = 0;

  // The largest id in the vocabulary.
  virtual std::int32_t largest_id() const = 0;
};

}  // namespace crosstune::core
