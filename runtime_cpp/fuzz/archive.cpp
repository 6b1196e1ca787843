// Fuzz target: the input is a packed bundle.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "bundle/archive.hpp"
#include "error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace crosstune::core;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::string bytes_read;
  const auto source = [&](char* target, std::size_t count) {
    const std::size_t available = std::min(count, rest.size());
    if (available != 0) std::memcpy(target, rest.data(), available);
    bytes_read.append(rest.substr(0, available));
    rest.remove_prefix(available);
    return available;
  };
  ArchiveReader archive(source, size, "x.zip");
  try {
    for (const char* name : kMembers)
      if (archive.read(name).size > max_bytes_of(name)) __builtin_trap();
    archive.finish();
  } catch (const Failure& failure) {
    if (failure.status != CROSSTUNE_BUNDLE) __builtin_trap();
    return 0;
  }
  if (!rest.empty() || bytes_read.size() != size) __builtin_trap();  // accepted without reading everything
  return 0;
}
