// selftest.json: sample texts with the ids and probabilities that the build recorded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crosstune::core {

struct SelftestSample {
  std::string text;
  std::optional<std::string> pair;
  std::vector<std::int32_t> input_ids;
  bool truncated;
  std::vector<double> probs;
};

struct Selftest {
  double tolerance;
  std::vector<SelftestSample> samples;
};

// `precision` of the graph bounds the tolerance. Throws Failure (CROSSTUNE_BUNDLE).
Selftest parse_selftest(std::string_view bytes, const std::string& where, const std::string& precision);

}  // namespace crosstune::core
