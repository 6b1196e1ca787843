// Any bytes as a text for the tokenizer that CROSSTUNE_FUZZ_TOKENIZER names. Checks what must hold for every text.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tokenize/tokenizer.hpp"
#include "tokenize/utf8.hpp"

namespace {

using namespace crosstune::core;

const Tokenizer& tokenizer() {
  static const std::unique_ptr<const Tokenizer> read = [] {
    std::ifstream file(std::getenv("CROSSTUNE_FUZZ_TOKENIZER"), std::ios::binary);
    return read_tokenizer(std::string(std::istreambuf_iterator<char>(file), {}), "tokenizer.json");
  }();
  return *read;
}

std::vector<std::int32_t> ids_of(std::string_view text, std::size_t enough) {
  std::vector<std::int32_t> ids;
  tokenizer().append_ids(text, enough, &ids);
  return ids;
}

void expect(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr auto kAll = std::numeric_limits<std::size_t>::max();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const std::size_t limit : {std::size_t{7}, std::size_t{100}, kAll - 8}) {
    std::string buffer, again;
    bool cut = false, cut_again = false;
    const std::string text(repaired(bytes, limit, &buffer, &cut));
    expect(text.size() <= limit && first_invalid(text) == text.size());
    expect(repaired(text, limit, &again, &cut_again) == text && !cut_again);
    expect(first_invalid(bytes) == bytes.size() ? bytes.substr(0, text.size()) == text : true);
  }
  std::string buffer;
  bool cut = false;
  const std::string text(repaired(bytes, kAll - 8, &buffer, &cut));
  const std::vector<std::int32_t> whole = ids_of(text, kAll);
  // Two texts with a space between have the ids of both.
  std::vector<std::int32_t> twice = ids_of(text + " " + text, kAll);
  std::vector<std::int32_t> expected = whole;
  expected.insert(expected.end(), whole.begin(), whole.end());
  expect(twice == expected);
  // Stopping early gives the beginning.
  const std::vector<std::int32_t> some = ids_of(text, 5);
  expect(some.size() <= whole.size() && std::equal(some.begin(), some.end(), whole.begin()));
  expect(some.size() == whole.size() || some.size() > 5);
  return 0;
}
