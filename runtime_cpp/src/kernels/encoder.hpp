// An int8 BERT encoder and the head behind it, for texts without padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/exit_head.hpp"
#include "kernels/kernels.hpp"
#include "kernels/storage.hpp"
#include "kernels/tensors.hpp"

namespace crosstune::kernels {

// What the constants do not tell. Layers are numbered as hidden states: 0 is the word vectors, i the output of layer i.
struct Structure {
  std::size_t heads = 1;                         // of the attention
  float epsilon = 1e-12f;                        // of all normalizations
  bool tanh_gelu = false;
  std::vector<std::size_t> mean, maximum, first;  // layers whose mean, maximum and first token are features, in this order
  std::size_t first_place = 0;                   // of the token that `first` means
  std::vector<std::size_t> padding;              // empty: the position of token t is t. Otherwise the id of padding and its position p:
                                                 // other tokens are counted from p + 1 on
  std::vector<std::size_t> attend;               // layers that the label queries attend to
  float sharpness = 16.0f;
  std::size_t label_heads = 1;                   // H: the mean of H softmaxes
  std::vector<std::size_t> exits;                // layers after which a text may leave early, ascending
};

// A loop that may run on several threads.
struct Workers {
  std::size_t threads = 1;
  void (*run)(const Workers& self, std::size_t count, void (*task)(void* data, std::size_t index), void* data) = nullptr;
  void* context = nullptr;

  template <typename F>
  void each(std::size_t count, F&& task) const {
    if (threads == 1 || count == 1 || run == nullptr) {
      for (std::size_t i = 0; i < count; ++i) task(i);
    } else {
      run(*this, count, [](void* data, std::size_t index) { (*static_cast<F*>(data))(index); }, &task);
    }
  }
};

// Padded rows as a graph takes them: (batch, tokens) each; `types` may be null.
struct Batch {
  const std::int64_t *ids, *mask, *types;
  std::size_t batch, tokens;

  std::size_t length(std::size_t text) const {
    std::size_t count = 0;
    while (count < tokens && mask[text * tokens + count] != 0) ++count;
    return count;
  }
};

// (batch, labels), (batch, features) and (batch); `similarity` is null for a head without it.
struct Answers {
  float *probs, *text_vector, *similarity;
};

class Encoder {
 public:
  // Copies and packs all constants but the word table, which must outlive this. Throws std::invalid_argument.
  Encoder(const Kernels& kernels, const Tensors& tensors, Structure structure, bool has_types);
  ~Encoder();

  // A text's answer depends on its tokens alone: not on the batch, the padding, the threads, or the kind of processor.
  // Thread-safe. Allocates only when more runs are under way at once, or a longer text comes, than ever before. Throws
  // std::invalid_argument for ids, types or lengths outside of the tables, and for masks that are not ones before zeros.
  void run(const Batch& batch, const Answers& answers, const Workers& workers) const;

  std::size_t labels() const { return labels_; }
  std::size_t features() const { return features_; }
  bool has_similarity() const { return similarity_rows_ != 0; }

 private:
  struct Product {  // the packed weights and what turns floats into their input
    std::vector<PackedWeights> parts;
    float step = 1.0f, zero = 0.0f;
    std::vector<float> smooth;  // (K), 1 where the graph has none
    std::vector<std::int32_t> start;
    std::vector<float> scale, bias;
  };
  struct Layer {
    Product attend_in, attend_out, up, down;
    std::unique_ptr<GeluBytes> gelu;  // the bytes of `down`
    std::vector<float> attend_gamma, attend_beta, attend_gain, attend_shift;  // norm after attention, bytes for `up`
    std::vector<float> gamma, beta, gain, shift;                              // norm after `down`, bytes for the next layer
  };
  struct Scratch;
  struct Pack;

  Product read_product(const Tensors& tensors, const std::string& name, std::size_t inputs, std::size_t outputs) const;
  void pack_columns(const std::int8_t* weights, Product& product, std::size_t part, std::size_t inputs, std::size_t stride,
                    const std::vector<std::ptrdiff_t>& columns, const std::vector<float>& factors, const float* scale,
                    const float* bias);
  void read_head(const Tensors& tensors);
  std::size_t scratch_bytes(std::size_t tokens, std::size_t threads) const;
  void read_exits(const Tensors& tensors);
  std::unique_ptr<Scratch> borrow(std::size_t tokens, std::size_t texts, std::size_t threads) const;
  void give_back(std::unique_ptr<Scratch> scratch) const;

  void check(const Batch& batch, std::size_t text, std::size_t length) const;
  void run_pack(const Pack& pack, const Batch& batch, const Answers& answers, Scratch& scratch, const Workers& workers) const;
  void run_layer(const Layer& layer, const Pack& pack, Scratch& scratch, const Workers& workers) const;
  void read_states(std::size_t layer, const Pack& pack, const Answers& answers, Scratch& scratch) const;
  void leave(std::size_t layer, Pack* pack, const Answers& answers, Scratch& scratch) const;
  void answer(std::size_t text, std::size_t tokens, const Answers& answers, Scratch& scratch) const;
  Norm norm(const std::vector<float>& gamma, const std::vector<float>& beta, const std::vector<float>& gain,
            const std::vector<float>& shift) const;

  const Kernels& kernels_;
  Structure structure_;
  bool has_types_;
  std::size_t size_ = 0, width_ = 0, inner_ = 0, inner_width_ = 0, head_ = 0, head_width_ = 0;  // D, padded; F, padded; d, padded
  std::size_t byte_width_ = 0;  // of a row of bytes: the last head's padding fits too
  std::size_t vocabulary_ = 0, positions_ = 0, longest_ = 0, types_ = 0;  // `longest_`: tokens of a text
  const std::int8_t* words_ = nullptr;  // (V, width)
  const float* word_scales_ = nullptr;
  std::vector<std::int8_t> word_copy_;
  std::vector<float> distances_;  // (heads, width): biases of attention by distance, that of 0 at `distance_`; empty if there are none
  std::size_t distance_ = 0, distance_width_ = 0;
  std::vector<float> word_columns_, places_;  // places: (types, positions, width), with the row of the type added
  std::vector<float> gamma_, beta_, gain_, shift_;
  std::vector<Layer> layers_;
  std::unique_ptr<Storage> packed_;

  std::size_t labels_ = 0, features_ = 0, feature_width_ = 0, queries_ = 0, query_width_ = 0;
  std::size_t similarity_first_ = 0, similarity_rows_ = 0, similarity_width_ = 0;
  std::vector<std::uint16_t> query_halves_, key_halves_, similarity_halves_;  // (K, D, Q), (H L, F), (S, L): last axes padded
  std::vector<float> error_, label_bias_, similarity_offsets_;  // the last by the number of tokens of a text

  std::vector<ExitHead> exits_;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> idle_;
};

}  // namespace crosstune::kernels
