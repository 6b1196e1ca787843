// A bundle in one file: a zip archive of which every byte is laid down. docs/bundle_format.md has the layout.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "error.hpp"
#include "bundle/file_bytes.hpp"
#include "bundle/manifest.hpp"

namespace crosstune::core {

// The order of the members: what a reader needs first stands first.
inline constexpr std::array<const char*, 5> kMembers = {kManifestName, kTokenizerName, kSelftestName, kCardName, kModelName};

// Reads the members of an archive one after the other, each once. Throws Failure (CROSSTUNE_BUNDLE).
class ArchiveReader {
 public:
  // Puts at most so many bytes there and tells how many; fewer only at the end of the file.
  using Source = std::function<std::size_t(char*, std::size_t)>;

  // `size` is that of the file: nothing larger is ever made room for. `where` names it in messages.
  ArchiveReader(Source source, std::uint64_t size, std::string where);

  // The next member, which must be this one.
  FileBytes read(const char* name);

  // What stands behind the members must be their directory alone.
  void finish();

 private:
  std::string take(std::size_t size);
  std::string head(const std::string& name, std::string_view data);
  Failure bad(const std::string& found) const;

  Source source_;
  std::uint64_t left_;
  std::string where_;
  std::string directory_;  // what the archive must say of the members so far
  std::uint64_t at_ = 0;
};

}  // namespace crosstune::core
