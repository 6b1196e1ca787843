#include "bundle/bundle_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "bundle/archive.hpp"
#include "error.hpp"
#include "bundle/sha256.hpp"

namespace crosstune::core {
namespace {

struct Descriptor {
  int number;
  explicit Descriptor(int opened) : number(opened) {}
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  Descriptor(Descriptor&& other) noexcept : number(std::exchange(other.number, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

void check_names(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (!folder) {
    throw refused(path + ": cannot be listed (" + std::strerror(errno) + "), expected a bundle folder. Check its permissions.");
  }
  std::set<std::string> found;
  while (const dirent* entry = readdir(folder.get())) found.insert(entry->d_name);
  found.erase(".");
  found.erase("..");
  if (found.count(kManifestName) == 0)
    throw refused(path + ": no manifest.json, expected a bundle folder. Build one with crosstune-export build.");
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

// Opens a regular file, without waiting for a pipe; tells its size.
Descriptor open_regular(const std::string& path, int flags, std::uint64_t* size) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags));
  if (file.number < 0) {
    throw refused(path + ": cannot be opened (" + std::strerror(errno) +
                  "), expected a regular file. Copy or build the bundle again.");
  }
  struct stat status;
  if (fstat(file.number, &status) != 0 || !S_ISREG(status.st_mode))
    throw refused(path + ": not a regular file. Copy or build the bundle again.");
  *size = static_cast<std::uint64_t>(status.st_size);
  return file;
}

// Reads so many bytes, fewer only at the end of the file; tells how many.
std::size_t read_bytes(const Descriptor& file, const std::string& path, char* target, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t count = read(file.number, target + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw refused(path + ": cannot be read (" + std::strerror(errno) + "). Copy or build the bundle again.");
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

std::string other_size(const std::string& where, std::uint64_t found, std::uint64_t expected) {
  return where + ": " + std::to_string(found) + " bytes, expected " + std::to_string(expected) +
         ". Copy or build the bundle again.";
}

// The whole of one file, which must have `expected_size` bytes unless that is null.
FileBytes read_file(const std::string& path, std::uint64_t max_bytes, const std::uint64_t* expected_size) {
  std::uint64_t size = 0;
  const Descriptor file = open_regular(path, O_NOFOLLOW, &size);
  if (size > max_bytes) {
    throw refused(path + ": " + std::to_string(size) + " bytes, expected at most " + std::to_string(max_bytes) +
                  ". Build the bundle again.");
  }
  if (expected_size != nullptr && size != *expected_size) throw refused(other_size(path, size, *expected_size));
  FileBytes bytes{std::unique_ptr<char[]>(new char[size + 1]), 0};
  bytes.size = read_bytes(file, path, bytes.data.get(), size + 1);  // one byte more than there should be shows that it grew
  if (bytes.size != size) throw refused(path + ": changed while it was read. Load the bundle again.");
  return bytes;
}

// Puts a file in its place if it is what the manifest says.
void keep(const char* name, FileBytes bytes, BundleFiles* files) {
  const FileEntry& expected = files->manifest.files.at(name);
  if (bytes.size != expected.size_bytes) throw refused(other_size(files->where(name), bytes.size, expected.size_bytes));
  const std::string found = sha256_hex(bytes.view());
  if (found != expected.sha256) {
    throw refused(files->where(name) + ": sha256 " + found.substr(0, 12) + "…, expected " + expected.sha256.substr(0, 12) +
                  "…. Copy or build the bundle again.");
  }
  const std::string_view file = name;
  if (file == kModelName) files->model = std::move(bytes);
  if (file == kTokenizerName) files->tokenizer = std::move(bytes);
  if (file == kSelftestName) files->selftest = std::move(bytes);
}

void read_folder(BundleFiles* files) {
  check_names(files->path);
  const FileBytes manifest = read_file(files->where(kManifestName), max_bytes_of(kManifestName), nullptr);
  files->manifest = parse_manifest(manifest.view(), files->where(kManifestName));
  for (const auto& [name, max_bytes] : kFiles) {
    if (name == std::string_view(kManifestName)) continue;
    keep(name, read_file(files->where(name), max_bytes, &files->manifest.files.at(name).size_bytes), files);
  }
}

// A link to the file is followed: field updates switch one, and what it leads to is checked as ever.
void read_packed(BundleFiles* files) {
  std::uint64_t size = 0;
  const Descriptor file = open_regular(files->path, 0, &size);
  const auto source = [&](char* target, std::size_t count) { return read_bytes(file, files->path, target, count); };
  ArchiveReader archive(source, size, files->path);
  for (const char* name : kMembers) {
    FileBytes bytes = archive.read(name);
    if (name == std::string_view(kManifestName)) files->manifest = parse_manifest(bytes.view(), files->where(name));
    else keep(name, std::move(bytes), files);
  }
  archive.finish();
}

}  // namespace

BundleFiles read_bundle(const std::string& path) {
  BundleFiles files;
  files.path = path;
  struct stat status;
  const bool exists = stat(path.c_str(), &status) == 0;
  if (exists && S_ISREG(status.st_mode)) {
    read_packed(&files);
  } else if (exists && S_ISDIR(status.st_mode)) {
    read_folder(&files);
  } else {
    throw refused(path + ": found " + (exists ? "a file" : "nothing") +
                  ", expected a bundle folder. Build one with crosstune-export build.");
  }
  return files;
}

}  // namespace crosstune::core
