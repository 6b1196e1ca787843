#include "tokenize/charsmap.hpp"

#include <algorithm>

#include "tokenize/graphemes.hpp"
#include "utf8.hpp"

namespace crosstune::core {
namespace {

constexpr std::size_t kMostBytes = 1 << 21;    // of the table in base64; the largest published one has 316,720
constexpr std::size_t kMostTextBytes = 64;     // of a text in the place of a character; published: 18 characters
constexpr std::size_t kLongestCluster = 5;     // in bytes, that is replaced as a whole

std::string from_base64(const JsonReader& part, const std::string& text) {
  const auto value = [](char letter) {
    if (letter >= 'A' && letter <= 'Z') return letter - 'A';
    if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
    if (letter >= '0' && letter <= '9') return letter - '0' + 52;
    return letter == '+' ? 62 : letter == '/' ? 63 : -1;
  };
  const std::size_t letters = text.find_last_not_of('=') + 1;
  std::string bytes;
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < letters; ++i) {
    const int six = value(text[i]);
    if (six < 0) throw part.field_error("precompiled_charsmap", "text with other letters", "base64");
    bits = bits << 6 | static_cast<std::uint32_t>(six);
    if (i % 4 != 0) bytes.push_back(static_cast<char>(bits >> (6 - 2 * (i % 4)) & 255));
  }
  if (text.size() % 4 != 0 || text.size() - letters > 2) throw part.field_error("precompiled_charsmap", "cut short", "base64");
  return bytes;
}

std::uint32_t little_endian(std::string_view bytes, std::size_t start) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[start + i]);
  return value;
}

// Of a unit of the double array.
bool has_text(std::uint32_t unit) { return unit >> 8 & 1; }
std::uint32_t label(std::uint32_t unit) { return unit & (1u << 31 | 255); }
std::size_t offset(std::uint32_t unit) { return std::size_t{unit >> 10} << ((unit & 1u << 9) >> 6); }
std::size_t text_start(std::uint32_t unit) { return unit & ((1u << 31) - 1); }

}  // namespace

Charsmap::Charsmap(const JsonReader& part) {
  const std::string& base64 = part.string("precompiled_charsmap");
  if (base64.size() > kMostBytes) throw part.field_error("precompiled_charsmap", std::to_string(base64.size()) + " letters", "at most 2097152");
  const std::string bytes = from_base64(part, base64);
  const std::size_t size = bytes.size() < 4 ? 0 : little_endian(bytes, 0);
  if (size % 4 != 0 || size < 4 || size > bytes.size() - 4) throw part.field_error("precompiled_charsmap", "cut short", "a whole table");
  for (std::size_t start = 4; start < 4 + size; start += 4) units_.push_back(little_endian(bytes, start));
  texts_ = bytes.substr(4 + size);
  if (first_invalid(texts_) < texts_.size()) throw part.field_error("precompiled_charsmap", "a table of other bytes", "texts in UTF-8");
  for (std::size_t start = 0; start <= texts_.size();) {
    const std::size_t end = std::min(texts_.find('\0', start), texts_.size());
    if (end - start > kMostTextBytes) throw part.field_error("precompiled_charsmap", "a table with a text of " + std::to_string(end - start) + " bytes", "at most 64");
    start = end + 1;
  }
}

std::optional<std::string_view> Charsmap::find(std::string_view bytes) const {
  std::size_t position = offset(units_[0]);
  for (const char byte : bytes) {
    if (byte == 0) break;
    position ^= static_cast<unsigned char>(byte);
    if (position >= units_.size()) break;
    const std::uint32_t unit = units_[position];
    if (label(unit) != static_cast<unsigned char>(byte)) break;
    position ^= offset(unit);
    if (!has_text(unit)) continue;
    const std::size_t start = position < units_.size() ? text_start(units_[position]) : texts_.size() + 1;
    if (start > texts_.size() || (start < texts_.size() && (texts_[start] & 0xC0) == 0x80)) break;
    return std::string_view(texts_).substr(start, std::min(texts_.find('\0', start), texts_.size()) - start);
  }
  return std::nullopt;
}

void Charsmap::apply(std::u32string* text) const {
  std::u32string result;
  result.reserve(text->size());
  const auto replaced = [&](const std::string& bytes) {
    const std::optional<std::string_view> found = find(bytes);
    if (!found) return false;
    for (std::size_t position = 0; position < found->size();) result.push_back(next_code_point(*found, &position));
    return true;
  };
  std::string bytes;
  GraphemeClusters clusters(*text);
  for (std::u32string_view cluster = clusters.next(); !cluster.empty(); cluster = clusters.next()) {
    bytes.clear();
    for (const char32_t code : cluster.substr(0, kLongestCluster + 1)) append_utf8(code, &bytes);
    if (bytes.size() <= kLongestCluster && replaced(bytes)) continue;
    for (const char32_t code : cluster) {
      bytes.clear();
      append_utf8(code, &bytes);
      if (!replaced(bytes)) result.push_back(code);
    }
  }
  *text = std::move(result);
}

}  // namespace crosstune::core
