#include "kernels/encoder.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace crosstune::kernels {
namespace {

// Texts are packed until they have this many tokens: enough to use each loaded weight often, few enough for the second-level
// cache. Measured on Zen 4: docs/development/kernels.md.
constexpr std::size_t kPackTokens = 128;
constexpr float kLog2E = 1.44269504f;  // softmax takes powers of two

std::vector<float> widened(const float* values, std::size_t size, std::size_t width) {
  std::vector<float> wide(width, 0.0f);
  std::copy(values, values + size, wide.begin());
  return wide;
}

// (rows, columns) of half floats with padded rows.
void append_widened(const Tensor& tensor, std::size_t rows, std::size_t columns, std::size_t width, std::vector<std::uint16_t>* out) {
  const auto* values = static_cast<const std::uint16_t*>(tensor.data);
  const std::size_t start = out->size();
  out->resize(start + rows * width, 0);
  for (std::size_t i = 0; i < rows; ++i) std::copy(values + i * columns, values + (i + 1) * columns, out->begin() + static_cast<std::ptrdiff_t>(start + i * width));
}

std::int64_t signed_size(std::size_t n) { return static_cast<std::int64_t>(n); }

std::size_t panels(const Kernels& kernels, const PackedWeights& weights) {
  return (weights.columns + kernels.panel_width - 1) / kernels.panel_width;
}

// The part of `count` things that chunk `index` of `chunks` does.
std::pair<std::size_t, std::size_t> chunk(std::size_t count, std::size_t index, std::size_t chunks) {
  return {count * index / chunks, count * (index + 1) / chunks};
}

}  // namespace

// Texts [first, last) of a batch, one after the other. Those that leave early make it shorter: Scratch::text says which are left.
struct Encoder::Pack {
  std::size_t first, last, tokens;
};

struct Encoder::Scratch {
  Scratch(std::size_t size, std::size_t most_tokens, std::size_t most_texts, std::size_t most_threads)
      : memory(size), tokens(most_tokens), texts(most_texts), threads(most_threads) {}

  Storage memory;
  std::size_t tokens, texts, threads;
  float* state = nullptr;                                             // (tokens, width)
  std::uint8_t *bytes = nullptr, *mixed = nullptr, *inner = nullptr;  // (tokens, width), (tokens, width), (tokens, inner width)
  float* heads = nullptr;                                             // the states of a head, for each thread
  char* attention = nullptr;                                          // scratch memory of attention, for each thread
  std::size_t heads_size = 0, attention_size = 0;
  float *vector = nullptr, *lengths = nullptr, *features = nullptr;
  std::size_t *start = nullptr, *place = nullptr;  // of each text of the pack in its rows; the position of each token
  std::size_t* text = nullptr;                     // the number of each text of the pack in the batch
  std::size_t* type = nullptr;
  std::int64_t* id = nullptr;
};

Encoder::Product Encoder::read_product(const Tensors& tensors, const std::string& name, std::size_t inputs,
                                       std::size_t outputs) const {
  Product product;
  const std::string smooth = name + ".smooth";
  product.smooth = tensors.has(smooth) ? widened(tensors.floats(smooth, {signed_size(inputs)}), inputs, inputs)
                                       : std::vector<float>(inputs, 1.0f);
  product.step = *tensors.floats(name + ".step", {});
  product.zero = *static_cast<const std::uint8_t*>(tensors.get(name + ".zero", Type::kUint8, {}).data);
  if (!(product.step > 0.0f)) throw std::invalid_argument(name + ".step is not positive");
  const std::int8_t* zeros = tensors.int8s(name + ".weight_zero", {signed_size(outputs)});
  if (std::any_of(zeros, zeros + outputs, [](std::int8_t z) { return z != 0; }))
    throw std::invalid_argument(name + ".weight_zero is not zero");
  return product;
}

// Packs chosen columns as one part of a product; -1 is a column of zeros. Scales and biases are multiplied by `factors`.
void Encoder::pack_columns(const std::int8_t* weights, Product& product, std::size_t part, std::size_t inputs, std::size_t stride,
                           const std::vector<std::ptrdiff_t>& columns, const std::vector<float>& factors, const float* scale,
                           const float* bias) {
  const std::size_t width = columns.size(), fours = padded(inputs, 4) / 4, start = part * width;
  std::int8_t* out = packed_->take<std::int8_t>(fours * 4 * width);
  PackedWeights& packed = product.parts[part];
  packed = {out, product.start.data() + start, product.scale.data() + start, product.bias.data() + start, fours, width};
  for (std::size_t first = 0; first < width; first += kernels_.panel_width) {
    const std::size_t last = std::min(width, first + kernels_.panel_width);
    for (std::size_t k = 0; k < fours; ++k)
      for (std::size_t n = first; n < last; ++n)
        for (std::size_t j = 4 * k; j < 4 * k + 4; ++j)
          *out++ = columns[n] < 0 || j >= inputs ? std::int8_t{0} : weights[j * stride + static_cast<std::size_t>(columns[n])];
  }
  for (std::size_t n = 0; n < width; ++n) {
    if (columns[n] < 0) continue;
    const auto column = static_cast<std::size_t>(columns[n]);
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < inputs; ++k) sum += weights[k * stride + column];
    product.start[start + n] = -static_cast<std::int32_t>(product.zero) * sum;
    product.scale[start + n] = product.step * scale[column] * factors[n];
    product.bias[start + n] = bias[column] * factors[n];
  }
}

Encoder::Encoder(const Kernels& kernels, const Tensors& tensors, Structure structure, bool has_types)
    : kernels_(kernels), structure_(std::move(structure)), has_types_(has_types) {
  const Tensor& words = tensors.get("word.rows", Type::kInt8, {-1, -1});
  vocabulary_ = static_cast<std::size_t>(words.shape[0]);
  size_ = static_cast<std::size_t>(words.shape[1]);
  width_ = padded(size_);
  if (structure_.heads == 0 || size_ % structure_.heads != 0) throw std::invalid_argument("heads do not divide the hidden size");
  head_ = size_ / structure_.heads;
  head_width_ = padded(head_);
  byte_width_ = padded(size_ - head_ + head_width_, 64);
  const std::int64_t d = signed_size(size_);
  words_ = static_cast<const std::int8_t*>(words.data);
  if (width_ != size_) {
    word_copy_.assign(vocabulary_ * width_, 0);
    for (std::size_t i = 0; i < vocabulary_; ++i)
      std::copy(words_ + i * size_, words_ + (i + 1) * size_, word_copy_.begin() + static_cast<std::ptrdiff_t>(i * width_));
    words_ = word_copy_.data();
  }
  word_scales_ = tensors.floats("word.scale", {words.shape[0], 1});
  word_columns_ = widened(tensors.floats("word.columns", {d}), size_, width_);

  // A table of int8 rows, as floats.
  const auto table = [&](const std::string& name) {
    const Tensor& rows = tensors.get(name + ".rows", Type::kInt8, {-1, d});
    const float *scale = tensors.floats(name + ".scale", {rows.shape[0], 1}), *columns = tensors.floats(name + ".columns", {d});
    std::vector<float> values(rows.size());
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(static_cast<const std::int8_t*>(rows.data)[i]) * scale[i / size_] * columns[i % size_];
    return values;
  };
  const std::vector<float> places = table("place");
  const std::vector<float> kinds = tensors.has("type.rows") ? table("type") : std::vector<float>(size_, 0.0f);
  positions_ = places.size() / size_;
  const std::vector<std::size_t>& padding = structure_.padding;
  if (!padding.empty() && (padding.size() != 2 || padding[1] >= positions_)) throw std::invalid_argument("padding is not an id and a position");
  longest_ = padding.empty() ? positions_ : positions_ - padding[1] - 1;
  if (longest_ > 512) throw std::invalid_argument("more than 512 positions");
  types_ = has_types_ ? kinds.size() / size_ : 1;
  places_.assign(types_ * positions_ * width_, 0.0f);
  for (std::size_t i = 0; i < types_ * positions_; ++i)
    for (std::size_t j = 0; j < size_; ++j)
      places_[i * width_ + j] = kinds[i / positions_ * size_ + j] + places[i % positions_ * size_ + j];

  if (tensors.has("distance.bias")) {
    const Tensor& bias = tensors.get("distance.bias", Type::kFloat, {signed_size(structure_.heads), -1});
    const auto count = static_cast<std::size_t>(bias.shape[1]);
    longest_ = std::min(longest_, (count + 1) / 2);
    distance_ = (count - 1) / 2, distance_width_ = count + 17;
    distances_.assign(structure_.heads * distance_width_, 0.0f);
    for (std::size_t h = 0; h < structure_.heads; ++h)
      for (std::size_t i = 0; i < count; ++i)
        distances_[h * distance_width_ + i] = static_cast<const float*>(bias.data)[h * count + i] * kLog2E;
  }

  // First the sizes, then one piece of memory for all packed weights.
  std::size_t count = 0, bytes = 0;
  std::vector<std::size_t> inner;
  while (tensors.has("layer." + std::to_string(count) + ".up.weights")) {
    const std::string name = "layer." + std::to_string(count++);
    inner.push_back(static_cast<std::size_t>(tensors.get(name + ".up.weights", Type::kInt8, {d, -1}).shape[1]));
    const std::size_t k = padded(size_, 4), f = padded(inner.back());
    bytes += structure_.heads * Storage::room<std::int8_t>(k * 3 * head_width_) + Storage::room<std::int8_t>(k * width_) +
             Storage::room<std::int8_t>(k * f) + Storage::room<std::int8_t>(padded(inner.back(), 4) * width_);
  }
  if (count == 0) throw std::invalid_argument("no layers");
  packed_ = std::make_unique<Storage>(bytes);
  inner_ = *std::max_element(inner.begin(), inner.end());
  inner_width_ = padded(inner_, 64);

  layers_.resize(count);
  const auto bytes_for = [&](const Product& next, const std::vector<float>& gamma, const std::vector<float>& beta,
                             std::vector<float>* gain, std::vector<float>* shift) {
    gain->assign(width_, 0.0f), shift->assign(width_, 0.0f);
    for (std::size_t j = 0; j < size_; ++j) {
      const float factor = next.smooth[j] / next.step;
      (*gain)[j] = gamma[j] * factor, (*shift)[j] = beta[j] * factor + next.zero;
    }
  };
  const auto norms = [&](const std::string& name, std::vector<float>* gamma, std::vector<float>* beta) {
    *gamma = widened(tensors.floats(name + ".gamma", {d}), size_, width_);
    *beta = widened(tensors.floats(name + ".beta", {d}), size_, width_);
  };
  norms("norm", &gamma_, &beta_);
  for (std::size_t l = 0; l < count; ++l) {
    const std::string name = "layer." + std::to_string(l);
    Layer& layer = layers_[l];
    const std::size_t f = inner[l];
    layer.attend_in = read_product(tensors, name + ".attend_in", size_, 3 * size_);
    layer.attend_out = read_product(tensors, name + ".attend_out", size_, size_);
    layer.up = read_product(tensors, name + ".up", size_, f);
    layer.down = read_product(tensors, name + ".down", f, size_);
    norms(name + ".attend_norm", &layer.attend_gamma, &layer.attend_beta);
    norms(name + ".norm", &layer.gamma, &layer.beta);
    const auto packed = [&](Product& product, const std::string& part, std::size_t inputs, std::size_t outputs,
                            const std::vector<std::vector<std::ptrdiff_t>>& columns, const std::vector<std::vector<float>>& factors) {
      const std::size_t width = columns[0].size();
      product.parts.resize(columns.size());
      product.start.assign(columns.size() * width, 0);
      product.scale.assign(columns.size() * width, 0.0f), product.bias.assign(columns.size() * width, 0.0f);
      const std::int64_t k = signed_size(inputs), n = signed_size(outputs);
      const std::int8_t* weights = tensors.int8s(part + ".weights", {k, n});
      const float *scale = tensors.floats(part + ".scale", {n}), *bias = tensors.floats(part + ".bias", {n});
      for (std::size_t i = 0; i < columns.size(); ++i)
        pack_columns(weights, product, i, inputs, outputs, columns[i], factors[i], scale, bias);
    };
    const auto all = [](std::size_t size) {
      std::vector<std::ptrdiff_t> columns(padded(size), -1);
      for (std::size_t j = 0; j < size; ++j) columns[j] = static_cast<std::ptrdiff_t>(j);
      return columns;
    };
    // A part for each head: its queries, keys and values, each padded.
    std::vector<std::vector<std::ptrdiff_t>> columns(structure_.heads, std::vector<std::ptrdiff_t>(3 * head_width_, -1));
    std::vector<std::vector<float>> factors(structure_.heads, std::vector<float>(3 * head_width_, 0.0f));
    for (std::size_t h = 0; h < structure_.heads; ++h)
      for (std::size_t j = 0; j < head_; ++j) {
        const std::size_t channel = h * head_ + j;
        for (std::size_t part = 0; part < 3; ++part)
          columns[h][part * head_width_ + j] = static_cast<std::ptrdiff_t>(part * size_ + channel);
        factors[h][j] = kLog2E / std::sqrt(static_cast<float>(head_));
        factors[h][head_width_ + j] = 1.0f;
        factors[h][2 * head_width_ + j] = layer.attend_out.smooth[channel] / layer.attend_out.step;
      }
    packed(layer.attend_in, name + ".attend_in", size_, 3 * size_, columns, factors);
    packed(layer.attend_out, name + ".attend_out", size_, size_, {all(size_)}, {std::vector<float>(width_, 1.0f)});
    packed(layer.up, name + ".up", size_, f, {all(f)}, {std::vector<float>(padded(f), kGeluScale)});
    layer.gelu = std::make_unique<GeluBytes>(structure_.tanh_gelu ? kTanhGelu : kErfGelu, 1.0f / layer.down.step, layer.down.zero);
    packed(layer.down, name + ".down", f, size_, {all(size_)}, {std::vector<float>(width_, 1.0f)});
    if (std::any_of(layer.down.smooth.begin(), layer.down.smooth.end(), [](float s) { return s != 1.0f; }))
      throw std::invalid_argument(name + ".down.smooth is not supported");
    bytes_for(layer.up, layer.attend_gamma, layer.attend_beta, &layer.attend_gain, &layer.attend_shift);
    if (l == 0) bytes_for(layer.attend_in, gamma_, beta_, &gain_, &shift_);
    else bytes_for(layer.attend_in, layers_[l - 1].gamma, layers_[l - 1].beta, &layers_[l - 1].gain, &layers_[l - 1].shift);
  }
  read_head(tensors);
  read_exits(tensors);
}

Encoder::~Encoder() = default;

void Encoder::read_head(const Tensors& tensors) {
  Structure& s = structure_;
  const std::size_t atoms = s.mean.size() + s.maximum.size() + s.first.size();
  for (const auto* layers : {&s.mean, &s.maximum, &s.first, &s.attend})
    for (const std::size_t layer : *layers)
      if (layer > layers_.size()) throw std::invalid_argument("a feature of layer " + std::to_string(layer));
  const std::int64_t d = signed_size(size_);
  for (std::size_t k = 0; k < s.attend.size(); ++k) {
    const Tensor& queries = tensors.get("label_queries_" + std::to_string(k), Type::kHalf, {d, k == 0 ? -1 : signed_size(queries_)});
    queries_ = static_cast<std::size_t>(queries.shape[1]);
    query_width_ = padded(queries_);
    append_widened(queries, size_, queries_, query_width_, &query_halves_);
  }
  const std::size_t pooled = atoms * size_;
  features_ = pooled + s.attend.size() * queries_;
  feature_width_ = padded(features_);
  const std::int64_t f = signed_size(features_);
  const Tensor& keys = tensors.get("label_keys", Type::kHalf, {-1, f});
  const auto rows = static_cast<std::size_t>(keys.shape[0]);
  if (s.label_heads == 0 || rows % s.label_heads != 0) throw std::invalid_argument("label_heads do not divide the label keys");
  labels_ = rows / s.label_heads;
  append_widened(keys, rows, features_, feature_width_, &key_halves_);
  label_bias_ = widened(tensors.floats("label_bias", {keys.shape[0]}), rows, rows);
  error_.assign(pooled, 0.0f);
  if (tensors.has("text_vector_error")) {
    const float* error = tensors.floats("text_vector_error", {signed_size(pooled)});
    std::copy(error, error + pooled, error_.begin());
  }
  if (tensors.has("scope_keys")) {
    const Tensor& scope = tensors.get("scope_keys", Type::kHalf, {-1, signed_size(labels_)});
    similarity_rows_ = static_cast<std::size_t>(scope.shape[0]);
    similarity_width_ = padded(labels_);
    if (tensors.has("scope_start")) {
      const std::int64_t first = tensors.integer("scope_start"), last = tensors.integer("scope_end");
      if (first < 0 || last - first != scope.shape[0] || last > signed_size(pooled)) throw std::invalid_argument("scope_start or scope_end out of range");
      similarity_first_ = static_cast<std::size_t>(first);
    } else if (similarity_rows_ != pooled) {
      throw std::invalid_argument("scope_keys of another size");
    }
    append_widened(scope, similarity_rows_, labels_, similarity_width_, &similarity_halves_);
    if (tensors.has("scope_offsets")) {
      const Tensor& offsets = tensors.get("scope_offsets", Type::kFloat, {-1});
      const auto* first = static_cast<const float*>(offsets.data);
      similarity_offsets_.assign(first, first + offsets.size());
    }
  }
}

void Encoder::read_exits(const Tensors& tensors) {
  const std::vector<std::size_t>& layers = structure_.exits;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i] >= layers_.size() || (i != 0 && layers[i] <= layers[i - 1]))
      throw std::invalid_argument("an exit after layer " + std::to_string(layers[i]));
    exits_.emplace_back(tensors, i, layers[i], size_, labels_, has_similarity());
  }
}

// --- Scratch memory --------------------------------------------------------------------------------------------------------

std::unique_ptr<Encoder::Scratch> Encoder::borrow(std::size_t tokens, std::size_t texts, std::size_t threads) const {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& idle : idle_) {
      if (idle->tokens < tokens || idle->texts < texts || idle->threads < threads) continue;
      std::unique_ptr<Scratch> found = std::move(idle);
      idle = std::move(idle_.back());
      idle_.pop_back();
      return found;
    }
    if (!idle_.empty()) idle_.pop_back();  // too small for what comes: the new one takes its place
  }
  tokens = std::max(tokens, kPackTokens), texts = std::max(texts, kPackTokens);
  const std::size_t rows = padded(tokens) + 16;  // attention reads blocks of 16 tokens
  const std::size_t heads = rows * 3 * head_width_, attention = attention_bytes(tokens, head_width_);
  const std::size_t temporary = std::max({width_, query_width_, similarity_width_, padded(structure_.label_heads * labels_) + 16,
                                          exits_.empty() ? 0 : width_ + padded(labels_) + 16});
  const auto room = [](auto one, std::size_t count) { return Storage::room<decltype(one)>(count); };
  const std::size_t bytes = room(0.0f, rows * width_) + 2 * room(std::uint8_t{}, rows * byte_width_) +
                            room(std::uint8_t{}, rows * inner_width_) + threads * (room(0.0f, heads) + room(char{}, attention)) +
                            room(0.0f, temporary) + room(0.0f, rows) + room(0.0f, feature_width_ * texts) +
                            3 * room(std::size_t{}, rows) + 2 * room(std::size_t{}, texts + 1) + 64;
  auto scratch = std::make_unique<Scratch>(bytes, tokens, texts, threads);
  Storage& memory = scratch->memory;
  scratch->state = memory.take<float>(rows * width_);
  scratch->bytes = memory.take<std::uint8_t>(rows * byte_width_), scratch->mixed = memory.take<std::uint8_t>(rows * byte_width_);
  scratch->inner = memory.take<std::uint8_t>(rows * inner_width_);
  scratch->heads = memory.take<float>(threads * Storage::room<float>(heads) / sizeof(float));
  scratch->attention = memory.take<char>(threads * Storage::room<char>(attention));
  scratch->heads_size = Storage::room<float>(heads) / sizeof(float);
  scratch->attention_size = Storage::room<char>(attention);
  scratch->vector = memory.take<float>(temporary), scratch->lengths = memory.take<float>(rows);
  scratch->features = memory.take<float>(feature_width_ * texts);
  scratch->place = memory.take<std::size_t>(rows), scratch->type = memory.take<std::size_t>(rows);
  scratch->id = memory.take<std::int64_t>(rows), scratch->start = memory.take<std::size_t>(texts + 1);
  scratch->text = memory.take<std::size_t>(texts + 1);
  return scratch;
}

void Encoder::give_back(std::unique_ptr<Scratch> scratch) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(scratch));
}

// --- Running ---------------------------------------------------------------------------------------------------------------

// Everything that the kernels take for granted of a text.
void Encoder::check(const Batch& batch, std::size_t text, std::size_t length) const {
  const std::size_t start = text * batch.tokens;
  if (length <= structure_.first_place || length > longest_)
    throw std::invalid_argument("a text of " + std::to_string(length) + " tokens, expected " +
                                std::to_string(structure_.first_place + 1) + " to " + std::to_string(longest_));
  for (std::size_t t = length; t < batch.tokens; ++t)
    if (batch.mask[start + t] != 0) throw std::invalid_argument("a mask with a token after padding");
  for (std::size_t at = start; at < start + length; ++at) {
    if (batch.ids[at] < 0 || static_cast<std::uint64_t>(batch.ids[at]) >= vocabulary_)
      throw std::invalid_argument("the id " + std::to_string(batch.ids[at]) + ", expected less than " + std::to_string(vocabulary_));
    if (has_types_ && (batch.types[at] < 0 || static_cast<std::uint64_t>(batch.types[at]) >= types_))
      throw std::invalid_argument("the token type " + std::to_string(batch.types[at]) + ", expected less than " + std::to_string(types_));
  }
}

void Encoder::run(const Batch& batch, const Answers& answers, const Workers& workers) const {
  if (batch.batch == 0) return;
  std::size_t total = 0, longest = 0;
  for (std::size_t i = 0; i < batch.batch; ++i) {
    const std::size_t length = batch.length(i);
    check(batch, i, length);
    total += length, longest = std::max(longest, length);
  }
  const std::size_t share = (total + workers.threads - 1) / workers.threads;
  const std::size_t limit = std::max(longest, std::min(kPackTokens, std::max<std::size_t>(share, 16)));

  // The packs, found again by each task: a list would have to be allocated.
  const auto pack_from = [&](std::size_t first) {
    Pack pack{first, first, 0};
    while (pack.last < batch.batch) {
      const std::size_t length = batch.length(pack.last);
      if (pack.tokens + length > limit) break;
      pack.tokens += length, ++pack.last;
    }
    return pack;
  };
  std::size_t packs = 0;
  for (std::size_t first = 0; first < batch.batch; first = pack_from(first).last) ++packs;
  const bool together = packs == 1;  // one pack: its layers are shared out; several: each goes to a thread
  const Workers alone;
  const auto run_one = [&](const Pack& pack, const Workers& inside) {
    auto scratch = borrow(limit, pack.last - pack.first, inside.threads);
    run_pack(pack, batch, answers, *scratch, inside);
    give_back(std::move(scratch));
  };
  if (together) {
    run_one(pack_from(0), workers);
  } else {
    workers.each(packs, [&](std::size_t index) {
      std::size_t first = 0;
      for (std::size_t i = 0; i < index; ++i) first = pack_from(first).last;
      run_one(pack_from(first), alone);
    });
  }
}

Norm Encoder::norm(const std::vector<float>& gamma, const std::vector<float>& beta, const std::vector<float>& gain,
                   const std::vector<float>& shift) const {
  const bool bytes = !gain.empty();
  return {gamma.data(), beta.data(), bytes ? gain.data() : nullptr, bytes ? shift.data() : nullptr, size_, width_, structure_.epsilon};
}

void Encoder::run_pack(const Pack& pack, const Batch& batch, const Answers& answers, Scratch& scratch, const Workers& workers) const {
  const std::vector<std::size_t>& padding = structure_.padding;
  std::size_t row = 0;
  for (std::size_t i = pack.first; i < pack.last; ++i) {
    scratch.start[i - pack.first] = row, scratch.text[i - pack.first] = i;
    std::size_t next = padding.empty() ? 0 : padding[1] + 1;
    for (std::size_t t = 0, length = batch.length(i); t < length; ++t) {
      const std::size_t at = i * batch.tokens + t;
      const bool is_padding = !padding.empty() && static_cast<std::size_t>(batch.ids[at]) == padding[0];  // as a word of the text
      scratch.id[row] = batch.ids[at], scratch.place[row] = is_padding ? padding[1] : next++;
      scratch.type[row++] = has_types_ ? static_cast<std::size_t>(batch.types[at]) : 0;
    }
  }
  scratch.start[pack.last - pack.first] = row;
  workers.each(workers.threads, [&](std::size_t part) {
    const auto [first, last] = chunk(row, part, workers.threads);
    for (std::size_t r = first; r < last; ++r) {
      const auto id = static_cast<std::size_t>(scratch.id[r]);
      const float* place = places_.data() + (scratch.type[r] * positions_ + scratch.place[r]) * width_;
      kernels_.embed(words_ + id * width_, word_scales_[id], word_columns_.data(), place, width_, scratch.state + r * width_);
    }
    kernels_.norm(scratch.state + first * width_, last - first, width_, norm(gamma_, beta_, gain_, shift_), scratch.bytes + first * byte_width_,
                  byte_width_);
  });
  Pack left = pack;
  leave(0, &left, answers, scratch);
  read_states(0, left, answers, scratch);
  for (std::size_t l = 0; l < layers_.size() && left.tokens != 0; ++l) {
    run_layer(layers_[l], left, scratch, workers);
    leave(l + 1, &left, answers, scratch);
    read_states(l + 1, left, answers, scratch);
  }
  for (std::size_t i = 0; i < left.last - left.first; ++i) answer(scratch.text[i], scratch.start[i + 1] - scratch.start[i], answers, scratch);
}

void Encoder::run_layer(const Layer& layer, const Pack& pack, Scratch& scratch, const Workers& workers) const {
  const std::size_t rows = pack.tokens, stride = 3 * head_width_;
  const ByteRows bytes{scratch.bytes, rows, byte_width_};
  const std::size_t threads = workers.threads;
  // A head whose size is padded writes into the columns of the next one, which then overwrites them.
  const std::size_t head_threads = head_ == head_width_ ? threads : 1;
  workers.each(head_threads, [&](std::size_t part) {
    const auto [first, last] = chunk(structure_.heads, part, head_threads);
    float* states = scratch.heads + part * scratch.heads_size;
    for (std::size_t h = first; h < last; ++h) {
      const PackedWeights& weights = layer.attend_in.parts[h];
      kernels_.product_floats(bytes, weights, 0, panels(kernels_, weights), {states, stride});
      for (std::size_t i = 0; i < pack.last - pack.first; ++i) {
        const std::size_t start = scratch.start[i];
        const float* queries = states + start * stride;
        kernels_.attention({queries, queries + head_width_, queries + 2 * head_width_, stride, scratch.start[i + 1] - start, head_width_,
                            layer.attend_out.zero, scratch.mixed + start * byte_width_ + h * head_, byte_width_,
                            scratch.attention + part * scratch.attention_size,
                            distances_.empty() ? nullptr : distances_.data() + h * distance_width_ + distance_});
      }
    }
  });
  const auto product_and_norm = [&](const ByteRows& in, const PackedWeights& weights, const Norm& n) {
    workers.each(threads, [&](std::size_t part) {
      const auto [first, last] = chunk(panels(kernels_, weights), part, threads);
      kernels_.product_sum(in, weights, first, last, {scratch.state, width_});
    });
    workers.each(threads, [&](std::size_t part) {
      const auto [first, last] = chunk(rows, part, threads);
      kernels_.norm(scratch.state + first * width_, last - first, width_, n, scratch.bytes + first * byte_width_, byte_width_);
    });
  };
  product_and_norm({scratch.mixed, rows, byte_width_}, layer.attend_out.parts[0],
                   norm(layer.attend_gamma, layer.attend_beta, layer.attend_gain, layer.attend_shift));
  workers.each(threads, [&](std::size_t part) {
    const PackedWeights& weights = layer.up.parts[0];
    const auto [first, last] = chunk(panels(kernels_, weights), part, threads);
    kernels_.product_gelu(bytes, weights, first, last, {scratch.inner, inner_width_, *layer.gelu});
  });
  product_and_norm({scratch.inner, rows, inner_width_}, layer.down.parts[0], norm(layer.gamma, layer.beta, layer.gain, layer.shift));
}

// --- The head --------------------------------------------------------------------------------------------------------------

// The features of one layer, for all texts of a pack.
void Encoder::read_states(std::size_t layer, const Pack& pack, const Answers& answers, Scratch& scratch) const {
  const auto write = [&](const std::vector<std::size_t>& layers, std::size_t before, const float* values, float* features) {
    for (std::size_t a = 0; a < layers.size(); ++a) {
      if (layers[a] != layer) continue;
      const float length = std::sqrt(std::max(kernels_.dot(values, values, width_), 1e-24f));
      for (std::size_t j = 0, at = (before + a) * size_; j < size_; ++j) features[at + j] = values[j] * (1.0f / length) - error_[at + j];
    }
  };
  const auto uses = [layer](const std::vector<std::size_t>& layers) { return std::find(layers.begin(), layers.end(), layer) != layers.end(); };
  const Structure& s = structure_;
  for (std::size_t i = pack.first; i < pack.last; ++i) {
    const std::size_t start = scratch.start[i - pack.first], tokens = scratch.start[i - pack.first + 1] - start;
    const States states{scratch.state + start * width_, tokens, width_, size_, width_};
    float* features = answers.text_vector + scratch.text[i - pack.first] * features_;
    if (uses(s.mean)) {
      kernels_.mean(states, scratch.vector);
      write(s.mean, 0, scratch.vector, features);
    }
    if (uses(s.maximum)) {
      kernels_.maximum(states, scratch.vector);
      write(s.maximum, s.mean.size(), scratch.vector, features);
    }
    if (uses(s.first)) write(s.first, s.mean.size() + s.maximum.size(), states.at + s.first_place * width_, features);
    for (std::size_t k = 0; k < s.attend.size(); ++k) {
      if (s.attend[k] != layer) continue;
      kernels_.attend(states, query_halves_.data() + k * size_ * query_width_, query_width_, s.sharpness, scratch.lengths, scratch.vector);
      std::copy(scratch.vector, scratch.vector + queries_, features + features_ - (s.attend.size() - k) * queries_);
    }
  }
}

// Answers the texts of a pack that leave after a layer; the rows of the others move up.
void Encoder::leave(std::size_t layer, Pack* pack, const Answers& answers, Scratch& scratch) const {
  const auto exit = std::find_if(exits_.begin(), exits_.end(), [layer](const ExitHead& e) { return e.layer() == layer; });
  if (exit == exits_.end() || exit->is_closed()) return;
  std::size_t kept = 0, row = 0;
  for (std::size_t i = 0, texts = pack->last - pack->first; i < texts; ++i) {
    const std::size_t text = scratch.text[i], start = scratch.start[i], end = scratch.start[i + 1];
    float* similarity = has_similarity() ? answers.similarity + text : nullptr;
    const States states{scratch.state + start * width_, end - start, width_, size_, width_};
    if (exit->answer(kernels_, states, scratch.vector, answers.probs + text * labels_, similarity)) {
      std::fill_n(answers.text_vector + text * features_, features_, 0.0f);
      continue;
    }
    if (row != start) {
      std::copy(scratch.state + start * width_, scratch.state + end * width_, scratch.state + row * width_);
      std::copy(scratch.bytes + start * byte_width_, scratch.bytes + end * byte_width_, scratch.bytes + row * byte_width_);
    }
    scratch.text[kept] = text, scratch.start[kept++] = row;
    row += end - start;
  }
  scratch.start[kept] = row;
  *pack = {pack->first, pack->first + kept, row};
}

void Encoder::answer(std::size_t text, std::size_t tokens, const Answers& answers, Scratch& scratch) const {
  float* x = scratch.features;
  std::copy(answers.text_vector + text * features_, answers.text_vector + (text + 1) * features_, x);
  std::fill(x + features_, x + feature_width_, 0.0f);
  if (similarity_rows_ != 0) {
    kernels_.by_rows(x + similarity_first_, similarity_rows_, similarity_halves_.data(), similarity_width_, scratch.vector);
    answers.similarity[text] = *std::max_element(scratch.vector, scratch.vector + labels_);
    if (!similarity_offsets_.empty()) answers.similarity[text] += similarity_offsets_[std::min(tokens, similarity_offsets_.size() - 1)];
  }
  float* probs = answers.probs + text * labels_;
  std::fill(probs, probs + labels_, 0.0f);
  for (std::size_t h = 0; h < structure_.label_heads; ++h) {
    for (std::size_t y = 0; y < labels_; ++y) {
      const std::size_t row = h * labels_ + y;
      scratch.vector[y] = kernels_.dot_half(x, key_halves_.data() + row * feature_width_, feature_width_) + label_bias_[row];
    }
    kernels_.softmax(scratch.vector, labels_);
    for (std::size_t y = 0; y < labels_; ++y) probs[y] += scratch.vector[y];
  }
  if (structure_.label_heads > 1)
    for (std::size_t y = 0; y < labels_; ++y) probs[y] /= static_cast<float>(structure_.label_heads);
}

}  // namespace crosstune::kernels
