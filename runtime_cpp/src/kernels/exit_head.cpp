#include "kernels/exit_head.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace crosstune::kernels {

ExitHead::ExitHead(const Tensors& tensors, std::size_t number, std::size_t layer, std::size_t size, std::size_t labels, bool has_similarity)
    : layer_(layer), width_(padded(size)), keys_(labels * width_, 0.0f) {
  const std::string name = "exit." + std::to_string(number);
  const auto rows = static_cast<std::int64_t>(labels), columns = static_cast<std::int64_t>(size);
  const float *keys = tensors.floats(name + ".keys", {rows, columns}), *bias = tensors.floats(name + ".bias", {rows});
  for (std::size_t i = 0; i < labels; ++i) std::copy(keys + i * size, keys + (i + 1) * size, keys_.data() + i * width_);
  bias_.assign(bias, bias + labels);
  threshold_ = *tensors.floats(name + ".threshold", {});
  if (!has_similarity) return;
  const float* key = tensors.floats(name + ".scope_key", {1, columns});
  similarity_key_.assign(width_, 0.0f);
  std::copy(key, key + size, similarity_key_.begin());
  similarity_bias_ = *tensors.floats(name + ".scope_bias", {1});
}

bool ExitHead::answer(const Kernels& kernels, const States& states, float* scratch, float* probs, float* similarity) const {
  if (is_closed()) return false;
  float *unit = scratch, *values = scratch + width_;
  kernels.mean(states, unit);
  const float length = std::sqrt(kernels.dot(unit, unit, width_));
  for (std::size_t j = 0; j < width_; ++j) unit[j] /= length;
  const std::size_t labels = bias_.size();
  for (std::size_t y = 0; y < labels; ++y) values[y] = kernels.dot(keys_.data() + y * width_, unit, width_) + bias_[y];
  kernels.softmax(values, labels);
  if (*std::max_element(values, values + labels) < threshold_) return false;
  std::copy(values, values + labels, probs);
  if (similarity != nullptr) *similarity = kernels.dot(similarity_key_.data(), unit, width_) + similarity_bias_;
  return true;
}

}  // namespace crosstune::kernels
