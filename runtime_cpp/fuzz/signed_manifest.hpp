// Adds the right digest to fuzzed manifests, so that the fuzzer reaches the code behind the digest check.
#pragma once

#include <string>
#include <string_view>

#include "bundle/sha256.hpp"

namespace crosstune::core::fuzz {

// A manifest that starts with its digest and continues with `rest`.
inline std::string signed_manifest(std::string_view rest) {
  const std::string head = "{\n  \"digest\": \"";
  std::string bytes = head + std::string(64, '0') + "\"" + std::string(rest);
  return bytes.replace(head.size(), 64, sha256_hex(bytes));
}

}  // namespace crosstune::core::fuzz
