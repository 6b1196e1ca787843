#include "tokenize/bert_normalizer.hpp"

namespace crosstune::core {

NormalizerSteps read_normalizer(const JsonReader& normalizer) {
  NormalizerSteps steps;
  steps.clean_text = normalizer.boolean("clean_text");
  steps.handle_chinese_chars = normalizer.boolean("handle_chinese_chars");
  steps.lowercase = normalizer.boolean("lowercase");
  const bool is_set = normalizer.optional("strip_accents") != nullptr;
  steps.strip_accents = is_set ? normalizer.boolean("strip_accents") : steps.lowercase;  // BERT's default
  return steps;
}

}  // namespace crosstune::core
