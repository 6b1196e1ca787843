#include "bundle/sha256.hpp"

#include <openssl/evp.h>

#include "error.hpp"

namespace crosstune::core {

std::string sha256_hex(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) != 1 || size != 32)
    throw Failure(CROSSTUNE_RESOURCES, "sha256: libcrypto returned no digest, expected one. Check the OpenSSL installation.");
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    text += "0123456789abcdef"[digest[i] >> 4];
    text += "0123456789abcdef"[digest[i] & 15];
  }
  return text;
}

}  // namespace crosstune::core
