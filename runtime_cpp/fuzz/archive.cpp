// Any bytes as a bundle in one file, read from memory.
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
  std::string again;
  const auto source = [&](char* target, std::size_t count) {
    const std::size_t given = std::min(count, rest.size());
    if (given != 0) std::memcpy(target, rest.data(), given);
    again.append(rest.substr(0, given));
    rest.remove_prefix(given);
    return given;
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
  if (!rest.empty() || again.size() != size) __builtin_trap();  // accepted with something that was not read
  return 0;
}
