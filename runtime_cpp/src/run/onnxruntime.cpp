#include "run/onnxruntime.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "error.hpp"

namespace crosstune::core {
namespace {

#if defined(__APPLE__)
constexpr const char* kSystemNames[] = {"libonnxruntime.1.dylib", "libonnxruntime.dylib"};
#else
constexpr const char* kSystemNames[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
#endif

std::vector<std::string> library_names(const std::string& file) {
  if (!file.empty()) return {file};
  if (const char* named = std::getenv("CROSSTUNE_ONNXRUNTIME"); named != nullptr && *named != '\0') return {named};
  std::vector<std::string> names;
#ifdef CROSSTUNE_ORT_LIB
  names.emplace_back(CROSSTUNE_ORT_LIB);
#endif
  names.insert(names.end(), std::begin(kSystemNames), std::end(kSystemNames));
  return names;
}

// Removes the first number and its dot from a version; 0 when there is none. Does not use a stream, because streams follow
// the locale of the host program, in which "1.20" may be a single number.
int take_number(std::string_view* version) {
  int number = 0;
  const char* const end = std::from_chars(version->data(), version->data() + version->size(), number).ptr;
  version->remove_prefix(std::min(version->size(), static_cast<std::size_t>(end - version->data()) + 1));
  return number;
}

OnnxRuntime open_library(void* library, const std::string& file) {
  const auto get_base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(library, "OrtGetApiBase"));
  if (get_base == nullptr) {
    throw Failure(CROSSTUNE_USAGE, file + ": no OrtGetApiBase in it, expected an onnxruntime library. Name another one.");
  }
  OnnxRuntime runtime{nullptr, nullptr, get_base()->GetVersionString(), file};
  if (is_version_at_least(runtime.version, "1." + std::to_string(kApiVersion)))
    runtime.api = get_base()->GetApi(kApiVersion);
  if (runtime.api == nullptr) {
    throw Failure(CROSSTUNE_USAGE, file + ": onnxruntime " + runtime.version + ", expected 1." +
                                       std::to_string(kApiVersion) + " or newer. Install a newer one.");
  }
  OrtStatus* error = runtime.api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "crosstune", &runtime.environment);
  if (error != nullptr) {
    runtime.api->ReleaseStatus(error);
    throw Failure(CROSSTUNE_RESOURCES, file + ": onnxruntime cannot create an environment. Free some memory.");
  }
  return runtime;
}

}  // namespace

const OnnxRuntime& open_onnxruntime(const std::string& file) {
  static std::mutex& mutex = *new std::mutex;  // never destroyed, because other threads may still run at exit
  static auto& opened = *new std::map<void*, std::unique_ptr<const OnnxRuntime>>;
  const std::lock_guard<std::mutex> lock(mutex);
  // onnxruntime sends telemetry unless this variable is set when it is loaded. A value that the user set is kept.
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  std::string tried;
  for (const std::string& name : library_names(file)) {
    void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      tried += (tried.empty() ? "" : ", ") + name;
      continue;
    }
    std::unique_ptr<const OnnxRuntime>& runtime = opened[library];
    if (!runtime) runtime = std::make_unique<const OnnxRuntime>(open_library(library, name));
    return *runtime;
  }
  throw Failure(CROSSTUNE_USAGE, "onnxruntime: cannot open " + tried +
                                     ", expected its shared library. Install onnxruntime, or set CROSSTUNE_ONNXRUNTIME to "
                                     "the file (the Python wheel has it in onnxruntime/capi).");
}

bool is_version_at_least(const std::string& version, const std::string& minimum) {
  std::string_view a = version, b = minimum;
  for (int part = 0; part < 3; ++part) {
    const int x = take_number(&a), y = take_number(&b);
    if (x != y) return x > y;
  }
  return true;
}

}  // namespace crosstune::core
