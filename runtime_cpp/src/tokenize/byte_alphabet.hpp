// The characters that stand for bytes in the tokens of a byte-level vocabulary.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace crosstune::core {

// The character of a byte, in UTF-8.
std::string character_of(unsigned char byte);

// The bytes of a token; nothing if it has a character that stands for no byte.
std::optional<std::string> bytes_of(std::string_view token);

}  // namespace crosstune::core
