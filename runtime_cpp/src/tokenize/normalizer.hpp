// The normalizer of a tokenizer.json: steps that each rewrite a whole text.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bundle/json_reader.hpp"

namespace crosstune::core {

class Normalizer {
 public:
  // `file` is the whole tokenizer.json. Throws Failure.
  explicit Normalizer(const JsonReader& file);

  void apply(std::u32string* text) const {
    for (const Step& step : steps_) step(text);
  }

 private:
  using Step = std::function<void(std::u32string*)>;

  void add(const JsonReader& part);
  Step replacement(const JsonReader& part);

  std::vector<Step> steps_;
  double growth_ = 1;  // how much longer replacements together may make a text
};

}  // namespace crosstune::core
