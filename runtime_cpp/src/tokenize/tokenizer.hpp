// Reads the tokenizer that a tokenizer.json describes. Only BERT's WordPiece is supported.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tokenize/wordpiece.hpp"

namespace crosstune::core {

// Reads a file in the format of the `tokenizers` library. Throws Failure (CROSSTUNE_BUNDLE) when the file is invalid or its
// tokenizer is not supported.
std::unique_ptr<const WordPiece> read_tokenizer(std::string_view bytes, const std::string& where);

}  // namespace crosstune::core
