// A packed bundle: a zip archive whose every byte the format prescribes. docs/bundle_format.md has the layout.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "bundle/file_bytes.hpp"
#include "bundle/manifest.hpp"
#include "error.hpp"

namespace crosstune::core {

// The files in the order in which the archive stores them: first what a reader needs first.
inline constexpr std::array<const char*, 5> kMembers = {kManifestName, kTokenizerName, kSelftestName, kCardName, kModelName};

// Reads the files of an archive one after the other, once each. Throws Failure (CROSSTUNE_BUNDLE).
class ArchiveReader {
 public:
  // Reads up to `size` bytes into `target` and returns how many; fewer only at the end of the archive.
  using Source = std::function<std::size_t(char* target, std::size_t size)>;

  // `size` is the archive's size in bytes; no file in it may be larger. `where` names the archive in messages.
  ArchiveReader(Source source, std::uint64_t size, std::string where);

  // Reads the next file, which must be `name`.
  FileBytes read(const char* name);

  // Checks that only the archive's directory follows the files.
  void finish();

 private:
  std::string take(std::size_t size);
  std::string add_entry(const std::string& name, std::string_view data);
  Failure error(const std::string& problem) const;

  Source source_;
  std::uint64_t bytes_left_;
  std::string where_;
  std::string directory_;  // the directory that the archive must have for the files read so far
  std::uint64_t offset_ = 0;
};

}  // namespace crosstune::core
