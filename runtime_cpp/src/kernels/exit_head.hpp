// What answers a text that leaves the encoder early: a linear map of its mean state, scaled to length 1.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/kernels.hpp"
#include "kernels/tensors.hpp"

namespace crosstune::kernels {

class ExitHead {
 public:
  // Copies the constants `exit.NUMBER.*` of an exit behind `layer` layers of `size` channels. Throws std::invalid_argument.
  ExitHead(const Tensors& tensors, std::size_t number, std::size_t layer, std::size_t size, std::size_t labels, bool has_similarity);

  // Whether a text leaves here; only then its probabilities (labels) and, unless null, its similarity are written.
  // `scratch` has padded(size) + padded(labels) + 16 entries.
  bool answer(const Kernels& kernels, const States& states, float* scratch, float* probs, float* similarity) const;

  std::size_t layer() const { return layer_; }
  bool is_closed() const { return threshold_ >= 2.0f; }  // no probability is as large

 private:
  std::size_t layer_, width_;
  std::vector<float> keys_, bias_;  // (L, width), (L)
  float threshold_;
  std::vector<float> similarity_key_;  // (width), empty without similarity
  float similarity_bias_ = 0.0f;
};

}  // namespace crosstune::kernels
