#include "tokenize/token_table.hpp"

namespace crosstune::core {

TokenTable::TokenTable(std::size_t most_tokens) {
  std::size_t size = 16;
  while (size < 2 * most_tokens) size *= 2;
  slots_.resize(size);
}

void TokenTable::add(std::u32string_view token, std::int32_t id) {
  const std::uint64_t hash = hash_of(token);
  Slot& slot = slots_[index_of(token, hash)];
  if (slot.size == 0) {
    slot = {static_cast<std::uint32_t>(texts_.size()), static_cast<std::uint32_t>(token.size()), static_cast<std::uint32_t>(hash >> 32), id};
    texts_.append(token);
    longest_ = std::max(longest_, token.size());
  }
  slot.id = id;
}

std::int32_t TokenTable::id_of(std::u32string_view token) const { return slots_[index_of(token, hash_of(token))].id; }

std::uint64_t TokenTable::hash_of(std::u32string_view token) {
  std::uint64_t hash = 0;
  for (const char32_t code : token) hash = extended(hash, code);
  return hash;
}

}  // namespace crosstune::core
