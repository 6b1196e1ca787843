// A tokenizer.json becomes the tokenizer of its family. BPE and Unigram would stand beside wordpiece.hpp and be chosen in
// read_tokenizer; until they do, their files are refused.
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

  // Appends the ids of `text`, without special tokens; a special token spelled out in it is ordinary text. May stop as soon
  // as more than `enough` ids are there. `text` is UTF-8. Safe in many threads at once.
  virtual void append_ids(std::string_view text, std::size_t enough, std::vector<std::int32_t>* ids) const = 0;

  // The largest id that its file names.
  virtual std::int32_t largest_id() const = 0;
};

// Reads the format of the `tokenizers` library. Throws Failure (CROSSTUNE_BUNDLE) for a file that is broken or whose
// tokenizer this library does not have; it never guesses.
std::unique_ptr<const Tokenizer> read_tokenizer(std::string_view bytes, const std::string& where);

}  // namespace crosstune::core
