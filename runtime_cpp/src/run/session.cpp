#include "run/session.hpp"

#include <cstdlib>
#include <mutex>
#include <vector>

#include "error.hpp"
#include "guard/graph_check.hpp"
#include "kernels/kernels.hpp"
#include "kernels/op.hpp"
#include "utf8.hpp"

namespace crosstune::core {
namespace {

// onnxruntime's message as one line of at most 200 bytes. It may quote names from the graph that are not valid UTF-8.
std::string one_line(const char* message) {
  std::string line;
  for (const char* c = message; *c != '\0' && line.size() < 200; ++c) {
    const bool space = *c == '\n' || *c == '\r' || *c == '\t' || *c == ' ';
    if (!space) line += *c;
    else if (!line.empty() && line.back() != ' ') line += ' ';
  }
  std::string buffer;
  bool truncated = false;
  return std::string(to_valid_utf8(line, 200, &buffer, &truncated));
}

std::string joined(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

// Whether the environment allows the fast kernels.
bool kernels_wanted() {
  const char* choice = std::getenv("CROSSTUNE_KERNELS");
  return choice == nullptr || std::string_view(choice) != "portable";
}

std::mutex& creation_mutex() {
  static std::mutex& mutex = *new std::mutex;
  return mutex;
}

}  // namespace

void Session::check(OrtStatus* status, const std::string& what) const {
  if (status == nullptr) return;
  const std::string reason = one_line(api_.GetErrorMessage(status));
  api_.ReleaseStatus(status);
  throw bundle_error(what + " (" + reason + "). Build the bundle again.");
}

Session::Owned<OrtSessionOptions> Session::session_options(const GraphFacts& graph, int threads) const {
  const std::string what = "onnxruntime refuses a session option";
  OrtSessionOptions* raw = nullptr;
  check(api_.CreateSessionOptions(&raw), what);
  Owned<OrtSessionOptions> options(raw, api_.ReleaseSessionOptions);
  check(api_.SetIntraOpNumThreads(raw, threads), what);
  check(api_.SetInterOpNumThreads(raw, 1), what);
  check(api_.DisableCpuMemArena(raw), what);
  check(api_.SetSessionLogSeverityLevel(raw, ORT_LOGGING_LEVEL_FATAL), what);
  check(api_.AddSessionConfigEntry(raw, "session.intra_op.allow_spinning", "0"), what);
  if (!graph.disabled_optimizers.empty()) {
    check(api_.AddSessionConfigEntry(raw, "optimization.disable_specified_optimizers",
                                     joined(graph.disabled_optimizers, ";").c_str()), what);
  }
  return options;
}

Session::Session(const OnnxRuntime& runtime, std::string_view model, const GraphFacts& graph, const std::string& where,
                 int threads, std::size_t label_count, std::size_t longest)
    : api_(*runtime.api),
      memory_(nullptr, api_.ReleaseMemoryInfo),
      session_(nullptr, api_.ReleaseSession),
      label_count_(label_count),
      has_types_(graph.inputs.size() == 3),
      has_similarity_(graph.has_similarity()) {
  if (!is_version_at_least(runtime.version, graph.min_onnxruntime)) {
    throw bundle_error(where + ": needs onnxruntime >= " + graph.min_onnxruntime + " (opset " + std::to_string(graph.opset) +
                       "), found " + runtime.version + " in " + runtime.file + ". Install a newer onnxruntime.");
  }
  vocabulary_size_ = check_graph(model, graph, where, longest);
  OrtMemoryInfo* memory = nullptr;
  check(api_.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory), where);
  memory_.reset(memory);
  std::string reason;
  const kernels::Kernels* fast = graph.has_function && kernels_wanted() ? kernels::best_kernels() : nullptr;
  if (fast != nullptr) {
    const Owned<OrtSessionOptions> options = session_options(graph, threads);
    check(api_.AddSessionConfigEntry(options.get(), kernels::kThreadsOption, std::to_string(threads).c_str()), where);
    check(kernels::register_op(options.get(), api_), where);
    session_.reset(create(runtime, model, options.get(), &reason));
    if (session_ != nullptr) kernels_ = fast->name;
  }
  if (session_ == nullptr) {  // also for a graph or an onnxruntime that the kernels do not know
    session_.reset(create(runtime, model, session_options(graph, threads).get(), &reason));
    if (session_ == nullptr) throw bundle_error(where + ": onnxruntime refuses the graph (" + reason + "). Build the bundle again.");
  }
  check_signature(graph, where);
}

OrtSession* Session::create(const OnnxRuntime& runtime, std::string_view model, const OrtSessionOptions* options,
                            std::string* reason) const {
  OrtSession* session = nullptr;
  const std::lock_guard<std::mutex> lock(creation_mutex());  // not documented as thread-safe
  OrtStatus* status = api_.CreateSessionFromArray(runtime.environment, model.data(), model.size(), options, &session);
  if (status == nullptr) return session;
  *reason = one_line(api_.GetErrorMessage(status));
  api_.ReleaseStatus(status);
  return nullptr;
}

// The inputs or outputs, in the form "input_ids int64 rank 2, attention_mask int64 rank 2". Appends the second dimension of
// each to `columns`: -1 when it is dynamic or missing.
std::string Session::signature_of(bool inputs, std::vector<std::int64_t>* columns) const {
  const std::string what = "onnxruntime does not describe the graph";
  OrtAllocator* allocator = nullptr;
  check(api_.GetAllocatorWithDefaultOptions(&allocator), what);
  std::size_t count = 0;
  check(inputs ? api_.SessionGetInputCount(session_.get(), &count) : api_.SessionGetOutputCount(session_.get(), &count), what);
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    check(inputs ? api_.SessionGetInputName(session_.get(), i, allocator, &name)
                 : api_.SessionGetOutputName(session_.get(), i, allocator, &name), what);
    std::string part = name;
    check(api_.AllocatorFree(allocator, name), what);
    OrtTypeInfo* info = nullptr;
    check(inputs ? api_.SessionGetInputTypeInfo(session_.get(), i, &info)
                 : api_.SessionGetOutputTypeInfo(session_.get(), i, &info), what);
    const Owned<OrtTypeInfo> owned(info, api_.ReleaseTypeInfo);
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;  // owned by `info`
    check(api_.CastTypeInfoToTensorInfo(info, &tensor), what);
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    std::vector<std::int64_t> sizes;
    if (tensor != nullptr) {
      check(api_.GetTensorElementType(tensor, &type), what);
      std::size_t rank = 0;
      check(api_.GetDimensionsCount(tensor, &rank), what);
      sizes.resize(rank);
      check(api_.GetDimensions(tensor, sizes.data(), rank), what);
    }
    columns->push_back(sizes.size() == 2 ? sizes[1] : -1);
    const char* type_name = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64   ? "int64"
                            : type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT ? "float32"
                                                                          : "of another type";
    parts.push_back(part + " " + type_name + " rank " + std::to_string(sizes.size()));
  }
  return joined(parts, ", ");
}

void Session::check_signature(const GraphFacts& graph, const std::string& where) const {
  std::vector<std::string> expected_inputs, expected_outputs;
  for (const std::string& name : graph.inputs) expected_inputs.push_back(name + " int64 rank 2");
  for (const std::string& name : graph.outputs)
    expected_outputs.push_back(name + " float32 rank " + (name == "scope" ? "1" : "2"));
  std::vector<std::int64_t> columns;
  const std::string inputs = signature_of(true, &columns);
  columns.clear();
  const std::string outputs = signature_of(false, &columns);
  if (inputs != joined(expected_inputs, ", ") || outputs != joined(expected_outputs, ", ")) {
    throw bundle_error(where + ": the graph takes " + inputs + " and gives " + outputs + ", expected " +
                       joined(expected_inputs, ", ") + " and " + joined(expected_outputs, ", ") +
                       ". Build the bundle again.");
  }
  const auto labels = static_cast<std::int64_t>(label_count_);
  if (columns[1] != -1 && columns[1] != graph.text_vector_size) {
    throw bundle_error(where + ": text_vector has " + std::to_string(columns[1]) + " columns, expected " +
                       std::to_string(graph.text_vector_size) + ". Build the bundle again.");
  }
  if (columns[0] != -1 && columns[0] != labels) {
    throw bundle_error(where + ": probs has " + std::to_string(columns[0]) + " columns, expected " + std::to_string(labels) +
                       ", one per label. Build the bundle again.");
  }
}

Session::Owned<OrtValue> Session::tensor(void* data, std::array<std::size_t, 2> shape, std::size_t rank,
                                         ONNXTensorElementDataType type) const {
  const std::int64_t dimensions[] = {static_cast<std::int64_t>(shape[0]), static_cast<std::int64_t>(shape[1])};
  const std::size_t item = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 ? sizeof(std::int64_t) : sizeof(float);
  OrtValue* value = nullptr;
  check(api_.CreateTensorWithDataAsOrtValue(memory_.get(), data, shape[0] * shape[1] * item, dimensions, rank, type, &value),
        "onnxruntime refuses a tensor");
  return Owned<OrtValue>(value, api_.ReleaseValue);
}

void Session::run(const TokenRow& row, float* probs, float* similarity) const { PreparedRun(*this, row, probs, similarity).run(); }

namespace {

constexpr auto kInt64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
constexpr auto kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;

// onnxruntime takes writable pointers but does not change its inputs.
void* writable(const std::vector<std::int64_t>& values) { return const_cast<std::int64_t*>(values.data()); }

}  // namespace

PreparedRun::PreparedRun(const Session& session, const TokenRow& row, float* probs, float* similarity)
    : session_(session),
      mask_(row.ids.size(), 1),
      ids_(session.tensor(writable(row.ids), {1, mask_.size()}, 2, kInt64)),
      masks_(session.tensor(mask_.data(), {1, mask_.size()}, 2, kInt64)),
      types_(session.tensor(writable(row.type_ids), {1, mask_.size()}, 2, kInt64)),
      probs_(session.tensor(probs, {1, session.label_count_}, 2, kFloat)),
      similarity_(session.tensor(similarity, {1, 1}, 1, kFloat)) {}

void PreparedRun::run() const {
  static const char* const kInputs[] = {"input_ids", "attention_mask", "token_type_ids"};
  static const char* const kOutputs[] = {"probs", "scope"};
  const OrtValue* inputs[] = {ids_.get(), masks_.get(), types_.get()};
  OrtValue* outputs[] = {probs_.get(), similarity_.get()};
  session_.check(session_.api_.Run(session_.session_.get(), nullptr, kInputs, inputs, session_.has_types_ ? 3 : 2,
                                   kOutputs, session_.has_similarity_ ? 2 : 1, outputs),
                 "onnxruntime fails on the graph");
}

}  // namespace crosstune::core
