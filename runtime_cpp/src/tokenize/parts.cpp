#include "tokenize/parts.hpp"

#include <utility>

#include "tokenize/unsupported.hpp"

namespace crosstune::core {
namespace {

constexpr std::size_t kMostParts = 32;

}  // namespace

std::vector<JsonReader> parts_of(const JsonReader& file, const std::string& key, const std::string& list) {
  std::vector<JsonReader> parts, waiting;
  std::size_t count = 0;
  const auto add = [&](std::size_t more) {
    if ((count += more) > kMostParts) throw unsupported(file, "its " + key + " has more than 32 parts");
  };
  if (file.optional(key) != nullptr) add(1), waiting.push_back(file.child(key));
  while (!waiting.empty()) {
    const JsonReader part = std::move(waiting.back());
    waiting.pop_back();
    if (part.string("type") != "Sequence") {
      parts.push_back(part);
      continue;
    }
    add(part.array(list).size());
    for (std::size_t i = part.array(list).size(); i-- > 0;) waiting.push_back(part.item(list, i));
  }
  return parts;
}

}  // namespace crosstune::core
