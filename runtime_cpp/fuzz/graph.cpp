// Fuzz target: the input is a model.onnx.
#include <cstdint>
#include <string_view>

#include "error.hpp"
#include "guard/graph_check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace crosstune::core;
  GraphFacts facts;
  facts.inputs = {"input_ids", "attention_mask"};
  facts.outputs = {"probs", "text_vector", "scope"};
  facts.opset = 18;
  facts.ir_version = 10;
  try {
    check_graph({reinterpret_cast<const char*>(data), size}, facts, "model.onnx", 64);
  } catch (const Failure& failure) {
    if (failure.status != CROSSTUNE_BUNDLE) __builtin_trap();
  }
  return 0;
}
