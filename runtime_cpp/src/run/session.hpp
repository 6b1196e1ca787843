// An onnxruntime session: loads a graph and runs it.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.hpp"
#include "run/onnxruntime.hpp"
#include "tokenize/token_row.hpp"

namespace crosstune::core {

class Session {
 public:
  // `model` may be freed afterwards. `where` names the bundle in messages; `label_count` is L,
  // `longest` the largest number of tokens of a text. Throws Failure.
  Session(const OnnxRuntime& runtime, std::string_view model, const GraphFacts& graph, const std::string& where,
          int threads, std::size_t label_count, std::size_t longest);

  // Every token id must be smaller.
  std::uint64_t vocabulary_size() const { return vocabulary_size_; }

  // "portable" for onnxruntime's own kernels, or the name of the fast ones.
  const std::string& kernels() const { return kernels_; }

  // Runs the graph on one row. Writes L floats to `probs`, and one to `similarity` if the graph has this output. Thread-safe.
  // Throws Failure.
  void run(const TokenRow& row, float* probs, float* similarity) const;

 private:
  friend class PreparedRun;
  template <typename T>
  using Owned = std::unique_ptr<T, void (*)(T*)>;

  void check(OrtStatus* status, const std::string& what) const;
  Owned<OrtSessionOptions> session_options(const GraphFacts& graph, int threads) const;
  // Null if onnxruntime cannot load the graph with these options; then `reason` says why.
  OrtSession* create(const OnnxRuntime& runtime, std::string_view model, const OrtSessionOptions* options, std::string* reason) const;
  void check_signature(const GraphFacts& graph, const std::string& where) const;
  std::string signature_of(bool inputs, std::vector<std::int64_t>* columns) const;
  // A tensor that uses the memory of `data`; its shape is the first `rank` entries of `shape`.
  Owned<OrtValue> tensor(void* data, std::array<std::size_t, 2> shape, std::size_t rank, ONNXTensorElementDataType type) const;

  const OrtApi& api_;
  Owned<OrtMemoryInfo> memory_;
  Owned<OrtSession> session_;
  std::size_t label_count_;
  std::uint64_t vocabulary_size_ = 0;
  std::string kernels_ = "portable";
  bool has_types_, has_similarity_;
};

// A run of the graph whose tensors exist already, so that run() measures onnxruntime alone. All arguments must outlive it.
class PreparedRun {
 public:
  PreparedRun(const Session& session, const TokenRow& row, float* probs, float* similarity);

  // Throws Failure.
  void run() const;

 private:
  const Session& session_;
  std::vector<std::int64_t> mask_;
  Session::Owned<OrtValue> ids_, masks_, types_, probs_, similarity_;
};

}  // namespace crosstune::core
