#include "bundle/archive.hpp"

#include <algorithm>
#include <utility>

#include "bundle/crc32.hpp"

namespace crosstune::core {
namespace {

constexpr std::size_t kHeaderSize = 30, kSizeOffset = 22;

void append_number(std::string* bytes, std::uint64_t value, int size) {
  for (int i = 0; i < size; ++i) *bytes += static_cast<char>(value >> 8 * i & 255);
}

std::uint64_t read_uint32(std::string_view bytes, std::size_t offset) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value |= std::uint64_t{static_cast<unsigned char>(bytes[offset + i])} << 8 * i;
  return value;
}

}  // namespace

ArchiveReader::ArchiveReader(Source source, std::uint64_t size, std::string where)
    : source_(std::move(source)), bytes_left_(size), where_(std::move(where)) {}

FileBytes ArchiveReader::read(const char* name) {
  const std::string expected_name = name;
  const std::string header = take(kHeaderSize + expected_name.size());
  if (header.size() < kHeaderSize || header.substr(kHeaderSize) != expected_name)
    throw error(expected_name + " is missing or misplaced, expected a file written by crosstune-export pack");
  const std::uint64_t size = read_uint32(header, kSizeOffset), limit = max_bytes_of(expected_name);
  if (size > limit)
    throw error(std::to_string(size) + " bytes of " + expected_name + ", expected at most " + std::to_string(limit));
  const Failure changed = error(expected_name + " is cut short or changed, expected it as packed");
  if (size > bytes_left_) throw changed;
  FileBytes bytes{std::unique_ptr<char[]>(new char[size]), size};
  bytes_left_ -= size;
  if (source_(bytes.data.get(), size) != size || add_entry(expected_name, bytes.view()) != header) throw changed;
  return bytes;
}

void ArchiveReader::finish() {
  std::string expected = directory_;
  append_number(&expected, 0x06054B50, 4);
  append_number(&expected, 0, 4);
  append_number(&expected, kMembers.size(), 2);
  append_number(&expected, kMembers.size(), 2);
  append_number(&expected, directory_.size(), 4);
  append_number(&expected, offset_, 4);
  append_number(&expected, 0, 2);
  if (take(expected.size() + 1) != expected) throw error("unexpected bytes after its members, expected only their directory");
}

std::string ArchiveReader::take(std::size_t size) {
  std::string bytes(size, '\0');
  bytes.resize(source_(bytes.data(), size));
  bytes_left_ -= std::min<std::uint64_t>(bytes_left_, bytes.size());
  return bytes;
}

// Adds a file to the directory and returns the local header that must stand before its data.
std::string ArchiveReader::add_entry(const std::string& name, std::string_view data) {
  std::string fields;  // the part that the local header and the directory entry share
  append_number(&fields, 20, 2);      // zip version 2.0
  append_number(&fields, 0, 6);       // no flags, no compression, midnight
  append_number(&fields, 0x0021, 2);  // 1 January 1980
  append_number(&fields, crc32(data), 4);
  append_number(&fields, data.size(), 4);
  append_number(&fields, data.size(), 4);
  append_number(&fields, name.size(), 2);
  append_number(&fields, 0, 2);
  append_number(&directory_, 0x02014B50, 4);
  append_number(&directory_, 3 << 8 | 20, 2);  // made on Unix
  directory_ += fields;
  append_number(&directory_, 0, 6);
  append_number(&directory_, 0100644u << 16, 4);  // a regular file
  append_number(&directory_, offset_, 4);
  directory_ += name;
  offset_ += kHeaderSize + name.size() + data.size();
  std::string header;
  append_number(&header, 0x04034B50, 4);
  return header + fields + name;
}

Failure ArchiveReader::error(const std::string& problem) const {
  return bundle_error(where_ + ": " + problem + ". Copy or pack the bundle again.");
}

}  // namespace crosstune::core
