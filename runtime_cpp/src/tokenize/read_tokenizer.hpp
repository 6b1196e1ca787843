// Reads the tokenizer that a tokenizer.json describes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tokenize/tokenizer.hpp"

namespace crosstune::core {

// Reads a file in the format of the `tokenizers` library. Throws Failure (CROSSTUNE_BUNDLE) when the file is invalid or its
// tokenizer is not supported.
std::unique_ptr<const Tokenizer> read_tokenizer(std::string_view bytes, const std::string& where);

}  // namespace crosstune::core
