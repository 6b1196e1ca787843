// The tokenizer that a tokenizer.json describes. Only WordPiece is supported; read_tokenizer() refuses the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace crosstune::core {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Appends the ids of `text`, which must be UTF-8, without special tokens. "[SEP]" in a text is ordinary text. May stop
  // once `ids` has more than `max_ids` entries. Thread-safe.
  virtual void append_ids(std::string_view text, std::size_t max_ids, std::vector<std::int32_t>* ids) const = 0;

  // The largest id in the vocabulary, special tokens included.
  virtual std::int32_t largest_id() const = 0;
};

// Reads a file in the format of the `tokenizers` library. Throws Failure (CROSSTUNE_BUNDLE) when the file is invalid or its
// tokenizer is not supported.
std::unique_ptr<const Tokenizer> read_tokenizer(std::string_view bytes, const std::string& where);

}  // namespace crosstune::core
