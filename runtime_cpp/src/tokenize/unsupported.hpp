// The error for a tokenizer that only the Python runtime reads. crosstune/core/tokenizer_rules.py has the same list.
#pragma once

#include <string>

#include "bundle/json_reader.hpp"
#include "error.hpp"

namespace crosstune::core {

inline Failure unsupported(const JsonReader& part, const std::string& reason) {
  return bundle_error(part.where() + ": " + reason + ". Use the Python runtime for this bundle.");
}

}  // namespace crosstune::core
