// Splits texts into the tokens of a vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace crosstune::core {

// Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Appends the ids of `text`, which must be UTF-8, without special tokens. "[SEP]" in a text is ordinary text. May stop
  // once `ids` has more than `max_ids` entries.
  virtual void append_ids(std::string_view text, std::size_t max_ids, std::vector<std::int32_t>* ids) const = 0;

  // The largest id in the vocabulary, special tokens included.
  virtual std::int32_t largest_id() const = 0;
};

}  // namespace crosstune::core
