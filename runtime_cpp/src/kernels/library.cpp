// The shared library that onnxruntime loads: SessionOptions.register_custom_ops_library.
#include <cstdint>

#include "kernels/kernels.hpp"
#include "kernels/op.hpp"

extern "C" {

__attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  return crosstune::kernels::register_op(options, *base->GetApi(20));
}

// The name of the kernels that this processor runs, or null if it runs none.
__attribute__((visibility("default"))) const char* crosstune_kernels_name() {
  const crosstune::kernels::Kernels* kernels = crosstune::kernels::best_kernels();
  return kernels == nullptr ? nullptr : kernels->name;
}

}
