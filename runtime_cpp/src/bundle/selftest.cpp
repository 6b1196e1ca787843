#include "bundle/selftest.hpp"

#include "bundle/json_reader.hpp"
#include "error.hpp"

namespace crosstune::core {

namespace {

constexpr std::size_t kMostSamples = 4096;

double largest_tolerance(const std::string& precision) { return precision == "fp32" ? 1e-4 : precision == "fp16" ? 5e-3 : 0.1; }

}  // namespace

Selftest parse_selftest(std::string_view bytes, const std::string& where, const std::string& precision) {
  Json json;
  try {
    json = parse_json(bytes);
  } catch (const JsonError& error) {
    throw bundle_error(where + ": not a self-test (" + error.what() + "). Build the bundle again.");
  }
  const JsonReader file(where, json);
  Selftest selftest{file.number("tolerance"), {}};
  const double largest = largest_tolerance(precision);
  if (!(selftest.tolerance >= 0 && selftest.tolerance <= largest))
    throw file.field_error("tolerance", json_text(selftest.tolerance), "a number from 0 to " + json_text(largest));
  if (file.array("samples").size() > kMostSamples)
    throw file.field_error("samples", std::to_string(file.array("samples").size()), "at most " + std::to_string(kMostSamples));
  for (std::size_t i = 0; i < file.array("samples").size(); ++i) {
    const JsonReader item = file.item("samples", i);
    SelftestSample sample{item.string("text"), std::nullopt, item.ids("input_ids"), item.boolean("truncated"),
                          item.numbers("probs")};
    if (item.optional("text_pair") != nullptr) sample.pair = item.string("text_pair");
    selftest.samples.push_back(std::move(sample));
  }
  if (selftest.samples.empty()) throw file.field_error("samples", "[]", "at least one sample");
  return selftest;
}

}  // namespace crosstune::core
