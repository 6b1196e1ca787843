// The constants of a classifier, by the names that a build gives them; see docs/bundle_format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace crosstune::kernels {

enum class Type { kFloat, kHalf, kInt8, kUint8, kInt64, kOther };

struct Tensor {
  const void* data = nullptr;
  Type type = Type::kOther;
  std::vector<std::int64_t> shape;

  std::size_t size() const {
    std::size_t count = 1;
    for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
    return count;
  }
};

class Tensors {
 public:
  void add(std::string name, Tensor tensor) { all_[std::move(name)] = std::move(tensor); }
  bool has(const std::string& name) const { return all_.count(name) != 0; }

  // A tensor of a type and shape; -1 stands for any size. Throws std::invalid_argument.
  const Tensor& get(const std::string& name, Type type, const std::vector<std::int64_t>& shape) const {
    const auto found = all_.find(name);
    if (found == all_.end()) throw std::invalid_argument("no constant " + name);
    const Tensor& tensor = found->second;
    bool fits = tensor.type == type && tensor.shape.size() == shape.size() && tensor.data != nullptr;
    for (std::size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] == -1 ? tensor.shape[i] > 0 : shape[i] == tensor.shape[i];
    if (!fits) throw std::invalid_argument("constant " + name + " of another type or shape");
    return tensor;
  }
  const float* floats(const std::string& name, const std::vector<std::int64_t>& shape) const {
    return static_cast<const float*>(get(name, Type::kFloat, shape).data);
  }
  const std::int8_t* int8s(const std::string& name, const std::vector<std::int64_t>& shape) const {
    return static_cast<const std::int8_t*>(get(name, Type::kInt8, shape).data);
  }
  std::int64_t integer(const std::string& name) const { return *static_cast<const std::int64_t*>(get(name, Type::kInt64, {1}).data); }

 private:
  std::map<std::string, Tensor> all_;
};

}  // namespace crosstune::kernels
