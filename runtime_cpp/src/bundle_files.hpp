// The files of a bundle in memory, every byte checked against the manifest.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "manifest.hpp"

namespace crosstune::core {

// Bytes of one file, not zeroed before they are read.
struct FileBytes {
  std::unique_ptr<char[]> data;
  std::size_t size = 0;

  std::string_view view() const { return {data.get(), size}; }
};

struct BundleFiles {
  std::string path;
  Manifest manifest;
  FileBytes model, tokenizer, selftest;

  std::string where(const char* name) const { return path + "/" + name; }
};

// Reads a bundle folder: its five files and no other, none through a link, each once, hashes before contents.
// Throws Failure (CROSSTUNE_BUNDLE).
BundleFiles read_bundle(const std::string& path);

}  // namespace crosstune::core
