// The files of a bundle in memory, every byte checked against the manifest.
#pragma once

#include <string>

#include "bundle/file_bytes.hpp"
#include "bundle/manifest.hpp"

namespace crosstune::core {

struct BundleFiles {
  std::string path;
  Manifest manifest;
  FileBytes model, tokenizer, selftest;

  std::string where(const char* name) const { return path + "/" + name; }
};

// Reads a bundle: a folder with its five files and no other, none through a link, or the one file that crosstune-export pack
// makes of it. Each is read once, hashes before contents.
// Throws Failure (CROSSTUNE_BUNDLE).
BundleFiles read_bundle(const std::string& path);

}  // namespace crosstune::core
