// The kernels, written once over lanes; one translation unit for each kind of processor instantiates them.
//
// Everything here must be a template over the lanes, or it could be merged with a copy that was compiled for another processor;
// for the same reason nothing of the standard library is called that is not a plain type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/each.hpp"
#include "kernels/kernels.hpp"

#define CROSSTUNE_INLINE __attribute__((always_inline)) inline
#define CROSSTUNE_INLINED __attribute__((always_inline))

namespace crosstune::kernels {

template <typename L>
struct KernelsOf {
  using Floats = typename L::Floats;
  using Ints = typename L::Ints;
  using Bytes = typename L::Bytes;
  static constexpr std::size_t kRows = L::kProductRows, kColumns = L::kProductColumns, kPanel = 16 * kColumns;
  static constexpr std::size_t kFloatRows = L::kFloatRows, kFloatColumns = L::kFloatColumns;

  // 2^x for x >= -126: a polynomial for the fraction in [-0.5, 0.5] (exp2f of Cephes, S. Moshier), relative error 2e-7.
  static CROSSTUNE_INLINE Floats exp2(Floats x) {
    x = L::max(x, L::set(-126.0f));
    const Ints whole = L::round(x);
    const Floats f = L::sub(x, L::to_floats(whole));
    Floats p = L::set(1.535336188319500e-4f);
    p = L::fma(p, f, L::set(1.339887440266574e-3f));
    p = L::fma(p, f, L::set(9.618437357674640e-3f));
    p = L::fma(p, f, L::set(5.550332471162809e-2f));
    p = L::fma(p, f, L::set(2.402264791363012e-1f));
    p = L::fma(p, f, L::set(6.931472028550421e-1f));
    return L::scale(L::fma(p, f, L::set(1.0f)), whole);
  }

  static CROSSTUNE_INLINE Floats gelu(Floats x, const float* table) {
    const Floats t = L::min(L::mul(L::abs(x), L::set(1.6f)), L::set(7.9999995f));
    const Ints interval = L::truncate(t);
    const Floats f = L::sub(t, L::to_floats(interval));
    Floats p = L::pick(table + 32, interval);
    p = L::fma(p, f, L::pick(table + 24, interval));
    p = L::fma(p, f, L::pick(table + 16, interval));
    p = L::fma(p, f, L::pick(table + 8, interval));
    p = L::fma(p, f, L::pick(table, interval));
    return L::add(L::max(x, L::set(0.0f)), p);
  }

  // --- Integer products --------------------------------------------------------------------------------------------------

  template <std::size_t C>
  struct Columns {  // scales and biases of the columns of a tile
    Floats scale[C], bias[C];
    CROSSTUNE_INLINE Floats operator()(Ints sum, std::size_t c) const { return L::fma(L::to_floats(sum), scale[c], bias[c]); }
  };

  static CROSSTUNE_INLINE void put(const ToFloats& to, std::size_t row, std::size_t column, Floats y) {
    L::store(to.out + row * to.stride + column, y);
  }
  static CROSSTUNE_INLINE void put(const ToSum& to, std::size_t row, std::size_t column, Floats y) {
    const std::size_t at = row * to.stride + column;
    L::store(to.out + at, L::add(L::load(to.skip + at), y));
  }
  static CROSSTUNE_INLINE void put(const ToGelu& to, std::size_t row, std::size_t column, Floats y) {
    L::store_bytes(to.out + row * to.stride + column, L::fma(gelu(y, to.table), L::set(to.gain), L::set(to.zero)));
  }

  // How the four bytes of a lane are multiplied: unsigned by signed bytes, or pairs of signed 16-bit numbers.
  struct InBytes {
    static CROSSTUNE_INLINE void dot(Ints& sum, const Bytes& a, const Bytes& b) { L::dot(sum, a, b); }
  };
  struct InPairs {
    static CROSSTUNE_INLINE void dot(Ints& sum, const Bytes& a, const Bytes& b) { L::dot_pairs(sum, a, b); }
  };

  // R rows by 16 * C columns. `ahead` are bytes that will be needed soon.
  template <typename Form, std::size_t R, std::size_t C, typename Out>
  static CROSSTUNE_INLINE void tile(const ByteRows& a, std::size_t row, const PackedWeights& w, const std::int8_t* panel,
                                    std::size_t column, const Out& to, const std::int8_t* ahead, std::size_t lines) {
    Ints sums[R * C];
    each<C>([&](auto c) CROSSTUNE_INLINED {
      const Ints start = L::load_ints(w.start + column + 16 * c);
      each<R>([&](auto r) CROSSTUNE_INLINED { sums[r * C + c] = start; });
    });
    const std::uint8_t* rows[R];
    each<R>([&](auto r) CROSSTUNE_INLINED { rows[r] = a.at + (row + r) * a.stride; });
    const auto step = [&](std::size_t k) CROSSTUNE_INLINED {
      Bytes weights[C];
      each<C>([&](auto c) CROSSTUNE_INLINED { weights[c] = L::load_weights(panel + (k * C + c) * 64); });
      each<R>([&](auto r) CROSSTUNE_INLINED {
        const Bytes inputs = L::repeat(rows[r] + 4 * k);
        each<C>([&](auto c) CROSSTUNE_INLINED { Form::dot(sums[r * C + c], inputs, weights[c]); });
      });
    };
    std::size_t k = 0;
    for (const std::size_t some = lines < w.fours ? lines : w.fours; k < some; ++k) {
      L::prefetch(ahead + 64 * k);
      step(k);
    }
    for (; k < w.fours; ++k) step(k);
    Columns<C> y;
    each<C>([&](auto c) CROSSTUNE_INLINED {
      y.scale[c] = L::load(w.scale + column + 16 * c);
      y.bias[c] = L::load(w.bias + column + 16 * c);
    });
    each<C>([&](auto c) CROSSTUNE_INLINED {
      each<R>([&](auto r) CROSSTUNE_INLINED { put(to, row + r, column + 16 * c, y(sums[r * C + c], c)); });
    });
  }

  template <typename Form, std::size_t C, typename Out>
  static void panel(const ByteRows& a, const PackedWeights& w, const std::int8_t* at, std::size_t column, const Out& to,
                    std::size_t lines_ahead) {
    const std::int8_t* ahead = at + w.fours * C * 64;
    const std::size_t tiles = (a.rows + kRows - 1) / kRows, lines = tiles == 0 ? 0 : (lines_ahead + tiles - 1) / tiles;
    std::size_t row = 0;
    for (; row + kRows <= a.rows; row += kRows, ahead += 64 * lines) tile<Form, kRows, C>(a, row, w, at, column, to, ahead, lines);
    each<kRows - 1>([&](auto r) CROSSTUNE_INLINED {
      if (a.rows - row == r + 1) tile<Form, r + 1, C>(a, row, w, at, column, to, ahead, lines);
    });
  }

  template <typename Form = InBytes, typename Out>
  static CROSSTUNE_INLINE void product(const ByteRows& a, const PackedWeights& w, std::size_t first, std::size_t last, const Out& to) {
    for (std::size_t p = first; p < last; ++p) {
      const std::size_t column = p * kPanel, left = w.columns - column;
      const std::int8_t* at = w.weights + column * w.fours * 4;
      const std::size_t lines = kColumns * w.fours;  // of the next panel, or of the next product, which follows in memory
      if (left >= kPanel) panel<Form, kColumns>(a, w, at, column, to, lines);
      else each<kColumns - 1>([&](auto c) CROSSTUNE_INLINED { if (left == 16 * (c + 1)) panel<Form, c + 1>(a, w, at, column, to, lines); });
    }
  }

  static void product_floats(const ByteRows& a, const PackedWeights& w, std::size_t first, std::size_t last, const ToFloats& to) {
    product(a, w, first, last, to);
  }
  static void product_sum(const ByteRows& a, const PackedWeights& w, std::size_t first, std::size_t last, const ToSum& to) {
    product(a, w, first, last, to);
  }
  static void product_gelu(const ByteRows& a, const PackedWeights& w, std::size_t first, std::size_t last, const ToGelu& to) {
    product(a, w, first, last, to);
  }

  // --- Float products -----------------------------------------------------------------------------------------------------

  // sums[r * C + c] = sum_k rows[r][k] * right(k, c), in the order of k.
  template <std::size_t R, std::size_t C, typename Right>
  static CROSSTUNE_INLINE void float_tile(const float* const* rows, std::size_t count, const Right& right, Floats* sums) {
    each<R * C>([&](auto i) CROSSTUNE_INLINED { sums[i] = L::set(0.0f); });
    for (std::size_t k = 0; k < count; ++k) {
      Floats b[C];
      each<C>([&](auto c) CROSSTUNE_INLINED { b[c] = right(k, c); });
      each<R>([&](auto r) CROSSTUNE_INLINED {
        const Floats x = L::set(rows[r][k]);
        each<C>([&](auto c) CROSSTUNE_INLINED { sums[r * C + c] = L::fma(x, b[c], sums[r * C + c]); });
      });
    }
  }

  // Calls f with the number of columns (of 16) of each tile, as a constant, and its first column.
  template <typename F>
  static CROSSTUNE_INLINE void column_tiles(std::size_t width, F&& f) {
    std::size_t column = 0;
    for (; column + 16 * kFloatColumns <= width; column += 16 * kFloatColumns)
      f(std::integral_constant<std::size_t, kFloatColumns>{}, column);
    for (; column < width; column += 16) f(std::integral_constant<std::size_t, 1>{}, column);
  }

  // Pointers to rows [first, first + R); what is beyond the last row is the last row again.
  template <std::size_t R>
  static CROSSTUNE_INLINE void rows_from(const float* at, std::size_t stride, std::size_t first, std::size_t count, const float** rows) {
    each<R>([&](auto r) CROSSTUNE_INLINED { rows[r] = at + (first + r < count ? first + r : count - 1) * stride; });
  }

  // --- Attention -----------------------------------------------------------------------------------------------------------

  // 2^(x - largest x), as it is used below, for 16 of `count` entries from `at`; what is beyond `count` becomes 0.
  template <typename F>
  static CROSSTUNE_INLINE void each_power(float* x, std::size_t count, F&& f) {
    const std::size_t whole = count / 16 * 16;
    const int rest = static_cast<int>(count - whole);
    Floats most = L::set(-3e38f);
    for (std::size_t t = 0; t < whole; t += 16) most = L::max(L::load(x + t), most);
    if (rest != 0) most = L::max(L::first(rest, L::load(x + whole), L::set(-3e38f)), most);
    const Floats top = L::set(L::largest(most));
    for (std::size_t t = 0; t < whole; t += 16) f(t, exp2(L::sub(L::load(x + t), top)));
    if (rest != 0) f(whole, L::first(rest, exp2(L::sub(L::load(x + whole), top)), L::set(0.0f)));
  }

  // Pieces of the scratch memory of attention.
  struct Pieces {
    char* next;
    template <typename T>
    CROSSTUNE_INLINE T* take(std::size_t count) {
      T* piece = reinterpret_cast<T*>(next);
      next += (count * sizeof(T) + 63) / 64 * 64;
      return piece;
    }
  };

  // Scales for numbers of 12 bits: the sum of 512 products of two fits into 32 bits.
  static constexpr float kMost = 2047.0f;
  static CROSSTUNE_INLINE Floats inverse_step(Floats largest) { return L::div(L::set(kMost), L::max(largest, L::set(1e-30f))); }

  // Two vectors of whole numbers as the pairs of 16 words.
  static CROSSTUNE_INLINE void put_pairs(std::int8_t* out, Floats first, Floats second) {
    L::store_words(out, L::pairs(L::round(first), L::round(second)));
  }

  struct ToScores {  // out_ij = y * factor_i
    float* out;
    std::size_t stride;
    const float* factors;
  };
  static CROSSTUNE_INLINE void put(const ToScores& to, std::size_t row, std::size_t column, Floats y) {
    L::store(to.out + row * to.stride + column, L::mul(y, L::set(to.factors[row])));
  }
  struct ToShares {  // out_ij = round(y * factor_i + zero), as a byte
    std::uint8_t* out;
    std::size_t stride;
    const float* factors;
    float zero;
  };
  static CROSSTUNE_INLINE void put(const ToShares& to, std::size_t row, std::size_t column, Floats y) {
    L::store_bytes(to.out + row * to.stride + column, L::fma(y, L::set(to.factors[row]), L::set(to.zero)));
  }

  // Where the word of two inputs `pair` for the columns from `column` on stands in packed weights.
  static CROSSTUNE_INLINE std::int8_t* packed_at(std::int8_t* weights, std::size_t pairs, std::size_t columns, std::size_t column,
                                                 std::size_t pair) {
    const std::size_t first = column / kPanel * kPanel, width = columns - first < kPanel ? columns - first : kPanel;
    return weights + (first * pairs + pair * width + column - first) * 4;
  }

  // Keys of a head as packed weights: a column for each token.
  static CROSSTUNE_INLINE void pack_keys(const Attention& a, std::size_t tokens, std::int8_t* weights, float* scale) {
    for (std::size_t t = 0; t < tokens; t += 16) {
      alignas(64) float turned[16 * 16];
      Floats largest = L::set(0.0f);
      for (std::size_t d = 0; d < a.width; d += 16) {
        L::transpose(a.keys + t * a.stride + d, a.stride, turned, 16);
        for (std::size_t j = 0; j < 16; ++j) largest = L::max(L::abs(L::load(turned + 16 * j)), largest);
      }
      const Floats inverse = inverse_step(largest);
      for (std::size_t d = 0; d < a.width; d += 16) {
        if (a.width != 16) L::transpose(a.keys + t * a.stride + d, a.stride, turned, 16);
        for (std::size_t j = 0; j < 16; j += 2)
          put_pairs(packed_at(weights, a.width / 2, tokens, t, (d + j) / 2), L::mul(L::load(turned + 16 * j), inverse),
                    L::mul(L::load(turned + 16 * j + 16), inverse));
      }
      L::store(scale + t, L::mul(largest, L::set(1.0f / kMost)));
    }
  }

  // Values of a head as packed weights: a column for each channel.
  static CROSSTUNE_INLINE void pack_values(const Attention& a, std::int8_t* weights, float* scale) {
    const std::size_t pairs = (a.tokens + 1) / 2;
    for (std::size_t d = 0; d < a.width; d += 16) {
      Floats largest = L::set(0.0f);
      for (std::size_t t = 0; t < a.tokens; ++t) largest = L::max(L::abs(L::load(a.values + t * a.stride + d)), largest);
      const Floats inverse = inverse_step(largest);
      L::store(scale + d, L::mul(largest, L::set(1.0f / kMost)));
      for (std::size_t t = 0; t < a.tokens; t += 2) {
        const Floats second = t + 1 < a.tokens ? L::load(a.values + (t + 1) * a.stride + d) : L::set(0.0f);
        put_pairs(packed_at(weights, pairs, a.width, d, t / 2), L::mul(L::load(a.values + t * a.stride + d), inverse), L::mul(second, inverse));
      }
    }
  }

  template <typename Out>
  static CROSSTUNE_INLINE void product_of_pairs(const std::int16_t* rows, std::size_t count, std::size_t stride, const PackedWeights& w,
                                                const Out& to) {
    const ByteRows a{reinterpret_cast<const std::uint8_t*>(rows), count, 2 * stride};
    product<InPairs>(a, w, 0, (w.columns + kPanel - 1) / kPanel, to);
  }

  static void attention(const Attention& a) {
    const std::size_t tokens = padded(a.tokens), longest = tokens > a.width ? tokens : a.width;
    Pieces pieces{static_cast<char*>(a.scratch)};
    auto* zeros = pieces.template take<float>(longest);
    for (std::size_t i = 0; i < longest; i += 16) L::store(zeros + i, L::set(0.0f));
    auto* keys = pieces.template take<std::int8_t>(2 * tokens * a.width);
    auto* values = pieces.template take<std::int8_t>(2 * tokens * a.width);
    auto* key_scale = pieces.template take<float>(tokens);
    auto* value_scale = pieces.template take<float>(a.width);
    auto* queries = pieces.template take<std::int16_t>(kRows * a.width);
    auto* scores = pieces.template take<float>(kRows * tokens);
    auto* shares = pieces.template take<std::int16_t>(kRows * tokens);
    const auto* start = reinterpret_cast<const std::int32_t*>(zeros);
    pack_keys(a, tokens, keys, key_scale);
    pack_values(a, values, value_scale);
    const PackedWeights by_key{keys, start, key_scale, zeros, a.width / 2, tokens};
    const PackedWeights by_value{values, start, value_scale, zeros, (a.tokens + 1) / 2, a.width};
    for (std::size_t first = 0; first < a.tokens; first += kRows) {
      const std::size_t count = a.tokens - first < kRows ? a.tokens - first : kRows;
      float factors[kRows];
      for (std::size_t r = 0; r < count; ++r) {
        const float* query = a.queries + (first + r) * a.stride;
        Floats largest = L::set(0.0f);
        for (std::size_t d = 0; d < a.width; d += 16) largest = L::max(L::abs(L::load(query + d)), largest);
        const float most = L::largest(largest);
        const Floats inverse = inverse_step(L::set(most));
        factors[r] = most * (1.0f / kMost);
        for (std::size_t d = 0; d < a.width; d += 16)
          L::store_shorts(queries + r * a.width + d, L::round(L::mul(L::load(query + d), inverse)));
      }
      product_of_pairs(queries, count, a.width, by_key, ToScores{scores, tokens, factors});
      for (std::size_t r = 0; r < count; ++r) {
        Floats sum = L::set(0.0f);
        each_power(scores + r * tokens, a.tokens, [&](std::size_t t, Floats e) CROSSTUNE_INLINED {
          const Ints share = L::round(L::mul(e, L::set(kMost)));
          L::store_shorts(shares + r * tokens + t, share);
          sum = L::add(sum, L::to_floats(share));
        });
        factors[r] = 1.0f / L::sum(sum);
      }
      product_of_pairs(shares, count, tokens, by_value, ToShares{a.out + first * a.out_stride, a.out_stride, factors, a.zero});
    }
  }

  // --- Rows -----------------------------------------------------------------------------------------------------------------

  static void embed(const std::int8_t* row, float scale, const float* columns, const float* place, std::size_t width, float* out) {
    const Floats s = L::set(scale);
    for (std::size_t j = 0; j < width; j += 16) {
      const Floats word = L::mul(L::mul(L::load_int8(row + j), s), L::load(columns + j));
      L::store(out + j, L::add(word, L::load(place + j)));
    }
  }

  // Calls f(vector index, lanes) and adds its results in four sums, which are added at the end.
  template <typename F>
  static CROSSTUNE_INLINE float total(std::size_t width, F&& f) {
    Floats sums[4] = {L::set(0.0f), L::set(0.0f), L::set(0.0f), L::set(0.0f)};
    std::size_t j = 0;
    for (; j + 64 <= width; j += 64) each<4>([&](auto i) CROSSTUNE_INLINED { sums[i] = f(j + 16 * i, sums[i]); });
    for (std::size_t i = 0; j < width; j += 16, ++i) sums[i] = f(j, sums[i]);
    return L::sum(L::add(L::add(sums[0], sums[1]), L::add(sums[2], sums[3])));
  }

  static void norm(const float* in, std::size_t rows, std::size_t stride, const Norm& n, float* out, std::uint8_t* bytes,
                   std::size_t byte_stride) {
    const float size = static_cast<float>(n.size);
    const std::size_t last = n.width - 16;
    const int rest = static_cast<int>(n.size - last);
    for (std::size_t r = 0; r < rows; ++r, in += stride, out += stride, bytes += byte_stride) {
      const Floats mean = L::set(total(n.width, [&](std::size_t j, Floats s) CROSSTUNE_INLINED { return L::add(s, L::load(in + j)); }) / size);
      const float squares = total(n.width, [&](std::size_t j, Floats s) CROSSTUNE_INLINED {
        Floats x = L::sub(L::load(in + j), mean);
        if (j == last && rest != 16) x = L::first(rest, x, L::set(0.0f));
        return L::fma(x, x, s);
      });
      const Floats inverse = L::div(L::set(1.0f), L::set(__builtin_sqrtf(squares / size + n.epsilon)));
      for (std::size_t j = 0; j < n.width; j += 16) {
        const Floats y = L::mul(L::sub(L::load(in + j), mean), inverse);
        L::store(out + j, L::fma(y, L::load(n.gamma + j), L::load(n.beta + j)));
        if (n.gain != nullptr) L::store_bytes(bytes + j, L::fma(y, L::load(n.gain + j), L::load(n.shift + j)));
      }
    }
  }

  // --- The head -------------------------------------------------------------------------------------------------------------

  static void mean(const States& s, float* out) {
    const Floats count = L::set(static_cast<float>(s.tokens));
    for (std::size_t j = 0; j < s.width; j += 16) {
      Floats sum = L::set(0.0f);
      for (std::size_t t = 0; t < s.tokens; ++t) sum = L::add(sum, L::load(s.at + t * s.stride + j));
      L::store(out + j, L::div(sum, count));
    }
  }

  static void maximum(const States& s, float* out) {
    for (std::size_t j = 0; j < s.width; j += 16) {
      Floats most = L::load(s.at + j);
      for (std::size_t t = 1; t < s.tokens; ++t) most = L::max(L::load(s.at + t * s.stride + j), most);
      L::store(out + j, most);
    }
  }

  static float dot(const float* a, const float* b, std::size_t width) {
    return total(width, [&](std::size_t j, Floats s) CROSSTUNE_INLINED { return L::fma(L::load(a + j), L::load(b + j), s); });
  }

  static float dot_half(const float* x, const std::uint16_t* y, std::size_t width) {
    return total(width, [&](std::size_t j, Floats s) CROSSTUNE_INLINED { return L::fma(L::load(x + j), L::load_half(y + j), s); });
  }

  static void attend(const States& s, const std::uint16_t* queries, std::size_t count, float sharpness, float* lengths, float* out) {
    for (std::size_t t = 0; t < s.tokens; ++t) {
      const float* x = s.at + t * s.stride;
      const float length = __builtin_sqrtf(dot(x, x, s.width));
      lengths[t] = 1.0f / (length > 1e-12f ? length : 1e-12f);
    }
    const Floats exponent = L::set(sharpness * 1.44269504f);
    column_tiles(count, [&](auto columns, std::size_t column) CROSSTUNE_INLINED {
      constexpr std::size_t C = decltype(columns)::value;
      Floats weights[C], values[C];
      each<C>([&](auto c) CROSSTUNE_INLINED { weights[c] = values[c] = L::set(0.0f); });
      for (std::size_t first = 0; first < s.tokens; first += kFloatRows) {
        const std::size_t rows_here = s.tokens - first < kFloatRows ? s.tokens - first : kFloatRows;
        const float* rows[kFloatRows];
        rows_from<kFloatRows>(s.at, s.stride, first, s.tokens, rows);
        Floats sums[kFloatRows * C];
        float_tile<kFloatRows, C>(rows, s.size, [&](std::size_t k, std::size_t c) CROSSTUNE_INLINED {
          return L::load_half(queries + k * count + column + 16 * c);
        }, sums);
        for (std::size_t r = 0; r < rows_here; ++r) {
          each<C>([&](auto c) CROSSTUNE_INLINED {
            const Floats cosine = L::mul(sums[r * C + c], L::set(lengths[first + r]));
            const Floats weight = exp2(L::mul(cosine, exponent));
            weights[c] = L::add(weights[c], weight);
            values[c] = L::fma(weight, cosine, values[c]);
          });
        }
      }
      each<C>([&](auto c) CROSSTUNE_INLINED { L::store(out + column + 16 * c, L::div(values[c], weights[c])); });
    });
  }

  static void by_rows(const float* x, std::size_t rows, const std::uint16_t* keys, std::size_t width, float* out) {
    for (std::size_t j = 0; j < width; j += 16) {
      Floats sums[4] = {L::set(0.0f), L::set(0.0f), L::set(0.0f), L::set(0.0f)};
      const auto step = [&](std::size_t i, std::size_t part) CROSSTUNE_INLINED {
        sums[part] = L::fma(L::set(x[i]), L::load_half(keys + i * width + j), sums[part]);
      };
      std::size_t i = 0;
      for (; i + 4 <= rows; i += 4) each<4>([&](auto part) CROSSTUNE_INLINED { step(i + part, part); });
      for (std::size_t part = 0; i < rows; ++i, ++part) step(i, part);
      L::store(out + j, L::add(L::add(sums[0], sums[1]), L::add(sums[2], sums[3])));
    }
  }

  static void softmax(float* x, std::size_t count) {
    for (std::size_t j = 0; j < padded(count); j += 16) L::store(x + j, L::mul(L::load(x + j), L::set(1.44269504f)));
    Floats sum = L::set(0.0f);
    each_power(x, count, [&](std::size_t j, Floats e) CROSSTUNE_INLINED {
      L::store(x + j, e);
      sum = L::add(sum, e);
    });
    const Floats share = L::set(1.0f / L::sum(sum));
    for (std::size_t j = 0; j < padded(count); j += 16) L::store(x + j, L::mul(L::load(x + j), share));
  }

  static const Kernels& table(const char* name) {
    static const Kernels kernels{name,   kPanel,  embed, norm,   product_floats, product_sum, product_gelu,
                                 attention, mean, maximum, attend, dot, by_rows, dot_half, softmax};
    return kernels;
  }
};

}  // namespace crosstune::kernels
