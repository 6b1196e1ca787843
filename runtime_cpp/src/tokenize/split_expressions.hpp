// The regular expressions by which byte-level tokenizers split a text, written out by hand: no expression of a bundle ever runs.
#pragma once

#include <cstddef>
#include <string_view>

namespace crosstune::core {

// The size of the first match in a text that is not empty. Each expression matches at every position.
using SplitExpression = std::size_t (*)(std::u32string_view text);

// The expression of GPT-2, which ByteLevel uses.
std::size_t gpt2_match(std::u32string_view text);

// The expression of a Split with this text; null if it is not supported.
SplitExpression split_expression(std::string_view expression);

}  // namespace crosstune::core
