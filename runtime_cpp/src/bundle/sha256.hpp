// SHA-256 by OpenSSL's libcrypto, which uses the processor's SHA instructions.
#pragma once

#include <string>
#include <string_view>

namespace crosstune::core {

// 64 lowercase hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

}  // namespace crosstune::core
