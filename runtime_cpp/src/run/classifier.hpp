// A loaded bundle: text in, answer out.
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

// Of a session: with a hundred thousand a whole machine stands still.
inline constexpr int kMostThreads = 256;

struct LoadOptions {
  int threads = 1;
  std::string onnxruntime;
  std::optional<double> threshold;
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

  // `probs` takes L floats. Throws Failure.
  crosstune_answer classify(const crosstune_text& input, float* probs) const;

  crosstune_selftest_report selftest() const;

 private:
  Classifier(BundleFiles files, const LoadOptions& options);

  void check_process() const;

  BundleFiles files_;
  RowMaker rows_;
  const OnnxRuntime& runtime_;
  std::unique_ptr<const Session> session_;
  std::optional<double> threshold_;
  pid_t process_;
};

}  // namespace crosstune::core
