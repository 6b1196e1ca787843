#include "bundle/archive.hpp"

#include <algorithm>
#include <utility>

#include "bundle/crc32.hpp"

namespace crosstune::core {
namespace {

constexpr std::size_t kHeadSize = 30, kSizeAt = 22;

void append_number(std::string* bytes, std::uint64_t value, int size) {
  for (int i = 0; i < size; ++i) *bytes += static_cast<char>(value >> 8 * i & 255);
}

std::uint64_t number_at(std::string_view bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << 8 * i;
  return value;
}

}  // namespace

ArchiveReader::ArchiveReader(Source source, std::uint64_t size, std::string where)
    : source_(std::move(source)), left_(size), where_(std::move(where)) {}

FileBytes ArchiveReader::read(const char* name) {
  const std::string spelled = name;
  const std::string found = take(kHeadSize + spelled.size());
  if (found.size() < kHeadSize || found.substr(kHeadSize) != spelled)
    throw bad("no " + spelled + " at its place, expected what crosstune-export pack writes");
  const std::uint64_t size = number_at(found, kSizeAt), limit = max_bytes_of(spelled);
  if (size > limit) throw bad(std::to_string(size) + " bytes of " + spelled + ", expected at most " + std::to_string(limit));
  const Failure changed = bad(spelled + " is cut short or changed, expected it as packed");
  if (size > left_) throw changed;
  FileBytes bytes{std::unique_ptr<char[]>(new char[size]), size};
  left_ -= size;
  if (source_(bytes.data.get(), size) != size || head(spelled, bytes.view()) != found) throw changed;
  return bytes;
}

void ArchiveReader::finish() {
  std::string expected = directory_;
  append_number(&expected, 0x06054B50, 4);
  append_number(&expected, 0, 4);
  append_number(&expected, kMembers.size(), 2);
  append_number(&expected, kMembers.size(), 2);
  append_number(&expected, directory_.size(), 4);
  append_number(&expected, at_, 4);
  append_number(&expected, 0, 2);
  if (take(expected.size() + 1) != expected) throw bad("other bytes behind its members, expected their directory alone");
}

std::string ArchiveReader::take(std::size_t size) {
  std::string bytes(size, '\0');
  bytes.resize(source_(bytes.data(), size));
  left_ -= std::min<std::uint64_t>(left_, bytes.size());
  return bytes;
}

// What must stand before a member; its entry goes into the directory.
std::string ArchiveReader::head(const std::string& name, std::string_view data) {
  std::string facts;
  append_number(&facts, 20, 2);  // version of zip
  append_number(&facts, 0, 6);   // no flags, no compression, midnight
  append_number(&facts, 0x0021, 2);  // of 1 January 1980
  append_number(&facts, crc32(data), 4);
  append_number(&facts, data.size(), 4);
  append_number(&facts, data.size(), 4);
  append_number(&facts, name.size(), 2);
  append_number(&facts, 0, 2);
  append_number(&directory_, 0x02014B50, 4);
  append_number(&directory_, 3 << 8 | 20, 2);  // made on unix
  directory_ += facts;
  append_number(&directory_, 0, 6);
  append_number(&directory_, 0100644u << 16, 4);  // a regular file
  append_number(&directory_, at_, 4);
  directory_ += name;
  at_ += kHeadSize + name.size() + data.size();
  std::string bytes;
  append_number(&bytes, 0x04034B50, 4);
  return bytes + facts + name;
}

Failure ArchiveReader::bad(const std::string& found) const {
  return refused(where_ + ": " + found + ". Copy or pack the bundle again.");
}

}  // namespace crosstune::core
