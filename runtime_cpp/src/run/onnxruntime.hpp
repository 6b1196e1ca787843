// The onnxruntime library, opened at run time. One build works with every release since kApiVersion, because newer releases
// keep the older versions of the API.
#pragma once

#include <onnxruntime_c_api.h>

#include <string>

namespace crosstune::core {

// onnxruntime 1.20, the oldest release that a bundle may require.
inline constexpr std::uint32_t kApiVersion = 20;
static_assert(ORT_API_VERSION >= kApiVersion, "the header onnxruntime_c_api.h must be of onnxruntime 1.20 or newer");

struct OnnxRuntime {
  const OrtApi* api;
  OrtEnv* environment;  // one per process; never released, because other threads may still run at exit
  std::string version;
  std::string file;
};

// Opens a library. A second call for the same file returns the same object, which lives as long as the process. `file` is a
// name for dlopen; if it is empty, the library is searched as crosstune.h says. Thread-safe. Throws Failure (CROSSTUNE_USAGE)
// when no library is found or it is too old.
const OnnxRuntime& open_onnxruntime(const std::string& file);

// Whether `version` is `minimum` or newer; both have the form "1.20.1".
bool is_version_at_least(const std::string& version, const std::string& minimum);

}  // namespace crosstune::core
