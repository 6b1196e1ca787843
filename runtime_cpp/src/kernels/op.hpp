// The classifier as an operator of onnxruntime: crosstune::Classify, which takes the place of the function of that name.
#pragma once

#include <onnxruntime_c_api.h>

namespace crosstune::kernels {

// The session option with the number of threads; without it the operator uses one.
inline constexpr char kThreadsOption[] = "crosstune.kernels.threads";
// The session option with the name of the kernels, for tests; without it those of this processor.
inline constexpr char kNameOption[] = "crosstune.kernels.name";

// Registers the operator with a session's options, and turns graph optimizers off. Does nothing where only the plain kernels would run and none are named.
// Returns null, or a status that the caller releases.
OrtStatus* register_op(OrtSessionOptions* options, const OrtApi& api);

}  // namespace crosstune::kernels
