// The CRC-32 checksum of zip archives.
#pragma once

#include <cstdint>
#include <string_view>

namespace crosstune::core {

std::uint32_t crc32(std::string_view bytes);

}  // namespace crosstune::core
