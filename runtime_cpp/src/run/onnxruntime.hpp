// The onnxruntime library, opened at run time. One build serves every release from the one of kApiVersion on, because the
// API is asked for at that version and newer libraries keep offering it.
#pragma once

#include <onnxruntime_c_api.h>

#include <string>

namespace crosstune::core {

// onnxruntime 1.20, the oldest that bundles name.
inline constexpr std::uint32_t kApiVersion = 20;
static_assert(ORT_API_VERSION >= kApiVersion, "the header onnxruntime_c_api.h must be of onnxruntime 1.20 or newer");

struct OnnxRuntime {
  const OrtApi* api;
  OrtEnv* environment;  // one for the process; never released, as other threads may still run at exit
  std::string version;
  std::string file;
};

// Opens a library once; a second call for the same file gives the same object, which lives as long as the process.
// `file` is for dlopen; empty: searched as crosstune.h says. Safe in many threads at once.
// Throws Failure (CROSSTUNE_USAGE) when there is none, or one that is too old.
const OnnxRuntime& open_onnxruntime(const std::string& file);

// Whether `version` is `least` or newer; both like "1.20.1".
bool is_version_at_least(const std::string& version, const std::string& least);

}  // namespace crosstune::core
