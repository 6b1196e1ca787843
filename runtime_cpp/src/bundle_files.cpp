#include "bundle_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "error.hpp"
#include "sha256.hpp"

namespace crosstune::core {
namespace {

struct Descriptor {
  int number;
  explicit Descriptor(int opened) : number(opened) {}
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

void check_names(const std::string& path) {
  struct stat status;
  const bool exists = stat(path.c_str(), &status) == 0;
  if (!exists || !S_ISDIR(status.st_mode)) {
    throw refused(path + ": found " + (exists ? "a file" : "nothing") +
                  ", expected a bundle folder. Build one with crosstune-export build.");
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (!folder) {
    throw refused(path + ": cannot be listed (" + std::strerror(errno) + "), expected a bundle folder. Check its permissions.");
  }
  std::set<std::string> found;
  while (const dirent* entry = readdir(folder.get())) found.insert(entry->d_name);
  found.erase(".");
  found.erase("..");
  std::string expected;
  for (const auto& [name, _] : kFiles) {
    if (found.erase(name) == 0)
      throw refused(path + "/" + name + ": missing, expected in every bundle. Copy or build the bundle again.");
    expected += (expected.empty() ? "" : ", ") + std::string(name);
  }
  if (!found.empty()) {
    throw refused(path + "/" + *found.begin() + ": a foreign file, expected only " + expected +
                  ". Remove it or build the bundle again.");
  }
}

// The whole of one file, which must have `expected_size` bytes unless that is null.
FileBytes read_file(const std::string& path, std::uint64_t max_bytes, const std::uint64_t* expected_size) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (file.number < 0) {
    throw refused(path + ": cannot be opened (" + std::strerror(errno) +
                  "), expected a regular file. Copy or build the bundle again.");
  }
  struct stat status;
  if (fstat(file.number, &status) != 0 || !S_ISREG(status.st_mode))
    throw refused(path + ": not a regular file. Copy or build the bundle again.");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > max_bytes) {
    throw refused(path + ": " + std::to_string(size) + " bytes, expected at most " + std::to_string(max_bytes) +
                  ". Build the bundle again.");
  }
  if (expected_size != nullptr && size != *expected_size) {
    throw refused(path + ": " + std::to_string(size) + " bytes, expected " + std::to_string(*expected_size) +
                  ". Copy or build the bundle again.");
  }
  FileBytes bytes{std::unique_ptr<char[]>(new char[size + 1]), 0};
  while (bytes.size <= size) {  // one byte more than there should be shows that the file grew
    const ssize_t count = read(file.number, bytes.data.get() + bytes.size, size + 1 - bytes.size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw refused(path + ": cannot be read (" + std::strerror(errno) + "). Copy or build the bundle again.");
    if (count == 0) break;
    bytes.size += static_cast<std::size_t>(count);
  }
  if (bytes.size != size) throw refused(path + ": changed while it was read. Load the bundle again.");
  return bytes;
}

}  // namespace

BundleFiles read_bundle(const std::string& path) {
  check_names(path);
  BundleFiles files;
  files.path = path;
  for (const auto& [name, max_bytes] : kFiles) {
    if (name == std::string_view(kManifestName))
      files.manifest = parse_manifest(read_file(files.where(name), max_bytes, nullptr).view(), files.where(name));
  }
  for (const auto& [name, max_bytes] : kFiles) {
    const std::string_view file = name;
    if (file == kManifestName) continue;
    const FileEntry& expected = files.manifest.files.at(name);
    FileBytes bytes = read_file(files.where(name), max_bytes, &expected.size_bytes);
    const std::string found = sha256_hex(bytes.view());
    if (found != expected.sha256) {
      throw refused(files.where(name) + ": sha256 " + found.substr(0, 12) + "…, expected " +
                    expected.sha256.substr(0, 12) + "…. Copy or build the bundle again.");
    }
    if (file == kModelName) files.model = std::move(bytes);
    if (file == kTokenizerName) files.tokenizer = std::move(bytes);
    if (file == kSelftestName) files.selftest = std::move(bytes);
  }
  return files;
}

}  // namespace crosstune::core
