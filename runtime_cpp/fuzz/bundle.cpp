// Fuzz target: the input describes a bundle folder, which may miss a file or contain a link, a pipe or an extra file. If the
// input asks for it, the digest is made valid, so that the files are parsed.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "bundle/bundle_files.hpp"
#include "bundle/selftest.hpp"
#include "bundle/sha256.hpp"
#include "error.hpp"
#include "signed_manifest.hpp"
#include "tokenize/read_tokenizer.hpp"

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

  // A length of three bytes, then that many bytes.
  std::string_view piece() {
    const std::size_t size = byte() | byte() << 8 | byte() << 16;
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(bytes.size());
    return bytes;
  }

 private:
  std::string_view rest_;
};

const std::string& scratch_folder() {
  static const std::string folder = [] {
    const char* root = std::getenv("TMPDIR");
    std::string name = std::string(root == nullptr ? "/dev/shm" : root) + "/crosstune-fuzz-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    return name;
  }();
  return folder;
}

void write_file(const std::string& path, std::string_view bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || write(file, bytes.data(), bytes.size()) < 0) std::abort();
  close(file);
}

void replace_all(std::string* text, const std::string& from, const std::string& to) {
  for (std::size_t i = text->find(from); i != std::string::npos; i = text->find(from, i + to.size()))
    text->replace(i, from.size(), to);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const unsigned flags = input.byte();
  const std::string base = scratch_folder();
  for (const char* name : {"/README.md", "/manifest.json", "/model.onnx", "/selftest.json", "/tokenizer.json", "/other"})
    if (unlink((base + name).c_str()) != 0) rmdir((base + name).c_str());
  std::string manifest(input.piece());
  for (const char* name : {kCardName, kModelName, kSelftestName, kTokenizerName}) {
    const std::string_view bytes = input.piece();
    write_file(base + "/" + name, bytes);
    // The seeds contain the placeholders "sha256 of NAME" and "size of NAME".
    replace_all(&manifest, std::string("sha256 of ") + name, sha256_hex(bytes));
    replace_all(&manifest, std::string("\"size of ") + name + "\"", std::to_string(bytes.size()));
  }
  write_file(base + "/" + kManifestName, (flags & 128) ? manifest : fuzz::signed_manifest(manifest));
  const std::string changed_file = base + "/" + kFiles[flags % kFiles.size()].name;
  switch (flags >> 4 & 7) {
    case 1: unlink(changed_file.c_str()); break;
    case 2: unlink(changed_file.c_str()), (void)!symlink("/dev/zero", changed_file.c_str()); break;
    case 3: unlink(changed_file.c_str()), mkfifo(changed_file.c_str(), 0600); break;
    case 4: write_file(base + "/other", "x"); break;
    case 5: unlink(changed_file.c_str()), mkdir(changed_file.c_str(), 0700); break;
    default: break;
  }
  try {
    const BundleFiles files = read_bundle(base);
    if (flags >> 4 & 7 && (flags >> 4 & 7) < 6) __builtin_trap();  // accepted an invalid folder
    read_tokenizer(files.tokenizer.view(), files.where(kTokenizerName));
    parse_selftest(files.selftest.view(), files.where(kSelftestName), files.manifest.graph.precision);
  } catch (const Failure& failure) {
    if (failure.status != CROSSTUNE_BUNDLE) __builtin_trap();
  }
  return 0;
}
