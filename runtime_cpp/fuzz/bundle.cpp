// A bundle folder out of any bytes: which files are there, links among them, and what is in each. Hashes are right where the
// input says so, and then manifest, tokenizer and self-test are read as a classifier reads them.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "bundle/bundle_files.hpp"
#include "error.hpp"
#include "bundle/selftest.hpp"
#include "bundle/sha256.hpp"
#include "signed_manifest.hpp"
#include "tokenize/tokenizer.hpp"

namespace {

using namespace crosstune::core;

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  unsigned byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<unsigned char>(rest_[0]);
    rest_.remove_prefix(1);
    return value;
  }

  // Three bytes of length, then as many bytes.
  std::string_view piece() {
    const std::size_t size = byte() | byte() << 8 | byte() << 16;
    const std::string_view found = rest_.substr(0, size);
    rest_.remove_prefix(found.size());
    return found;
  }

 private:
  std::string_view rest_;
};

std::string folder() {
  static const std::string made = [] {
    const char* root = std::getenv("TMPDIR");
    std::string name = std::string(root == nullptr ? "/dev/shm" : root) + "/crosstune-fuzz-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    return name;
  }();
  return made;
}

void put(const std::string& path, std::string_view bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || write(file, bytes.data(), bytes.size()) < 0) std::abort();
  close(file);
}

void replace_all(std::string* text, const std::string& from, const std::string& to) {
  for (std::size_t at = text->find(from); at != std::string::npos; at = text->find(from, at + to.size()))
    text->replace(at, from.size(), to);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const unsigned kinds = input.byte();  // of the file that is not regular, if there is one
  const std::string base = folder();
  for (const char* name : {"/README.md", "/manifest.json", "/model.onnx", "/selftest.json", "/tokenizer.json", "/other"})
    if (unlink((base + name).c_str()) != 0) rmdir((base + name).c_str());
  std::string manifest(input.piece());
  for (const char* name : {kCardName, kModelName, kSelftestName, kTokenizerName}) {
    const std::string_view bytes = input.piece();
    put(base + "/" + name, bytes);
    // In the seeds, "sha256 of NAME" and "size of NAME" stand for what the manifest must say.
    replace_all(&manifest, std::string("sha256 of ") + name, sha256_hex(bytes));
    replace_all(&manifest, std::string("\"size of ") + name + "\"", std::to_string(bytes.size()));
  }
  put(base + "/" + kManifestName, (kinds & 128) ? manifest : fuzz::signed_manifest(manifest));
  const std::string odd = base + "/" + kFiles[kinds % kFiles.size()].name;
  switch (kinds >> 4 & 7) {
    case 1: unlink(odd.c_str()); break;
    case 2: unlink(odd.c_str()), (void)!symlink("/dev/zero", odd.c_str()); break;
    case 3: unlink(odd.c_str()), mkfifo(odd.c_str(), 0600); break;
    case 4: put(base + "/other", "x"); break;
    case 5: unlink(odd.c_str()), mkdir(odd.c_str(), 0700); break;
    default: break;
  }
  try {
    const BundleFiles files = read_bundle(base);
    if (kinds >> 4 & 7 && (kinds >> 4 & 7) < 6) __builtin_trap();  // accepted although it is odd
    read_tokenizer(files.tokenizer.view(), files.where(kTokenizerName));
    parse_selftest(files.selftest.view(), files.where(kSelftestName));
  } catch (const Failure& failure) {
    if (failure.status != CROSSTUNE_BUNDLE) __builtin_trap();
  }
  return 0;
}
