// How functions of the library fail: one exception that carries the status of the C ABI.
#pragma once

#include <stdexcept>
#include <string>

#include "crosstune.h"

namespace crosstune::core {

// The message is one line, `where: found, expected. Next step.`
class Failure : public std::runtime_error {
 public:
  Failure(crosstune_status code, const std::string& message) : std::runtime_error(message), status(code) {}
  const crosstune_status status;
};

// A bundle that cannot be used.
inline Failure bundle_error(const std::string& message) { return Failure(CROSSTUNE_BUNDLE, message); }

}  // namespace crosstune::core
