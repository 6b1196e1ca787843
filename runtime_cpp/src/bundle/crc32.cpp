#include "bundle/crc32.hpp"

#include <array>

namespace crosstune::core {
namespace {

using Table = std::array<std::uint32_t, 256>;

// Eight tables: a byte that is followed by n zero bytes has its share in table n, so that eight bytes are taken at once.
constexpr std::array<Table, 8> make_tables() {
  std::array<Table, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1) != 0 ? 0xEDB88320u : 0u);
    tables[0][byte] = rest;
  }
  for (std::size_t n = 1; n < tables.size(); ++n)
    for (std::size_t byte = 0; byte < 256; ++byte)
      tables[n][byte] = (tables[n - 1][byte] >> 8) ^ tables[0][tables[n - 1][byte] & 255];
  return tables;
}

constexpr std::array<Table, 8> kTables = make_tables();

}  // namespace

std::uint32_t crc32(std::string_view bytes) {
  const auto* at = reinterpret_cast<const unsigned char*>(bytes.data());
  const unsigned char* const end = at + bytes.size();
  std::uint32_t rest = ~std::uint32_t{0};
  for (; end - at >= 8; at += 8) {
    const std::uint32_t first = rest ^ (at[0] | std::uint32_t{at[1]} << 8 | std::uint32_t{at[2]} << 16 | std::uint32_t{at[3]} << 24);
    rest = kTables[7][first & 255] ^ kTables[6][first >> 8 & 255] ^ kTables[5][first >> 16 & 255] ^ kTables[4][first >> 24] ^
           kTables[3][at[4]] ^ kTables[2][at[5]] ^ kTables[1][at[6]] ^ kTables[0][at[7]];
  }
  for (; at != end; ++at) rest = (rest >> 8) ^ kTables[0][(rest ^ *at) & 255];
  return ~rest;
}

}  // namespace crosstune::core
