#include "kernels/op.hpp"

#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/encoder.hpp"

namespace crosstune::kernels {
namespace {

constexpr std::uint32_t kApiVersion = 20;  // of onnxruntime 1.20, the oldest that a bundle may require

void check(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw std::runtime_error(message);
}

// Runs f; an exception becomes a status, since none may pass through onnxruntime.
template <typename F>
OrtStatus* guarded(const OrtApi& api, F&& f) {
  try {
    f();
    return nullptr;
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_INVALID_ARGUMENT, error.what());
  }
}

// Empty where there is no such attribute.
std::vector<std::size_t> integers(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  std::size_t count = 0;
  if (OrtStatus* missing = api.KernelInfoGetAttributeArray_int64(info, name, nullptr, &count)) {
    api.ReleaseStatus(missing);
    return {};
  }
  std::vector<std::int64_t> values(count);
  if (count != 0) check(api, api.KernelInfoGetAttributeArray_int64(info, name, values.data(), &count));
  std::vector<std::size_t> result;
  for (const std::int64_t value : values) {
    if (value < 0) throw std::invalid_argument(std::string("attribute ") + name + " is negative");
    result.push_back(static_cast<std::size_t>(value));
  }
  return result;
}

std::size_t integer(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  std::int64_t value = 0;
  check(api, api.KernelInfoGetAttribute_int64(info, name, &value));
  if (value < 0) throw std::invalid_argument(std::string("attribute ") + name + " is negative");
  return static_cast<std::size_t>(value);
}

float number(const OrtApi& api, const OrtKernelInfo* info, const char* name) {
  float value = 0;
  check(api, api.KernelInfoGetAttribute_float(info, name, &value));
  return value;
}

struct Shape {
  std::vector<std::int64_t> sizes;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
};

Shape shape_of(const OrtApi& api, const OrtValue* value) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api, api.GetTensorTypeAndShape(value, &info));
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, void (*)(OrtTensorTypeAndShapeInfo*)> owned(info, api.ReleaseTensorTypeAndShapeInfo);
  Shape shape;
  std::size_t rank = 0;
  check(api, api.GetTensorElementType(info, &shape.type));
  check(api, api.GetDimensionsCount(info, &rank));
  shape.sizes.resize(rank);
  check(api, api.GetDimensions(info, shape.sizes.data(), rank));
  return shape;
}

Type type_of(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return Type::kFloat;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return Type::kHalf;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8: return Type::kInt8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return Type::kUint8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return Type::kInt64;
    default: return Type::kOther;
  }
}

// One node of a session. Inputs and constants are known by their names.
class Node {
 public:
  Node(const OrtApi& api, const OrtKernelInfo* info, const Kernels& kernels, std::size_t threads) : api_(api), threads_(threads) {
    Tensors tensors;
    std::size_t count = 0;
    check(api, api.KernelInfo_GetInputCount(info, &count));
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t length = 0;
      check(api, api.KernelInfo_GetInputName(info, i, nullptr, &length));
      std::string name(length, '\0');
      check(api, api.KernelInfo_GetInputName(info, i, name.data(), &length));
      name.resize(length - 1);  // it ends with a zero
      if (name == "input_ids") ids_ = i;
      if (name == "attention_mask") mask_ = i;
      if (name == "token_type_ids") types_ = i, has_types_ = true;
      int constant = 0;
      const OrtValue* value = nullptr;
      check(api, api.KernelInfoGetConstantInput_tensor(info, i, &constant, &value));
      if (constant == 0) continue;
      Shape shape = shape_of(api, value);
      void* data = nullptr;
      check(api, api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
      tensors.add(std::move(name), {data, type_of(shape.type), std::move(shape.sizes)});
    }
    Structure s;
    s.heads = integer(api, info, "heads"), s.label_heads = integer(api, info, "label_heads");
    s.epsilon = number(api, info, "epsilon"), s.sharpness = number(api, info, "sharpness");
    s.first_place = integer(api, info, "first_place");
    s.padding = integers(api, info, "padding");
    s.tanh_gelu = integer(api, info, "tanh_gelu") != 0;
    s.mean = integers(api, info, "mean"), s.maximum = integers(api, info, "maximum");
    s.first = integers(api, info, "first"), s.attend = integers(api, info, "attend");
    s.exits = integers(api, info, "exits");
    encoder_ = std::make_unique<Encoder>(kernels, tensors, std::move(s), has_types_);
  }

  void compute(OrtKernelContext* context) const {
    std::vector<std::int64_t> shape;
    Batch batch{};
    batch.ids = input(context, ids_, &shape), batch.mask = input(context, mask_, &shape);
    batch.types = has_types_ ? input(context, types_, &shape) : nullptr;
    batch.batch = static_cast<std::size_t>(shape[0]), batch.tokens = static_cast<std::size_t>(shape[1]);
    Answers answers{};
    answers.probs = output(context, 0, {shape[0], static_cast<std::int64_t>(encoder_->labels())}, 2);
    answers.text_vector = output(context, 1, {shape[0], static_cast<std::int64_t>(encoder_->features())}, 2);
    if (encoder_->has_similarity()) answers.similarity = output(context, 2, {shape[0], 1}, 1);
    Workers workers;
    workers.threads = threads_;
    std::pair<const OrtApi*, OrtKernelContext*> where(&api_, context);
    workers.context = &where;
    workers.run = [](const Workers& self, std::size_t count, void (*task)(void*, std::size_t), void* data) {
      const auto& at = *static_cast<std::pair<const OrtApi*, OrtKernelContext*>*>(self.context);
      check(*at.first, at.first->KernelContext_ParallelFor(at.second, task, count, 0, data));
    };
    encoder_->run(batch, answers, workers);
  }

  const OrtApi& api() const { return api_; }

 private:
  // An int64 input of rank 2; all have the same shape.
  const std::int64_t* input(OrtKernelContext* context, std::size_t index, std::vector<std::int64_t>* shape) const {
    const OrtValue* value = nullptr;
    check(api_, api_.KernelContext_GetInput(context, index, &value));
    Shape found = shape_of(api_, value);
    if (found.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 || found.sizes.size() != 2 || (!shape->empty() && found.sizes != *shape))
      throw std::invalid_argument("inputs of another type or shape");
    *shape = std::move(found.sizes);
    void* data = nullptr;
    check(api_, api_.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
    return static_cast<const std::int64_t*>(data);
  }

  float* output(OrtKernelContext* context, std::size_t index, std::vector<std::int64_t> shape, std::size_t rank) const {
    OrtValue* value = nullptr;
    check(api_, api_.KernelContext_GetOutput(context, index, shape.data(), rank, &value));
    void* data = nullptr;
    check(api_, api_.GetTensorMutableData(value, &data));
    return static_cast<float*>(data);
  }

  const OrtApi& api_;
  std::size_t threads_, ids_ = 0, mask_ = 1, types_ = 2;
  bool has_types_ = false;
  std::unique_ptr<Encoder> encoder_;
};

// The operator for some kernels and a number of threads. It lives as long as the process, as sessions refer to it.
struct Op : OrtCustomOp {
  Op(const Kernels& which, std::size_t count) : OrtCustomOp{}, kernels(which), threads(count) {
    version = kApiVersion;
    GetName = [](const OrtCustomOp*) { return "Classify"; };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
    GetInputTypeCount = [](const OrtCustomOp*) -> std::size_t { return 1; };
    GetInputType = [](const OrtCustomOp*, std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED; };
    GetInputCharacteristic = [](const OrtCustomOp*, std::size_t) { return INPUT_OUTPUT_VARIADIC; };
    GetInputMemoryType = [](const OrtCustomOp*, std::size_t) { return OrtMemTypeDefault; };
    GetVariadicInputMinArity = [](const OrtCustomOp*) { return 2; };
    GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 0; };
    GetOutputTypeCount = [](const OrtCustomOp*) -> std::size_t { return 1; };
    GetOutputType = [](const OrtCustomOp*, std::size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; };
    GetOutputCharacteristic = [](const OrtCustomOp*, std::size_t) { return INPUT_OUTPUT_VARIADIC; };
    GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 2; };
    GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
    CreateKernelV2 = [](const OrtCustomOp* self, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
      const auto& op = *static_cast<const Op*>(self);
      return guarded(*api, [&] { *kernel = new Node(*api, info, op.kernels, op.threads); });
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      const auto& node = *static_cast<const Node*>(kernel);
      return guarded(node.api(), [&] { node.compute(context); });
    };
    KernelDestroy = [](void* kernel) { delete static_cast<Node*>(kernel); };
  }

  const Kernels& kernels;
  std::size_t threads;
  OrtCustomOpDomain* domain = nullptr;
};

std::string option(const OrtApi& api, const OrtSessionOptions* options, const char* name) {
  int there = 0;
  check(api, api.HasSessionConfigEntry(options, name, &there));
  if (there == 0) return "";
  std::size_t length = 0;
  check(api, api.GetSessionConfigEntry(options, name, nullptr, &length));
  std::string value(length, '\0');
  check(api, api.GetSessionConfigEntry(options, name, value.data(), &length));
  value.resize(length - 1);
  return value;
}

}  // namespace

OrtStatus* register_op(OrtSessionOptions* options, const OrtApi& api) {
  return guarded(api, [&] {
    const std::string name = option(api, options, kNameOption), count = option(api, options, kThreadsOption);
    const Kernels* kernels = name.empty() ? best_kernels() : kernels_named(name.c_str());
    if (kernels == nullptr) {
      if (!name.empty()) throw std::invalid_argument("no kernels " + name + " for this processor");
      return;
    }
    const long threads = count.empty() ? 1 : std::strtol(count.c_str(), nullptr, 10);
    if (threads < 1 || threads > 256) throw std::invalid_argument(std::string(kThreadsOption) + " is out of range");
    static std::mutex& mutex = *new std::mutex;
    static auto& ops = *new std::map<std::pair<const Kernels*, long>, std::unique_ptr<Op>>;
    const std::lock_guard<std::mutex> lock(mutex);
    std::unique_ptr<Op>& op = ops[{kernels, threads}];
    if (op == nullptr) {
      auto made = std::make_unique<Op>(*kernels, static_cast<std::size_t>(threads));
      check(api, api.CreateCustomOpDomain("crosstune", &made->domain));
      check(api, api.CustomOpDomain_Add(made->domain, made.get()));
      op = std::move(made);
    }
    // The graph is one node. Optimizers would only merge equal constants, under names that the operator does not know.
    check(api, api.SetSessionGraphOptimizationLevel(options, ORT_DISABLE_ALL));
    check(api, api.AddCustomOpDomain(options, op->domain));
  });
}

}  // namespace crosstune::kernels
