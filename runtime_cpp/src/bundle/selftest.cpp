#include "bundle/selftest.hpp"

#include "bundle/json_reader.hpp"
#include "error.hpp"

namespace crosstune::core {

Selftest parse_selftest(std::string_view bytes, const std::string& where) {
  Json json;
  try {
    json = parse_json(bytes);
  } catch (const JsonError& error) {
    throw bundle_error(where + ": not a self-test (" + error.what() + "). Build the bundle again.");
  }
  const JsonReader file(where, json);
  Selftest selftest{file.number("tolerance"), {}};
  if (!(selftest.tolerance >= 0 && selftest.tolerance <= 1))
    throw file.field_error("tolerance", json_text(selftest.tolerance), "a number from 0 to 1");
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
