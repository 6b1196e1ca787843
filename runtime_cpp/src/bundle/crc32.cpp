#include "bundle/crc32.hpp"

#include <array>

namespace crosstune::core {
namespace {

using Table = std::array<std::uint32_t, 256>;

// Slicing-by-8: table n has the checksum of a byte followed by n zero bytes, so that eight bytes are processed next a time.
constexpr std::array<Table, 8> make_tables() {
  std::array<Table, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
    tables[0][byte] = crc;
  }
  for (std::size_t n = 1; n < tables.size(); ++n)
    for (std::size_t byte = 0; byte < 256; ++byte)
      tables[n][byte] = (tables[n - 1][byte] >> 8) ^ tables[0][tables[n - 1][byte] & 255];
  return tables;
}

constexpr std::array<Table, 8> kTables = make_tables();

}  // namespace

std::uint32_t crc32(std::string_view bytes) {
  const auto* next = reinterpret_cast<const unsigned char*>(bytes.data());
  const unsigned char* const end = next + bytes.size();
  std::uint32_t crc = ~std::uint32_t{0};
  for (; end - next >= 8; next += 8) {
    const std::uint32_t first = crc ^ (next[0] | std::uint32_t{next[1]} << 8 | std::uint32_t{next[2]} << 16 | std::uint32_t{next[3]} << 24);
    crc = kTables[7][first & 255] ^ kTables[6][first >> 8 & 255] ^ kTables[5][first >> 16 & 255] ^ kTables[4][first >> 24] ^
           kTables[3][next[4]] ^ kTables[2][next[5]] ^ kTables[1][next[6]] ^ kTables[0][next[7]];
  }
  for (; next != end; ++next) crc = (crc >> 8) ^ kTables[0][(crc ^ *next) & 255];
  return ~crc;
}

}  // namespace crosstune::core
