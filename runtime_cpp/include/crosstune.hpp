// A C++17 wrapper for crosstune.h, with classes instead of handles and exceptions instead of statuses.
//
//   crosstune::Classifier classifier("support.bundle");
//   crosstune::Prediction answer = classifier.classify("my thermostat is stuck on the logo");
//   std::cout << answer.label.value_or("(none)") << "\n";
#ifndef CROSSTUNE_HPP
#define CROSSTUNE_HPP

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "crosstune.h"

namespace crosstune {

// A failed call. what() is one line that says what was found, what was expected and what to do next.
class Error : public std::runtime_error {
 public:
  explicit Error(crosstune_status status) : std::runtime_error(crosstune_error()), status_(status) {}
  crosstune_status status() const noexcept { return status_; }

 private:
  crosstune_status status_;
};

struct Options {
  std::int32_t threads = 1;              // for one run of the graph
  std::string onnxruntime;               // file name of the library; empty: searched as crosstune.h says
  std::optional<double> threshold;       // instead of the bundle's
  std::optional<double> min_similarity;  // instead of the bundle's
  std::optional<std::string> digest;     // that the bundle must have
};

struct Prediction {
  std::optional<std::string> label;  // empty when `prob` or `similarity` is below its threshold
  float prob = 0;                    // probability of the most probable label, in [0, 1]
  std::vector<float> probs;          // L probabilities, in the order of labels()
  bool truncated = false;            // whether the text was too long and was truncated
  std::optional<float> similarity;   // to the nearest label: a cosine, raised for short texts; empty when the bundle lacks it
};

struct TokenIds {
  std::vector<std::int64_t> ids;
  bool truncated = false;
};

// A loaded bundle. Movable. Const members are thread-safe.
class Classifier {
 public:
  explicit Classifier(const std::string& bundle, const Options& options = {}) {
    crosstune_options* raw = nullptr;
    check(crosstune_options_create(&raw));
    const std::unique_ptr<crosstune_options, decltype(&crosstune_options_destroy)> owner(raw, crosstune_options_destroy);
    check(crosstune_options_set_threads(raw, options.threads));
    if (!options.onnxruntime.empty()) check(crosstune_options_set_onnxruntime(raw, options.onnxruntime.c_str()));
    if (options.threshold) check(crosstune_options_set_threshold(raw, *options.threshold));
    if (options.min_similarity) check(crosstune_options_set_min_similarity(raw, *options.min_similarity));
    if (options.digest) check(crosstune_options_set_digest(raw, options.digest->c_str()));
    crosstune_classifier* handle = nullptr;
    check(crosstune_classifier_create(bundle.c_str(), raw, &handle));
    handle_.reset(handle);
    for (std::size_t i = 0; i < crosstune_label_count(handle); ++i) labels_.emplace_back(crosstune_label(handle, i));
  }

  const std::vector<std::string>& labels() const noexcept { return labels_; }
  bool takes_pairs() const noexcept { return crosstune_takes_pairs(handle_.get()) != 0; }
  std::string digest() const { return crosstune_digest(handle_.get()); }
  std::string kernels() const { return crosstune_kernels(handle_.get()); }
  std::string onnxruntime_version() const { return crosstune_onnxruntime_version(handle_.get()); }

  Prediction classify(std::string_view text) const { return classify(input(text)); }
  Prediction classify(std::string_view text, std::string_view pair) const { return classify(input(text, pair)); }

  TokenIds tokenize(std::string_view text) const { return tokenize(input(text)); }
  TokenIds tokenize(std::string_view text, std::string_view pair) const { return tokenize(input(text, pair)); }

  // Throws Error with status CROSSTUNE_SELFTEST when the self-test fails.
  crosstune_selftest_report selftest() const {
    crosstune_selftest_report report;
    check(crosstune_selftest(handle_.get(), &report));
    return report;
  }

 private:
  struct Destroy {
    void operator()(crosstune_classifier* handle) const noexcept { crosstune_classifier_destroy(handle); }
  };

  static void check(crosstune_status status) {
    if (status != CROSSTUNE_OK) throw Error(status);
  }

  static crosstune_text input(std::string_view text) { return {text.data(), text.size(), nullptr, 0}; }
  static crosstune_text input(std::string_view text, std::string_view pair) {
    return {text.data(), text.size(), pair.data() == nullptr ? "" : pair.data(), pair.size()};
  }

  Prediction classify(const crosstune_text& text) const {
    Prediction prediction;
    prediction.probs.resize(labels_.size());
    crosstune_answer answer;
    check(crosstune_classify(handle_.get(), &text, &answer, prediction.probs.data()));
    if (answer.label >= 0) prediction.label = labels_[static_cast<std::size_t>(answer.label)];
    if (!std::isnan(answer.similarity)) prediction.similarity = answer.similarity;
    prediction.prob = answer.prob;
    prediction.truncated = answer.truncated != 0;
    return prediction;
  }

  TokenIds tokenize(const crosstune_text& text) const {
    TokenIds row;
    row.ids.resize(crosstune_max_length_tokens(handle_.get()));
    std::size_t count = 0;
    std::int32_t truncated = 0;
    check(crosstune_tokenize(handle_.get(), &text, row.ids.data(), row.ids.size(), &count, &truncated));
    row.ids.resize(count);
    row.truncated = truncated != 0;
    return row;
  }

  std::unique_ptr<crosstune_classifier, Destroy> handle_;
  std::vector<std::string> labels_;
};

}  // namespace crosstune

#endif
