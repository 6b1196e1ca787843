// The kernels of one kind of processor, as a table of functions. All kinds give the same bits; see lanes_plain.hpp.
//
// Rows are padded: `width` below is a multiple of 16, entries beyond the true size are zero, and buffers of bytes are padded to
// multiples of 64. So no kernel has a tail, except where a mean is taken. Half floats are IEEE 754 binary16.
#pragma once

#include <cstddef>
#include <cstdint>

namespace crosstune::kernels {

// int8 weights (K, N) of a product, packed. Panels of `panel_width` columns (the last one is narrower, a multiple of 16), and in
// each panel the four weights of a column for inputs 4i to 4i + 3 side by side, for all i.
struct PackedWeights {
  const std::int8_t* weights;      // 64-byte aligned
  const std::int32_t* start;       // (N padded): minus the zero point of the input times the column's sum
  const float* scale;              // (N padded)
  const float* bias;               // (N padded)
  std::size_t fours;               // K / 4, rounded up
  std::size_t columns;             // N padded to a multiple of 16
};

// Unsigned bytes (rows, stride), each row padded to K / 4 * 4.
struct ByteRows {
  const std::uint8_t* at;
  std::size_t rows, stride;
};

// gelu(x) - x / 2 is even; polynomials of degree 3 in the fraction of |x| * kGeluScale, for sixteen intervals, least squares at
// Chebyshev nodes; the last one has no end, and is |x| / 2. The largest error is 5e-6. By power of the fraction, then by interval.
// From erf, and from the tanh formula.
inline constexpr float kGeluScale = 3.2f;
inline constexpr std::size_t kGeluPowers = 4;
inline constexpr float kErfGelu[kGeluPowers][16] = {
    {4.70891564e-06f, 0.038337186f, 0.146259278f, 0.305388033f, 0.492935061f, 0.688927233f, 0.880505502f, 1.06235242f,
     1.23447597f, 1.39933741f, 1.55972207f, 1.71774101f, 1.87466848f, 2.03115153f, 2.18747354f, 2.34375f},
    {-0.000151463246f, 0.0753419027f, 0.137213722f, 0.177170962f, 0.194668412f, 0.195328966f, 0.187097818f, 0.176701963f,
     0.167999297f, 0.162189528f, 0.158915296f, 0.15731743f, 0.156632885f, 0.156373322f, 0.156285733f, 0.15625f},
    {0.0397223756f, 0.035783872f, 0.0258564111f, 0.0137863336f, 0.00347001734f, -0.00291179912f, -0.0053094998f, -0.00502863806f,
     -0.00361926039f, -0.00215834496f, -0.00110382377f, -0.000492624415f, -0.000193805186f, -6.76475101e-05f, -2.10419057e-05f, 0.0f},
    {-0.00123672967f, -0.00320126629f, -0.00393948145f, -0.00340962107f, -0.00214672741f, -0.000839760003f, 5.77240608e-05f, 0.000449816202f,
     0.000481306168f, 0.000353454321f, 0.000207627119f, 0.000102724254f, 4.38546849e-05f, 1.63753812e-05f, 5.39341863e-06f, 0.0f},
};
inline constexpr float kTanhGelu[kGeluPowers][16] = {
    {4.72794227e-06f, 0.0383342393f, 0.14622134f, 0.30525744f, 0.492711544f, 0.688728392f, 0.880497754f, 1.0626086f,
     1.23491585f, 1.3998009f, 1.56008434f, 1.71796477f, 1.87478089f, 2.03119802f, 2.18748975f, 2.34375f},
    {-0.0001520894f, 0.0753310546f, 0.137150258f, 0.177060395f, 0.194614157f, 0.195439249f, 0.187350959f, 0.176950172f,
     0.168106824f, 0.162137643f, 0.158780411f, 0.157185167f, 0.156544447f, 0.156328142f, 0.156267285f, 0.15625f},
    {0.0397256352f, 0.0357660316f, 0.0258171968f, 0.0137813445f, 0.00353918271f, -0.00281353295f, -0.00527001871f, -0.00507927453f,
     -0.00371052464f, -0.00222370634f, -0.00111875671f, -0.000474365253f, -0.000168796483f, -5.00036767e-05f, -1.22113461e-05f, 0.0f},
    {-0.00124229817f, -0.00320754596f, -0.00392951583f, -0.00338701718f, -0.00213692384f, -0.000857208506f, 2.91973574e-05f, 0.000435834459f,
     0.000488643942f, 0.000369545451f, 0.000218799119f, 0.000105360814f, 4.16374314e-05f, 1.34819547e-05f, 3.55476186e-06f, 0.0f},
};

// What turns kGeluScale * x into gelu(x) * gain + zero: `half` times it, and the polynomials times the same gain.
struct GeluBytes {
  GeluBytes(const float (&powers)[kGeluPowers][16], float gain, float zero) : half(gain / (2.0f * kGeluScale)) {
    for (std::size_t power = 0; power < kGeluPowers; ++power)
      for (std::size_t i = 0; i < 16; ++i) table[power][i] = powers[power][i] * gain + (power == 0 ? zero : 0.0f);
  }
  alignas(64) float table[kGeluPowers][16];
  float half;
};

// What a product does with its sums, for each row i and column j, where y = (start_j + sum_ij) * scale_j + bias_j.
struct ToFloats {  // out_ij = y
  float* out;
  std::size_t stride;
};
struct ToSum {  // out_ij += y
  float* out;
  std::size_t stride;
};
struct ToGelu {  // out_ij = round(gelu(y / kGeluScale) * gain + zero), as a byte; gain and zero are in `gelu`
  std::uint8_t* out;
  std::size_t stride;
  const GeluBytes& gelu;
};

// Layer normalization of rows, and its bytes for the next product.
struct Norm {
  const float *gamma, *beta;    // (width)
  const float *gain, *shift;    // (width): byte_j = round(normalized_j * gain_j + shift_j); null: no bytes
  std::size_t size, width;      // D, and D padded
  float epsilon;
};

// One head of one text. Queries are scaled so that softmax takes powers of two; values so that sums plus `zero` round to bytes.
// Both products are in whole numbers of 16 bits: queries and keys have one scale each, values one for each channel. At most 512 tokens.
struct Attention {
  const float *queries, *keys, *values;  // (tokens, stride) each
  std::size_t stride, tokens, width;     // width: the head's size, padded
  float zero;
  std::uint8_t* out;                     // (tokens, out_stride); `width` bytes are written to each row
  std::size_t out_stride;
  void* scratch;                         // attention_bytes(tokens, width), 64-byte aligned
  const float* bias = nullptr;           // bias[t - i] is added to the score of token t for query i; readable 16 beyond the last token
};

// The states (tokens, stride) of one text at one layer, for the head.
struct States {
  const float* at;
  std::size_t tokens, stride, size, width;  // width: size D, padded
};

// Room for what attention keeps of one head of one text.
constexpr std::size_t attention_bytes(std::size_t tokens, std::size_t width) {
  const std::size_t t = (tokens + 15) / 16 * 16;
  return 4 * t * width + 4 * (2 * t + 2 * width) + 8 * (6 * t + 2 * width) + 64 * 9;
}

struct Kernels {
  const char* name;
  std::size_t panel_width;

  // out = word row * scale * columns + place row; place is (positions, width).
  void (*embed)(const std::int8_t* row, float scale, const float* columns, const float* place, std::size_t width, float* out);
  void (*norm)(float* at, std::size_t rows, std::size_t stride, const Norm&, std::uint8_t* bytes, std::size_t byte_stride);  // in place
  // Columns of panels [first, last).
  void (*product_floats)(const ByteRows&, const PackedWeights&, std::size_t first, std::size_t last, const ToFloats&);
  void (*product_sum)(const ByteRows&, const PackedWeights&, std::size_t first, std::size_t last, const ToSum&);
  void (*product_gelu)(const ByteRows&, const PackedWeights&, std::size_t first, std::size_t last, const ToGelu&);
  void (*attention)(const Attention&);

  // Mean and maximum over tokens; `out` has `width` entries.
  void (*mean)(const States&, float* out);
  void (*maximum)(const States&, float* out);
  // out_q = sum_t softmax_t(sharpness * cos(state_t, query_q)) * cos(state_t, query_q), for padded queries of half floats (size, queries).
  // `lengths` is scratch of `tokens` entries.
  void (*attend)(const States&, const std::uint16_t* queries, std::size_t count, float sharpness, float* lengths, float* out);
  float (*dot)(const float* a, const float* b, std::size_t width);
  // out_j = sum_i x_i * keys_ij for half floats (rows, width); `out` has `width` entries.
  void (*by_rows)(const float* x, std::size_t rows, const std::uint16_t* keys, std::size_t width, float* out);
  // The dot product of x and half floats, `width` each.
  float (*dot_half)(const float* x, const std::uint16_t* y, std::size_t width);
  // In place; entries from `count` on may hold anything.
  void (*softmax)(float* x, std::size_t count);
};

const Kernels& plain_kernels();
// Null where this processor, or the compiler that built this library, does not have the instructions.
const Kernels* avx512_kernels();
const Kernels* avxvnni_kernels();
// The fastest kernels for this processor; null if only the plain ones run.
const Kernels* best_kernels();
// By name, for tests: "plain", "avx512", "avxvnni"; null if there are none of that name here.
const Kernels* kernels_named(const char* name);

constexpr std::size_t padded(std::size_t size, std::size_t to = 16) { return (size + to - 1) / to * to; }

}  // namespace crosstune::kernels
