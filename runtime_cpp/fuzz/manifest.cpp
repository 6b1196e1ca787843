// Any bytes as the rest of a manifest whose digest is right.
#include <cstdint>
#include <string>

#include "error.hpp"
#include "bundle/manifest.hpp"
#include "signed_manifest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace crosstune::core;
  try {
    parse_manifest(fuzz::signed_manifest({reinterpret_cast<const char*>(data), size}), "manifest.json");
  } catch (const Failure& failure) {
    if (failure.status != CROSSTUNE_BUNDLE) __builtin_trap();
  }
  return 0;
}
