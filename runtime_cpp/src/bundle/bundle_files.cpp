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
#include "bundle/sha256.hpp"
#include "error.hpp"

namespace crosstune::core {
namespace {

struct FileDescriptor {
  int number;
  explicit FileDescriptor(int opened) : number(opened) {}
  ~FileDescriptor() {
    if (number >= 0) close(number);
  }
  FileDescriptor(FileDescriptor&& other) noexcept : number(std::exchange(other.number, -1)) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
};

void check_names(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (!folder) {
    throw bundle_error(path + ": cannot be listed (" + std::strerror(errno) + "), expected a bundle folder. Check its permissions.");
  }
  std::set<std::string> names;
  while (const dirent* entry = readdir(folder.get())) names.insert(entry->d_name);
  names.erase(".");
  names.erase("..");
  if (names.count(kManifestName) == 0)
    throw bundle_error(path + ": no manifest.json, expected a bundle folder. Build one with crosstune-export build.");
  std::string expected;
  for (const auto& [name, _] : kFiles) {
    if (names.erase(name) == 0)
      throw bundle_error(path + "/" + name + ": missing, expected in every bundle. Copy or build the bundle again.");
    expected += (expected.empty() ? "" : ", ") + std::string(name);
  }
  if (!names.empty()) {
    throw bundle_error(path + "/" + *names.begin() + ": a foreign file, expected only " + expected +
                       ". Remove it or build the bundle again.");
  }
}

// Opens a regular file and tells its size; does not block on a pipe.
FileDescriptor open_regular(const std::string& path, int flags, std::uint64_t* size) {
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags));
  if (file.number < 0) {
    throw bundle_error(path + ": cannot be opened (" + std::strerror(errno) +
                       "), expected a regular file. Copy or build the bundle again.");
  }
  struct stat status;
  if (fstat(file.number, &status) != 0 || !S_ISREG(status.st_mode))
    throw bundle_error(path + ": not a regular file. Copy or build the bundle again.");
  *size = static_cast<std::uint64_t>(status.st_size);
  return file;
}

// Reads `size` bytes and returns how many there were; fewer only at the end of the file.
std::size_t read_bytes(const FileDescriptor& file, const std::string& path, char* target, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t count = read(file.number, target + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw bundle_error(path + ": cannot be read (" + std::strerror(errno) + "). Copy or build the bundle again.");
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

std::string size_mismatch(const std::string& where, std::uint64_t size, std::uint64_t expected) {
  return where + ": " + std::to_string(size) + " bytes, expected " + std::to_string(expected) +
         ". Copy or build the bundle again.";
}

// Reads a whole file, which must have `expected_size` bytes unless that is null.
FileBytes read_file(const std::string& path, std::uint64_t max_bytes, const std::uint64_t* expected_size) {
  std::uint64_t size = 0;
  const FileDescriptor file = open_regular(path, O_NOFOLLOW, &size);
  if (size > max_bytes) {
    throw bundle_error(path + ": " + std::to_string(size) + " bytes, expected at most " + std::to_string(max_bytes) +
                       ". Build the bundle again.");
  }
  if (expected_size != nullptr && size != *expected_size) throw bundle_error(size_mismatch(path, size, *expected_size));
  FileBytes bytes{std::unique_ptr<char[]>(new char[size + 1]), 0};
  bytes.size = read_bytes(file, path, bytes.data.get(), size + 1);  // one byte more shows that the file grew
  if (bytes.size != size) throw bundle_error(path + ": changed while it was read. Load the bundle again.");
  return bytes;
}

// Stores a file after comparing its size and hash with the manifest.
void store(const char* name, FileBytes bytes, BundleFiles* files) {
  const FileEntry& expected = files->manifest.files.at(name);
  if (bytes.size != expected.size_bytes) throw bundle_error(size_mismatch(files->where(name), bytes.size, expected.size_bytes));
  const std::string sha256 = sha256_hex(bytes.view());
  if (sha256 != expected.sha256) {
    throw bundle_error(files->where(name) + ": sha256 " + sha256.substr(0, 12) + "…, expected " + expected.sha256.substr(0, 12) +
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
    store(name, read_file(files->where(name), max_bytes, &files->manifest.files.at(name).size_bytes), files);
  }
}

// Follows a link, because deployments switch bundles with one; the file behind it is checked like any other.
void read_packed(BundleFiles* files) {
  std::uint64_t size = 0;
  const FileDescriptor file = open_regular(files->path, 0, &size);
  const auto source = [&](char* target, std::size_t count) { return read_bytes(file, files->path, target, count); };
  ArchiveReader archive(source, size, files->path);
  for (const char* name : kMembers) {
    FileBytes bytes = archive.read(name);
    if (name == std::string_view(kManifestName)) files->manifest = parse_manifest(bytes.view(), files->where(name));
    else store(name, std::move(bytes), files);
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
    throw bundle_error(path + ": found " + (exists ? "a file" : "nothing") +
                       ", expected a bundle folder. Build one with crosstune-export build.");
  }
  return files;
}

}  // namespace crosstune::core
