// Fuzz target: the input is a text for the tokenizer in the file CROSSTUNE_FUZZ_TOKENIZER. Checks properties that hold for
// every text.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tokenize/read_tokenizer.hpp"
#include "utf8.hpp"

namespace {

using namespace crosstune::core;

const Tokenizer& tokenizer() {
  static const std::unique_ptr<const Tokenizer> loaded = [] {
    std::ifstream file(std::getenv("CROSSTUNE_FUZZ_TOKENIZER"), std::ios::binary);
    return read_tokenizer(std::string(std::istreambuf_iterator<char>(file), {}), "tokenizer.json");
  }();
  return *loaded;
}

std::vector<std::int32_t> ids_of(std::string_view text, std::size_t max_ids) {
  std::vector<std::int32_t> ids;
  tokenizer().append_ids(text, max_ids, &ids);
  return ids;
}

void expect(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr auto kNoLimit = std::numeric_limits<std::size_t>::max();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const std::size_t limit : {std::size_t{7}, std::size_t{100}, kNoLimit - 8}) {
    std::string buffer, second_buffer;
    bool truncated = false, truncated_again = false;
    const std::string text(to_valid_utf8(bytes, limit, &buffer, &truncated));
    expect(text.size() <= limit && first_invalid(text) == text.size());
    expect(to_valid_utf8(text, limit, &second_buffer, &truncated_again) == text && !truncated_again);
    expect(first_invalid(bytes) == bytes.size() ? bytes.substr(0, text.size()) == text : true);
  }
  std::string buffer;
  bool truncated = false;
  const std::string text(to_valid_utf8(bytes, kNoLimit - 8, &buffer, &truncated));
  const std::vector<std::int32_t> ids = ids_of(text, kNoLimit);
  // The ids of two texts with a space between them are the ids of the first followed by those of the second.
  std::vector<std::int32_t> twice = ids_of(text + " " + text, kNoLimit);
  std::vector<std::int32_t> expected = ids;
  expected.insert(expected.end(), ids.begin(), ids.end());
  expect(twice == expected);
  // Stopping early gives a prefix of the ids.
  const std::vector<std::int32_t> prefix = ids_of(text, 5);
  expect(prefix.size() <= ids.size() && std::equal(prefix.begin(), prefix.end(), ids.begin()));
  expect(prefix.size() == ids.size() || prefix.size() > 5);
  return 0;
}
