// The one place that builds and runs an onnxruntime session.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "manifest.hpp"
#include "onnxruntime.hpp"
#include "token_row.hpp"

namespace crosstune::core {

class Session {
 public:
  // `model` is needed only until the constructor returns. `label_count` is L. Throws Failure.
  Session(const OnnxRuntime& runtime, std::string_view model, const GraphFacts& graph, const std::string& where,
          int threads, std::size_t label_count);

  // Runs one row. `probs` takes L floats, `scope` one where the graph gives it. Safe in many threads at once.
  // Throws Failure.
  void run(const TokenRow& row, float* probs, float* scope) const;

 private:
  template <typename T>
  using Owned = std::unique_ptr<T, void (*)(T*)>;

  void check(OrtStatus* status, const std::string& what) const;
  Owned<OrtSessionOptions> session_options(const GraphFacts& graph, int threads) const;
  void check_signature(const GraphFacts& graph, const std::string& where) const;
  std::string signature_of(bool inputs) const;
  Owned<OrtValue> tensor(void* data, std::size_t bytes, std::int64_t columns, std::size_t rank,
                         ONNXTensorElementDataType type) const;

  const OrtApi& api_;
  Owned<OrtMemoryInfo> memory_;
  Owned<OrtSession> session_;
  std::size_t label_count_;
  bool has_types_, has_scope_;
};

}  // namespace crosstune::core
