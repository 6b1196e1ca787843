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

// What a product does with its sums, for each row i and column j, where y = (start_j + sum_ij) * scale_j + bias_j.
struct ToFloats {  // out_ij = y
  float* out;
  std::size_t stride;
};
struct ToSum {  // out_ij = skip_ij + y
  float* out;
  const float* skip;
  std::size_t stride;
};
struct ToGelu {  // out_ij = round(gelu(y) * gain + zero), as a byte
  std::uint8_t* out;
  std::size_t stride;
  float gain, zero;
  const float* table;  // kErfGelu or kTanhGelu
};

// Layer normalization of rows, and its bytes for the next product.
struct Norm {
  const float *gamma, *beta;    // (width)
  const float *gain, *shift;    // (width): byte_j = round(normalized_j * gain_j + shift_j); null: no bytes
  std::size_t size, width;      // D, and D padded
  float epsilon;
};

// One head of one text. Queries are scaled so that softmax takes powers of two; values so that sums plus `zero` round to bytes.
// Both products are in integers of 12 bits: queries and keys have a scale for each token, values one for each channel. At most 512 tokens.
struct Attention {
  const float *queries, *keys, *values;  // (tokens, stride) each
  std::size_t stride, tokens, width;     // width: the head's size, padded
  float zero;
  std::uint8_t* out;                     // (tokens, out_stride); `width` bytes are written to each row
  std::size_t out_stride;
  void* scratch;                         // attention_bytes(tokens, width), 64-byte aligned
};

// The states (tokens, stride) of one text at one layer, for the head.
struct States {
  const float* at;
  std::size_t tokens, stride, size, width;  // width: size D, padded
};

// Room for what attention keeps of one head of one text.
constexpr std::size_t attention_bytes(std::size_t tokens, std::size_t width) {
  const std::size_t t = (tokens + 15) / 16 * 16;
  return 4 * t * width + 16 * (t + width) + 8 * (6 * t + 2 * width) + 64 * 12;
}

struct Kernels {
  const char* name;
  std::size_t panel_width;

  // out = word row * scale * columns + place row; place is (positions, width).
  void (*embed)(const std::int8_t* row, float scale, const float* columns, const float* place, std::size_t width, float* out);
  void (*norm)(const float* in, std::size_t rows, std::size_t stride, const Norm&, float* out, std::uint8_t* bytes,
               std::size_t byte_stride);
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

// gelu(x) - max(x, 0) is even; polynomials of degree 4 in the fraction of |x| / 0.625, for eight intervals, least squares at
// Chebyshev nodes; the largest error is 4e-6. By power of the fraction, then by interval. From erf, and from the tanh formula.
inline constexpr float kErfGelu[5][8] = {
    {2.83143186e-06f, -0.166237459f, -0.132062867f, -0.0569946542f, -0.0155244293f, -0.00277804956f, -0.000331488613f, -2.6548958e-05f},
    {-0.312636703f, -0.0382308774f, 0.0766928792f, 0.0616857708f, 0.0235211346f, 0.00533951959f, 0.000767231977f, 7.15661226e-05f},
    {0.156870171f, 0.104606986f, 0.0154094361f, -0.0209677462f, -0.0146746533f, -0.0045230845f, -0.00079834694f, -8.68478164e-05f},
    {-0.00260007218f, -0.0343406573f, -0.0222731978f, -0.000809632766f, 0.00441551208f, 0.00204953738f, 0.000445440295f, 5.55316401e-05f},
    {-0.00788040366f, 0.00213659578f, 0.0052414625f, 0.00156348874f, -0.000515576568f, -0.000419643446f, -0.000109468303f, -1.51464146e-05f},
};
inline constexpr float kTanhGelu[5][8] = {
    {2.88710316e-06f, -0.166275397f, -0.132286444f, -0.057002373f, -0.0150845833f, -0.00241571828f, -0.000219165609f, -1.03127823e-05f},
    {-0.312639415f, -0.0383579358f, 0.0765877515f, 0.062188521f, 0.0237364899f, 0.00507071707f, 0.00059016858f, 3.45791705e-05f},
    {0.156890884f, 0.104457997f, 0.0156516787f, -0.0207819529f, -0.0150365541f, -0.00459304079f, -0.000697654323f, -5.04503951e-05f},
    {-0.00265299692f, -0.0343015194f, -0.0220844597f, -0.00110946258f, 0.00444958219f, 0.00217263703f, 0.000428337516f, 3.70014604e-05f},
    {-0.00788349658f, 0.0021879354f, 0.00513138901f, 0.0016223361f, -0.000480566727f, -0.000454008376f, -0.000112089088f, -1.10573474e-05f},
};

constexpr std::size_t padded(std::size_t size, std::size_t to = 16) { return (size + to - 1) / to * to; }

}  // namespace crosstune::kernels
