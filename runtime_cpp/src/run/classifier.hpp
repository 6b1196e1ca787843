// A loaded bundle, which classifies texts.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "bundle/bundle_files.hpp"
#include "crosstune.h"
#include "run/session.hpp"
#include "tokenize/token_row.hpp"

namespace crosstune::core {

// onnxruntime accepts any number of threads; far more than there are processors would stall the machine.
inline constexpr int kMaxThreads = 256;

struct LoadOptions {
  int threads = 1;                       // of one run of the graph
  std::string onnxruntime;               // file name for dlopen; empty: searched as crosstune.h says
  std::optional<double> threshold;       // instead of the bundle's
  std::optional<double> min_similarity;  // instead of the bundle's
  std::string digest;                    // that the bundle must have; empty: any
};

class Classifier {
 public:
  // Throws Failure.
  Classifier(const std::string& bundle, const LoadOptions& options);
  ~Classifier();

  const Manifest& manifest() const { return files_.manifest; }
  const OnnxRuntime& onnxruntime() const { return runtime_; }
  const Session& session() const { return *session_; }

  TokenRow tokenize(const crosstune_text& input) const;

  // Writes the probabilities of the L labels to `probs`. Throws Failure, also for a text with a control character.
  crosstune_answer classify(const crosstune_text& input, float* probs) const;

  crosstune_selftest_report selftest() const;

 private:
  Classifier(BundleFiles files, const LoadOptions& options);

  void check_process() const;
  crosstune_answer answer(const crosstune_text& input, float* probs) const;

  BundleFiles files_;
  TextTokenizer tokenizer_;
  const OnnxRuntime& runtime_;
  std::unique_ptr<const Session> session_;
  std::optional<double> threshold_, min_similarity_;
  pid_t process_;  // that created the classifier
};

}  // namespace crosstune::core
