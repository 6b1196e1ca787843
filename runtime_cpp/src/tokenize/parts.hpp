// The parts of a normalizer or a pre-tokenizer, in their order.
#pragma once

#include <string>
#include <vector>

#include "bundle/json_reader.hpp"

namespace crosstune::core {

// `key` names the part of the tokenizer.json, `list` the field of a Sequence that has its parts. Throws Failure.
std::vector<JsonReader> parts_of(const JsonReader& file, const std::string& key, const std::string& list);

}  // namespace crosstune::core
