// Fuzz target: the input is a manifest without its digest, which is added.
#include <cstdint>
#include <string>

#include "bundle/manifest.hpp"
#include "error.hpp"
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
