#include "tokenize/byte_alphabet.hpp"

#include "utf8.hpp"

namespace crosstune::core {
namespace {

// GPT-2's alphabet: printable characters of Latin-1 stand for themselves, the other bytes for code points from U+0100 on.
bool is_printable(unsigned byte) { return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD); }

struct Alphabet {
  char32_t code_of[256];
  int byte_of[512];

  Alphabet() {
    for (int& byte : byte_of) byte = -1;
    char32_t next = 256;
    for (unsigned byte = 0; byte < 256; ++byte) {
      code_of[byte] = is_printable(byte) ? byte : next++;
      byte_of[code_of[byte]] = static_cast<int>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet made;
  return made;
}

}  // namespace

std::string character_of(unsigned char byte) {
  std::string character;
  append_utf8(alphabet().code_of[byte], &character);
  return character;
}

std::optional<std::string> bytes_of(std::string_view token) {
  std::string bytes;
  for (std::size_t position = 0; position < token.size();) {
    const char32_t code = next_code_point(token, &position);
    const int byte = code < 512 ? alphabet().byte_of[code] : -1;
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

}  // namespace crosstune::core
