#include "tokenize/vocabulary.hpp"

#include <algorithm>
#include <limits>

namespace crosstune::core {
namespace {

constexpr std::uint64_t kFnvOffset = 0xcbf29ce484222325u;

std::size_t power_of_two(std::size_t minimum) {
  std::size_t size = 16;
  while (size < minimum) size *= 2;
  return size;
}

std::size_t first_slot(std::uint64_t hash, std::size_t mask) { return (hash ^ hash >> 32) & mask; }

}  // namespace

std::int32_t id_in(const JsonReader& model, const std::string& token, const Json& json) {
  const auto* id = json.as<std::int64_t>();
  if (id == nullptr || *id < 0 || *id > std::numeric_limits<std::int32_t>::max())
    throw model.field_error("vocab", json_text(token) + ": " + describe(json), "an id for every token");
  return static_cast<std::int32_t>(*id);
}

PrefixTable::PrefixTable(std::size_t expected_keys) : slots_(power_of_two(2 * expected_keys)) {}

std::uint64_t PrefixTable::extend(std::uint64_t hash, char byte) {
  return (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;  // FNV-1a
}

void PrefixTable::add(std::string_view key, std::int32_t id) {
  std::uint64_t hash = kFnvOffset;
  for (const char byte : key) hash = extend(hash, byte);
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = first_slot(hash, mask);
  while (slots_[i].size != 0) i = (i + 1) & mask;
  slots_[i].start = static_cast<std::uint32_t>(keys_.size());
  slots_[i].size = static_cast<std::uint32_t>(key.size());
  slots_[i].hash_high = static_cast<std::uint32_t>(hash >> 32);
  slots_[i].id = id;
  keys_.append(key);
  longest_key_ = std::max(longest_key_, key.size());
}

PrefixTable::Match PrefixTable::longest_prefix(std::string_view text) const {
  constexpr std::size_t kMaxPrefix = 512;
  std::uint64_t hashes[kMaxPrefix];
  const std::size_t longest = std::min({text.size(), longest_key_, kMaxPrefix});
  std::uint64_t hash = kFnvOffset;
  for (std::size_t size = 0; size < longest; ++size) hashes[size] = hash = extend(hash, text[size]);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t size = longest; size > 0; --size) {
    const auto hash_high = static_cast<std::uint32_t>(hashes[size - 1] >> 32);
    for (std::size_t i = first_slot(hashes[size - 1], mask); slots_[i].size != 0; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.hash_high == hash_high && slot.size == size && text.compare(0, size, keys_, slot.start, size) == 0)
        return {size, slot.id};
    }
  }
  return {0, 0};
}

}  // namespace crosstune::core
