// Fuzz target: the input is a tokenizer.json, optionally followed by a NUL and a text for it.
#include <cstdint>
#include <string_view>
#include <vector>

#include "error.hpp"
#include "tokenize/read_tokenizer.hpp"
#include "utf8.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace crosstune::core;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::size_t end = bytes.find('\0');
  try {
    const auto tokenizer = read_tokenizer(bytes.substr(0, end), "tokenizer.json");
    std::string buffer;
    bool truncated = false;
    std::vector<std::int32_t> ids;
    const std::string_view text = end == std::string_view::npos ? bytes : bytes.substr(end);
    tokenizer->append_ids(to_valid_utf8(text, 4096, &buffer, &truncated), 512, &ids);
    for (const std::int32_t id : ids)
      if (id < 0) __builtin_trap();
  } catch (const Failure& failure) {
    if (failure.status != CROSSTUNE_BUNDLE) __builtin_trap();
  }
  return 0;
}
