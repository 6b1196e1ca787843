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

  // What messages call a file of this bundle.
  std::string where(const char* name) const { return path + "/" + name; }
};

// Reads a bundle: a folder with exactly the five files, none of them a link, or the file that `crosstune-export pack` writes.
// Reads each file once and checks its hash before parsing it. Throws Failure (CROSSTUNE_BUNDLE).
BundleFiles read_bundle(const std::string& path);

}  // namespace crosstune::core
