// Compares the fast kernels with plain arithmetic in double precision, and every kind of kernels with the plain ones bit by bit;
// then whole encoders of random sizes, with texts that leave early: alone, in a batch, padded, on several threads, from several
// threads. Run it with sanitizers.
//
//   crosstune-check-kernels SECONDS SEED
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/encoder.hpp"
#include "kernels/kernels.hpp"

namespace {

using namespace crosstune::kernels;

long failures = 0, comparisons = 0, texts_left = 0, texts_stayed = 0;

void expect(bool holds, const std::string& what) {
  ++comparisons;
  if (holds) return;
  if (++failures <= 20) std::fprintf(stderr, "%s\n", what.c_str());
}

std::mt19937_64 generator;
std::size_t below(std::size_t n) { return static_cast<std::size_t>(generator() % n); }
float normal(float scale = 1.0f) { return std::normal_distribution<float>(0.0f, scale)(generator); }
std::vector<float> normals(std::size_t n, float scale = 1.0f) {
  std::vector<float> values(n);
  for (float& v : values) v = normal(scale);
  return values;
}
std::vector<std::int8_t> weights(std::size_t n) {
  std::vector<std::int8_t> values(n);
  for (auto& v : values) v = static_cast<std::int8_t>(static_cast<int>(below(255)) - 127);
  return values;
}

// A float as the nearest half float; normal numbers only.
std::uint16_t half(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const auto sign = static_cast<std::uint32_t>(bits >> 16 & 0x8000u);
  const std::int32_t exponent = static_cast<std::int32_t>(bits >> 23 & 255u) - 112;
  if (exponent <= 0) return static_cast<std::uint16_t>(sign);
  return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(exponent) << 10 | (bits >> 13 & 0x3ffu));
}
double of_half(std::uint16_t h) {
  const double sign = h & 0x8000u ? -1.0 : 1.0;
  const int exponent = h >> 10 & 31, fraction = h & 0x3ff;
  return exponent == 0 ? sign * std::ldexp(fraction, -24) : sign * std::ldexp(1024 + fraction, exponent - 25);
}
std::vector<std::uint16_t> halves(std::size_t n, float scale) {
  std::vector<std::uint16_t> values(n);
  for (auto& v : values) v = half(normal(scale));
  return values;
}

bool close(double found, double expected, double tolerance) { return std::abs(found - expected) <= tolerance * (1.0 + std::abs(expected)); }

std::vector<const Kernels*> kinds() {
  std::vector<const Kernels*> all;
  for (const char* name : {"plain", "avx512", "avx512-256", "avxvnni"})
    if (const Kernels* kernels = kernels_named(name)) all.push_back(kernels);
  return all;
}

// --- Single kernels --------------------------------------------------------------------------------------------------------

void check_products(const Kernels& kernels, std::vector<std::vector<float>>* results) {
  const std::size_t rows = 1 + below(40), k = 1 + below(90), n = 16 * (1 + below(8)), stride = padded(k, 64);
  std::vector<std::uint8_t> a(rows * stride);
  for (auto& v : a) v = static_cast<std::uint8_t>(below(256));
  const auto b = weights(k * n);
  const auto scale = normals(n, 0.01f), bias = normals(n);
  std::vector<std::int32_t> start(n);
  for (auto& s : start) s = static_cast<std::int32_t>(below(2000)) - 1000;
  const std::size_t fours = padded(k, 4) / 4;
  std::vector<std::int8_t> packed;
  for (std::size_t first = 0; first < n; first += kernels.panel_width)
    for (std::size_t i = 0; i < fours; ++i)
      for (std::size_t j = first; j < std::min(n, first + kernels.panel_width); ++j)
        for (std::size_t l = 4 * i; l < 4 * i + 4; ++l) packed.push_back(l < k ? b[l * n + j] : std::int8_t{0});
  const PackedWeights w{packed.data(), start.data(), scale.data(), bias.data(), fours, n};
  const std::size_t panels = (n + kernels.panel_width - 1) / kernels.panel_width;
  const ByteRows in{a.data(), rows, stride};
  const auto before = normals(rows * n);
  std::vector<float> floats(rows * n), sums = before;
  std::vector<std::uint8_t> erf(rows * n), tanh(rows * n);
  kernels.product_floats(in, w, 0, panels, {floats.data(), n});
  kernels.product_sum(in, w, 0, panels / 2, {sums.data(), n});
  kernels.product_sum(in, w, panels / 2, panels, {sums.data(), n});
  const GeluBytes erf_bytes(kErfGelu, 20.0f, 7.0f), tanh_bytes(kTanhGelu, 20.0f, 7.0f);
  kernels.product_gelu(in, w, 0, panels, {erf.data(), n, erf_bytes});
  kernels.product_gelu(in, w, 0, panels, {tanh.data(), n, tanh_bytes});
  bool right = true;
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      long sum = start[j];
      for (std::size_t l = 0; l < k; ++l) sum += static_cast<long>(a[i * stride + l]) * b[l * n + j];
      const double y = static_cast<double>(sum) * scale[j] + bias[j];
      const double z = y / kGeluScale, by_erf = z * 0.5 * std::erfc(-z / std::sqrt(2.0)),
                   by_tanh = z / (1.0 + std::exp(-2 * std::sqrt(2 / std::acos(-1.0)) * (z + 0.044715 * z * z * z)));
      const auto byte = [](double x) { return std::clamp(x * 20 + 7, 0.0, 255.0); };
      right = right && close(floats[i * n + j], y, 1e-6) && close(sums[i * n + j], before[i * n + j] + y, 1e-6) &&
              std::abs(erf[i * n + j] - byte(by_erf)) < 0.51 && std::abs(tanh[i * n + j] - byte(by_tanh)) < 0.51;
    }
  expect(right, std::string(kernels.name) + ": a product differs from the sum in integers");
  results->push_back(floats), results->push_back(sums);
  results->emplace_back(erf.begin(), erf.end()), results->emplace_back(tanh.begin(), tanh.end());
}

void check_attention(const Kernels& kernels, std::vector<std::vector<float>>* results) {
  const std::size_t tokens = 1 + below(70), width = 16 * (1 + below(5)), stride = 3 * width, rows = padded(tokens);
  auto states = normals(rows * stride, 0.7f);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t d = 0; d < width; ++d) states[i * stride + 2 * width + d] *= 40;
  Storage scratch(attention_bytes(tokens, width));
  std::vector<std::uint8_t> out(tokens * width);
  const float zero = 100.0f;
  const auto biases = normals(2 * tokens + 16, 2.0f);
  const float* bias = below(2) != 0 ? biases.data() + tokens - 1 : nullptr;
  kernels.attention({states.data(), states.data() + width, states.data() + 2 * width, stride, tokens, width, zero, out.data(), width,
                     scratch.take<char>(attention_bytes(tokens, width)), bias});
  double mean = 0, worst = 0;
  for (std::size_t i = 0; i < tokens; ++i) {
    std::vector<double> shares(tokens);
    double total = 0, most = -1e300;
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t d = 0; d < width; ++d) shares[t] += static_cast<double>(states[i * stride + d]) * states[t * stride + width + d];
      if (bias != nullptr) shares[t] += bias[static_cast<std::ptrdiff_t>(t) - static_cast<std::ptrdiff_t>(i)];
      most = std::max(most, shares[t]);
    }
    for (double& s : shares) total += s = std::exp2(s - most);
    for (std::size_t d = 0; d < width; ++d) {
      double y = 0;
      for (std::size_t t = 0; t < tokens; ++t) y += shares[t] / total * states[t * stride + 2 * width + d];
      const double error = std::abs(out[i * width + d] - std::clamp(y + zero, 0.0, 255.0));
      mean += error / static_cast<double>(tokens * width), worst = std::max(worst, error);
    }
  }
  expect(mean < 0.3 && worst < 1.2, std::string(kernels.name) + ": attention differs by " + std::to_string(mean) + ", at most " + std::to_string(worst));
  results->emplace_back(out.begin(), out.end());
}

void check_rows(const Kernels& kernels, std::vector<std::vector<float>>* results) {
  const std::size_t tokens = 1 + below(20), size = 1 + below(200), width = padded(size);
  std::vector<float> in(tokens * width, 0.0f), gamma(width, 0.0f), beta(width, 0.0f), gain(width, 0.0f), shift(width, 0.0f);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t j = 0; j < size; ++j) in[t * width + j] = normal() + 0.3f;
  for (std::size_t j = 0; j < size; ++j) gamma[j] = normal(), beta[j] = normal(), gain[j] = normal(30), shift[j] = 128;
  std::vector<float> out = in;
  std::vector<std::uint8_t> bytes(tokens * width);
  kernels.norm(out.data(), tokens, width, {gamma.data(), beta.data(), gain.data(), shift.data(), size, width, 1e-5f}, bytes.data(), width);
  bool right = true;
  for (std::size_t t = 0; t < tokens; ++t) {
    double mean = 0, squares = 0;
    for (std::size_t j = 0; j < size; ++j) mean += in[t * width + j] / static_cast<double>(size);
    for (std::size_t j = 0; j < size; ++j) squares += std::pow(in[t * width + j] - mean, 2) / static_cast<double>(size);
    for (std::size_t j = 0; j < width; ++j) {
      const double y = j < size ? (in[t * width + j] - mean) / std::sqrt(squares + 1e-5) : 0;
      right = right && close(out[t * width + j], y * gamma[j] + beta[j], 2e-5) &&
              (j >= size || std::abs(bytes[t * width + j] - std::clamp(y * gain[j] + shift[j], 0.0, 255.0)) < 0.51);
    }
  }
  expect(right, std::string(kernels.name) + ": normalization differs");

  const States states{in.data(), tokens, width, size, width};
  std::vector<float> mean(width), most(width);
  kernels.mean(states, mean.data()), kernels.maximum(states, most.data());
  const std::size_t queries = 1 + below(50), query_width = padded(queries);
  std::vector<std::uint16_t> q(size * query_width, 0);
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = 0; j < queries; ++j) q[i * query_width + j] = half(normal(0.1f));
  std::vector<float> lengths(tokens), attended(query_width);
  kernels.attend(states, q.data(), query_width, 16.0f, lengths.data(), attended.data());
  right = true;
  for (std::size_t j = 0; j < size; ++j) {
    double sum = 0, largest = -1e300;
    for (std::size_t t = 0; t < tokens; ++t) sum += in[t * width + j], largest = std::max(largest, static_cast<double>(in[t * width + j]));
    right = right && close(mean[j], sum / static_cast<double>(tokens), 1e-6) && most[j] == static_cast<float>(largest);
  }
  for (std::size_t j = 0; j < queries; ++j) {
    double above = 0, beneath = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
      double product = 0, square = 0;
      for (std::size_t i = 0; i < size; ++i) {
        product += in[t * width + i] * of_half(q[i * query_width + j]);
        square += static_cast<double>(in[t * width + i]) * in[t * width + i];
      }
      const double cosine = product / std::sqrt(square), weight = std::exp(16 * cosine);
      above += weight * cosine, beneath += weight;
    }
    right = right && close(attended[j], above / beneath, 2e-5);
  }
  expect(right, std::string(kernels.name) + ": features differ");

  const auto x = normals(width);
  const auto keys = halves(width * query_width, 0.3f);
  std::vector<float> by_rows(query_width), soft(padded(queries) + 16);
  kernels.by_rows(x.data(), width, keys.data(), query_width, by_rows.data());
  const float by_dot = kernels.dot_half(x.data(), keys.data(), width);
  double dot = 0, total = 0;
  for (std::size_t i = 0; i < width; ++i) dot += x[i] * of_half(keys[i]);
  right = close(by_dot, dot, 1e-5);
  for (std::size_t j = 0; j < queries; ++j) {
    double sum = 0;
    for (std::size_t i = 0; i < width; ++i) sum += x[i] * of_half(keys[i * query_width + j]);
    right = right && close(by_rows[j], sum, 1e-5);
    soft[j] = by_rows[j], total += std::exp(static_cast<double>(by_rows[j]));
  }
  kernels.softmax(soft.data(), queries);
  for (std::size_t j = 0; j < queries; ++j) right = right && close(soft[j], std::exp(static_cast<double>(by_rows[j])) / total, 2e-6);
  expect(right, std::string(kernels.name) + ": a product with half floats or a softmax differs");
  soft.resize(queries), attended.resize(queries), by_rows.resize(queries);
  for (auto* result : {&out, &mean, &most, &attended, &by_rows, &soft}) results->push_back(*result);
  results->emplace_back(bytes.begin(), bytes.end());
}

// --- Whole encoders ----------------------------------------------------------------------------------------------------------

struct RandomEncoder {
  Tensors tensors;
  Structure structure;
  bool types;
  std::size_t vocabulary, positions;

  RandomEncoder(std::size_t heads, std::size_t head_size) {
    structure.heads = heads;
    const std::size_t size = heads * head_size, layers = 1 + below(3), labels = 1 + below(20), queries = 1 + below(30);
    types = below(2) != 0, vocabulary = 20 + below(100), positions = 4 + below(120);
    structure.tanh_gelu = below(2) != 0, structure.first_place = below(2), structure.label_heads = 1 + below(2);
    for (auto* list : {&structure.mean, &structure.maximum, &structure.first, &structure.attend})
      for (std::size_t l = 0; l <= layers; ++l)
        if (below(2) != 0) list->push_back(l);
    if (structure.mean.empty()) structure.mean.push_back(layers);
    if (below(2) != 0) structure.padding = {below(vocabulary), below(3)};
    const auto d = static_cast<std::int64_t>(size);
    table("word", vocabulary, size), table("place", positions + (structure.padding.empty() ? 0 : structure.padding[1] + 1), size);
    if (types || below(2) != 0) table("type", 2, size);
    if (below(2) != 0) add("distance.bias", normals(heads * (2 * positions - 1)), {static_cast<std::int64_t>(heads), static_cast<std::int64_t>(2 * positions - 1)});
    norm("norm", size);
    for (std::size_t l = 0; l < layers; ++l) {
      const std::string name = "layer." + std::to_string(l);
      const std::size_t inner = 1 + below(150);
      product(name + ".attend_in", size, 3 * size), product(name + ".attend_out", size, size);
      product(name + ".up", size, inner), product(name + ".down", inner, size, false);
      norm(name + ".attend_norm", size), norm(name + ".norm", size);
    }
    const std::size_t atoms = structure.mean.size() + structure.maximum.size() + structure.first.size();
    for (std::size_t k = 0; k < structure.attend.size(); ++k) add_halves("label_queries_" + std::to_string(k), {d, static_cast<std::int64_t>(queries)});
    const auto features = static_cast<std::int64_t>(atoms * size + structure.attend.size() * queries);
    const auto rows = static_cast<std::int64_t>(structure.label_heads * labels);
    add_halves("label_keys", {rows, features});
    add("label_bias", normals(static_cast<std::size_t>(rows)), {rows});
    const bool similarity = below(2) != 0;
    if (similarity) add_halves("scope_keys", {static_cast<std::int64_t>(atoms * size), static_cast<std::int64_t>(labels)});
    for (std::size_t l = 0; l < layers; ++l) {
      if (below(2) == 0) continue;
      const std::string name = "exit." + std::to_string(structure.exits.size());
      const auto y = static_cast<std::int64_t>(labels);
      structure.exits.push_back(l);
      add(name + ".keys", normals(labels * size, 4), {y, d}), add(name + ".bias", normals(labels), {y});
      add(name + ".threshold", {below(4) == 0 ? 2.0f : static_cast<float>(below(1000)) / 1000.0f}, {});
      if (!similarity) continue;
      add(name + ".scope_key", normals(size), {1, d}), add(name + ".scope_bias", normals(1), {1});
    }
  }

  // Nobody leaves early.
  void close_exits() {
    for (std::size_t i = 0; i < structure.exits.size(); ++i) add("exit." + std::to_string(i) + ".threshold", {2.0f}, {});
  }

 private:
  std::deque<std::vector<float>> floats_;
  std::deque<std::vector<std::int8_t>> bytes_;
  std::deque<std::vector<std::uint16_t>> halves_;

  void add(const std::string& name, std::vector<float> values, std::vector<std::int64_t> shape) {
    floats_.push_back(std::move(values));
    tensors.add(name, {floats_.back().data(), Type::kFloat, std::move(shape)});
  }
  void add_bytes(const std::string& name, std::vector<std::int8_t> values, std::vector<std::int64_t> shape, Type type = Type::kInt8) {
    bytes_.push_back(std::move(values));
    tensors.add(name, {bytes_.back().data(), type, std::move(shape)});
  }
  void add_halves(const std::string& name, std::vector<std::int64_t> shape) {
    halves_.push_back(halves(static_cast<std::size_t>(shape[0] * shape[1]), 0.2f));
    tensors.add(name, {halves_.back().data(), Type::kHalf, std::move(shape)});
  }
  void table(const std::string& name, std::size_t rows, std::size_t size) {
    const auto n = static_cast<std::int64_t>(rows), d = static_cast<std::int64_t>(size);
    add_bytes(name + ".rows", weights(rows * size), {n, d});
    add(name + ".scale", std::vector<float>(rows, 0.01f), {n, 1}), add(name + ".columns", normals(size), {d});
  }
  void norm(const std::string& name, std::size_t size) {
    add(name + ".gamma", normals(size), {static_cast<std::int64_t>(size)}), add(name + ".beta", normals(size), {static_cast<std::int64_t>(size)});
  }
  void product(const std::string& name, std::size_t k, std::size_t n, bool smooth = true) {
    const auto inputs = static_cast<std::int64_t>(k), outputs = static_cast<std::int64_t>(n);
    add_bytes(name + ".weights", weights(k * n), {inputs, outputs});
    add_bytes(name + ".weight_zero", std::vector<std::int8_t>(n, 0), {outputs});
    add_bytes(name + ".zero", {static_cast<std::int8_t>(below(127))}, {}, Type::kUint8);
    add(name + ".step", {0.02f}, {});
    add(name + ".scale", std::vector<float>(n, 0.5f / std::sqrt(static_cast<float>(k)) / 60), {outputs}), add(name + ".bias", normals(n, 0.1f), {outputs});
    if (smooth && below(2) != 0) add(name + ".smooth", std::vector<float>(k, 0.5f), {inputs});
  }
};

struct Texts {
  std::vector<std::int64_t> ids, mask, types;
  std::size_t batch, tokens;

  Batch view() const { return {ids.data(), mask.data(), types.data(), batch, tokens}; }
  Texts one(std::size_t i, std::size_t to) const {  // alone, padded to a length
    Texts t{std::vector<std::int64_t>(to, 0), std::vector<std::int64_t>(to, 0), std::vector<std::int64_t>(to, 0), 1, to};
    for (std::size_t j = 0; j < std::min(to, tokens); ++j) {
      t.ids[j] = ids[i * tokens + j], t.mask[j] = mask[i * tokens + j], t.types[j] = types[i * tokens + j];
    }
    return t;
  }
};

Texts random_texts(const RandomEncoder& encoder, std::size_t batch) {
  Texts t{{}, {}, {}, batch, 2 + below(encoder.positions - 1)};
  for (std::size_t i = 0; i < batch; ++i) {
    const std::size_t length = std::max(encoder.structure.first_place + 1, 1 + below(t.tokens));
    for (std::size_t j = 0; j < t.tokens; ++j) {
      t.ids.push_back(static_cast<std::int64_t>(below(encoder.vocabulary))), t.types.push_back(static_cast<std::int64_t>(below(2)));
      t.mask.push_back(j < length);
    }
  }
  return t;
}

std::vector<float> answers_of(const Encoder& encoder, const Texts& texts, const Workers& workers) {
  const std::size_t n = texts.batch, labels = encoder.labels(), features = encoder.features();
  std::vector<float> all(n * (labels + features + 1), 0.0f);
  encoder.run(texts.view(), {all.data(), all.data() + n * labels, all.data() + n * (labels + features)}, workers);
  std::vector<float> by_text;  // sorted by text, so that answers can be compared
  for (std::size_t i = 0; i < n; ++i) {
    by_text.insert(by_text.end(), all.begin() + static_cast<long>(i * labels), all.begin() + static_cast<long>((i + 1) * labels));
    const auto start = static_cast<long>(n * labels + i * features);
    by_text.insert(by_text.end(), all.begin() + start, all.begin() + start + static_cast<long>(features));
    by_text.push_back(all[n * (labels + features) + i]);
  }
  return by_text;
}

bool same(const float* a, const float* b, std::size_t n) { return std::memcmp(a, b, n * sizeof(float)) == 0; }

Workers on_threads(std::size_t count) {
  Workers workers;
  workers.threads = count;
  workers.run = [](const Workers& self, std::size_t tasks, void (*task)(void*, std::size_t), void* data) {
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < self.threads; ++i)
      threads.emplace_back([&] { for (std::size_t at; (at = next++) < tasks;) task(data, at); });
    for (auto& thread : threads) thread.join();
  };
  return workers;
}

void check_encoder(std::size_t heads, std::size_t head_size) {
  RandomEncoder random(heads, head_size);
  const Texts texts = random_texts(random, 1 + below(9));
  const Workers alone;
  std::vector<float> expected;
  for (const Kernels* kernels : kinds()) {
    const std::string name = kernels->name;
    const Encoder encoder(*kernels, random.tensors, random.structure, random.types);
    const std::vector<float> batched = answers_of(encoder, texts, alone);
    const std::size_t one = batched.size() / texts.batch;
    expect(std::all_of(batched.begin(), batched.end(), [](float x) { return std::isfinite(x); }), name + ": an answer is not finite");
    if (expected.empty()) expected = batched;
    expect(same(batched.data(), expected.data(), batched.size()), name + ": other bits than the plain kernels");
    expect(same(answers_of(encoder, texts, on_threads(3)).data(), batched.data(), batched.size()), name + ": other bits on threads");
    for (std::size_t i = 0; i < texts.batch; ++i) {
      const Texts single = texts.one(i, texts.tokens + below(9));
      expect(same(answers_of(encoder, single, alone).data(), batched.data() + i * one, one), name + ": other bits alone");
      expect(same(answers_of(encoder, single, on_threads(2)).data(), batched.data() + i * one, one), name + ": other bits alone on threads");
    }
    RandomEncoder closed = random;
    closed.close_exits();
    const std::vector<float> whole = answers_of(Encoder(*kernels, closed.tensors, closed.structure, closed.types), texts, alone);
    for (std::size_t i = 0; i < texts.batch; ++i) {
      const float *found = batched.data() + i * one, *vector = found + encoder.labels();
      const bool left = std::all_of(vector, vector + encoder.features(), [](float x) { return x == 0.0f; });
      const float sum = std::accumulate(found, found + encoder.labels(), 0.0f);
      expect(left ? close(sum, 1, 1e-5) : same(found, whole.data() + i * one, one), name + ": a text that stays has another answer");
      ++(left ? texts_left : texts_stayed);
    }
    std::atomic<long> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] { wrong += !same(answers_of(encoder, texts, alone).data(), batched.data(), batched.size()); });
    for (auto& thread : threads) thread.join();
    expect(wrong == 0, name + ": other bits from several threads");

    const auto refused = [&](void (*spoil)(Texts&, const RandomEncoder&)) {
      Texts bad = texts;
      spoil(bad, random);
      try {
        answers_of(encoder, bad, alone);
        return false;
      } catch (const std::invalid_argument&) {
        return true;
      }
    };
    expect(refused([](Texts& t, const RandomEncoder& e) { t.ids[0] = static_cast<std::int64_t>(e.vocabulary); }), name + ": an id too large was taken");
    expect(refused([](Texts& t, const RandomEncoder&) { t.ids[0] = -1; }), name + ": a negative id was taken");
    expect(refused([](Texts& t, const RandomEncoder&) { t.mask[0] = 0; }), name + ": an empty text was taken");
    if (random.types) expect(refused([](Texts& t, const RandomEncoder&) { t.types[0] = 2; }), name + ": a token type too large was taken");
    const Texts long_text = [&] {
      Texts t = texts.one(0, random.positions + 1);
      std::fill(t.mask.begin(), t.mask.end(), 1);
      return t;
    }();
    try {
      answers_of(encoder, long_text, alone);
      expect(false, name + ": a text too long was taken");
    } catch (const std::invalid_argument&) {
    }
  }
}

// Runs a check with the same random numbers for every kind, and compares the results.
void for_every_kind(void (*check)(const Kernels&, std::vector<std::vector<float>>*)) {
  const std::mt19937_64 start = generator;
  std::vector<std::vector<float>> expected;
  for (const Kernels* kernels : kinds()) {
    generator = start;
    std::vector<std::vector<float>> results;
    check(*kernels, &results);
    if (expected.empty()) expected = results;
    bool equal = results.size() == expected.size();
    for (std::size_t i = 0; equal && i < results.size(); ++i)
      equal = results[i].size() == expected[i].size() && same(results[i].data(), expected[i].data(), results[i].size());
    expect(equal, std::string(kernels->name) + ": other bits than the plain kernels");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  generator.seed(static_cast<unsigned long>(std::atol(argv[2])));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atol(argv[1]));
  check_encoder(3, 21);  // with the padding of the last head, a row of bytes is longer than a padded state
  do {
    for_every_kind(check_products), for_every_kind(check_attention), for_every_kind(check_rows);
    check_encoder(1 + below(4), 1 + below(40));
  } while (std::chrono::steady_clock::now() < end);
  expect(texts_left > 10 && texts_stayed > 10, "all texts left early, or none");
  std::string names;
  for (const Kernels* kernels : kinds()) names += std::string(" ") + kernels->name;
  std::printf("kernels%s: %ld comparisons, %ld wrong\n", names.c_str(), comparisons, failures);
  return failures == 0 ? 0 : 1;
}
