#include "run/classifier.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "bundle/selftest.hpp"
#include "bundle/strict_json.hpp"
#include "error.hpp"
#include "tokenize/read_tokenizer.hpp"
#include "utf8.hpp"

namespace crosstune::core {

namespace {

// Returns the files, unless another digest is asked for.
BundleFiles require_digest(BundleFiles files, const std::string& expected) {
  if (expected.empty() || files.manifest.digest == expected) return files;
  throw Failure(CROSSTUNE_BUNDLE, files.path + ": digest " + files.manifest.digest + ", expected " + expected +
                                      ". Get the bundle of that digest, or check where the digest is from.");
}

}  // namespace

Classifier::Classifier(const std::string& bundle, const LoadOptions& options)
    : Classifier(require_digest(read_bundle(bundle), options.digest), options) {}

Classifier::Classifier(BundleFiles files, const LoadOptions& options)
    : files_(std::move(files)),
      tokenizer_(read_tokenizer(files_.tokenizer.view(), files_.where(kTokenizerName)), files_.manifest.tokens),
      runtime_(open_onnxruntime(options.onnxruntime)),
      session_(std::make_unique<const Session>(runtime_, files_.model.view(), files_.manifest.graph, files_.path,
                                               options.threads, files_.manifest.labels.size(),
                                               files_.manifest.tokens.max_length_tokens)),
      threshold_(options.threshold ? options.threshold : files_.manifest.threshold),
      min_similarity_(options.min_similarity ? options.min_similarity : files_.manifest.min_similarity),
      process_(getpid()) {
  if (min_similarity_ && !files_.manifest.graph.has_similarity()) {
    throw Failure(CROSSTUNE_USAGE, "min_similarity: found " + json_text(*min_similarity_) +
                                       ", expected none: this bundle measures no similarity. Train with the default head.");
  }
  const std::int64_t largest = tokenizer_.largest_id();
  if (static_cast<std::uint64_t>(largest) >= session_->vocabulary_size()) {
    throw bundle_error(files_.where(kTokenizerName) + ": has the id " + std::to_string(largest) + ", expected ids below " +
                       std::to_string(session_->vocabulary_size()) + ". Build the bundle again.");
  }
  files_.model = {};  // no longer needed
  files_.tokenizer = {};
}

Classifier::~Classifier() {
  // After fork() the threads of the session do not exist in the child, so the child must not destroy it.
  if (process_ != getpid()) (void)session_.release();
}

void Classifier::check_process() const {
  if (process_ == getpid()) return;
  throw Failure(CROSSTUNE_USAGE,
                files_.path + ": loaded in another process, expected in this one. Create the classifier after fork().");
}

TokenRow Classifier::tokenize(const crosstune_text& input) const {
  const bool pair = files_.manifest.text_pair;
  if (input.text == nullptr && input.text_size != 0)
    throw Failure(CROSSTUNE_USAGE, "text: found NULL, expected a string.");
  if (pair != (input.pair != nullptr)) {
    throw Failure(CROSSTUNE_INPUT, pair ? "text: found one string, expected two: this bundle classifies pairs."
                                        : "text: found two strings, expected one: this bundle classifies single texts.");
  }
  const std::string_view first(input.text, input.text_size);
  return pair ? tokenizer_.pair(first, {input.pair, input.pair_size}) : tokenizer_.single(first);
}

crosstune_answer Classifier::classify(const crosstune_text& input, float* probs) const {
  const auto check = [](const std::string& name, const char* data, std::size_t size) {
    const std::string problem = data == nullptr ? "" : control_problem({data, size});
    if (!problem.empty()) throw Failure(CROSSTUNE_INPUT, name + ": " + problem);
  };
  check("text", input.text, input.text_size);
  check("text_pair", input.pair, input.pair_size);
  return answer(input, probs);
}

crosstune_answer Classifier::answer(const crosstune_text& input, float* probs) const {
  check_process();
  crosstune_answer answer{0, 0, std::numeric_limits<float>::quiet_NaN(), 0};
  const Manifest& manifest = files_.manifest;
  const TokenRow row = tokenize(input);
  session_->run(row, probs, &answer.similarity);
  float* const end = probs + manifest.labels.size();
  const bool has_similarity = manifest.graph.has_similarity();
  if (!std::all_of(probs, end, [](float prob) { return std::isfinite(prob); }) ||
      (has_similarity && !std::isfinite(answer.similarity)))
    throw Failure(CROSSTUNE_INPUT, "text: the graph gave probabilities that are not finite. Verify the bundle.");
  const float* best = std::max_element(probs, end);  // the first one of several equal ones
  answer.prob = *best;
  const bool below_threshold = threshold_ && double{answer.prob} < *threshold_;
  const bool dissimilar = min_similarity_ && double{answer.similarity} < *min_similarity_;
  answer.label = below_threshold || dissimilar ? -1 : static_cast<std::int32_t>(best - probs);
  answer.truncated = row.truncated;
  return answer;
}

crosstune_selftest_report Classifier::selftest() const {
  const Selftest selftest = parse_selftest(files_.selftest.view(), files_.where(kSelftestName), files_.manifest.graph.precision);
  crosstune_selftest_report report{selftest.samples.size(), 0, 0, selftest.tolerance};
  std::vector<float> probs(files_.manifest.labels.size());
  for (const SelftestSample& sample : selftest.samples) {
    crosstune_text input{sample.text.data(), sample.text.size(), nullptr, 0};
    if (sample.pair) input.pair = sample.pair->data(), input.pair_size = sample.pair->size();
    const TokenRow row = tokenize(input);
    const bool equal_ids = std::equal(row.ids.begin(), row.ids.end(), sample.input_ids.begin(), sample.input_ids.end());
    report.wrong_ids += !equal_ids || row.truncated != sample.truncated;
    answer(input, probs.data());
    const bool equal_size = sample.probs.size() == probs.size();
    for (std::size_t i = 0; equal_size && i < probs.size(); ++i)
      report.max_difference = std::max(report.max_difference, double{std::abs(probs[i] - static_cast<float>(sample.probs[i]))});
    if (!equal_size) report.max_difference = std::numeric_limits<double>::infinity();
  }
  return report;
}

}  // namespace crosstune::core
