// The kernels, written once over lanes; one translation unit for each kind of processor instantiates them.
//
// Everything here must be a template over the lanes, or it could be merged with a copy that was compiled for another processor;
// for the same reason nothing of the standard library is called that is not a plain type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

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

  // The bytes of gelu, before they are rounded, of x / kGeluScale.
  static CROSSTUNE_INLINE Floats gelu(Floats x, const GeluBytes& g) {
    const Floats t = L::abs(x);
    const Ints interval = L::at_most(L::truncate(t), 15);
    const Floats f = L::sub(t, L::to_floats(interval));
    Floats p = L::pick(g.table[kGeluPowers - 1], interval);
    each<kGeluPowers - 1>([&](auto i) CROSSTUNE_INLINED { p = L::fma(p, f, L::pick(g.table[kGeluPowers - 2 - i], interval)); });
    return L::fma(x, L::set(g.half), p);
  }

  // --- Integer products --------------------------------------------------------------------------------------------------

  struct Columns {  // of 16 outputs
    Floats scale, bias;
    CROSSTUNE_INLINE Columns(const float* scales, const float* biases) : scale(L::load(scales)), bias(L::load(biases)) {}
    CROSSTUNE_INLINE Floats operator()(Ints sum) const { return L::fma(L::to_floats(sum), scale, bias); }
  };

  static CROSSTUNE_INLINE void put(const ToFloats& to, std::size_t row, std::size_t column, Ints sum, const Columns& y) {
    L::store(to.out + row * to.stride + column, y(sum));
  }
  static CROSSTUNE_INLINE void put(const ToSum& to, std::size_t row, std::size_t column, Ints sum, const Columns& y) {
    float* at = to.out + row * to.stride + column;
    L::store(at, L::add(L::load(at), y(sum)));
  }
  static CROSSTUNE_INLINE void put(const ToGelu& to, std::size_t row, std::size_t column, Ints sum, const Columns& y) {
    L::store_bytes(to.out + row * to.stride + column, gelu(y(sum), to.gelu));
  }

  // How the four bytes of a lane are multiplied: unsigned by signed bytes, or pairs of signed 16-bit numbers.
  struct InBytes {
    static CROSSTUNE_INLINE void dot(Ints& sum, const Bytes& a, const Bytes& b) { L::dot(sum, a, b); }
  };
  struct InPairs {
    static CROSSTUNE_INLINE void dot(Ints& sum, const Bytes& a, const Bytes& b) { L::dot_pairs(sum, a, b); }
  };

  // Sums whose outputs take long wait for the next tile, which makes the outputs between its own steps: sums keep two of the
  // processor's pipes busy, and outputs mostly need the others.
  template <typename Out>
  static constexpr bool kWaits = std::is_same_v<Out, ToGelu>;

  template <std::size_t C, typename Out>
  struct Waiting {  // a tile of 16 * C columns
    const Out& to;
    const float *scale = nullptr, *bias = nullptr;  // of its columns
    std::size_t row = 0, column = 0, rows = 0;
    alignas(64) std::int32_t sums[kWaits<Out> ? kRows * C * 16 : 16];

    explicit Waiting(const Out& out) : to(out) {}
    CROSSTUNE_INLINE void put_one(std::size_t r, std::size_t c) const {
      put(to, row + r, column + 16 * c, L::load_ints(sums + 16 * (r * C + c)), Columns(scale + 16 * c, bias + 16 * c));
    }
    CROSSTUNE_INLINE void put_all() {
      for (std::size_t r = 0; r < rows; ++r) each<C>([&](auto c) CROSSTUNE_INLINED { put_one(r, c); });
      rows = 0;
    }
  };

  // R rows by 16 * C columns. `ahead` are pairs of cache lines that will be needed soon.
  template <typename Form, std::size_t R, std::size_t C, typename Out>
  static CROSSTUNE_INLINE void tile(const ByteRows& a, std::size_t row, const PackedWeights& w, const std::int8_t* panel,
                                    std::size_t column, Waiting<C, Out>& waiting, const std::int8_t* ahead, std::size_t pairs_of_lines) {
    Ints sums[R * C];
    each<C>([&](auto c) CROSSTUNE_INLINED {
      const Ints start = L::load_ints(w.start + column + 16 * c);
      each<R>([&](auto r) CROSSTUNE_INLINED { sums[r * C + c] = start; });
    });
    const std::uint8_t* rows[R];
    each<R>([&](auto r) CROSSTUNE_INLINED { rows[r] = a.at + (row + r) * a.stride; });
    const auto step = [&](std::size_t k) CROSSTUNE_INLINED {
      const std::int8_t* soon = ahead + 128 * (k < pairs_of_lines ? k : 0);
      L::prefetch(soon);
      L::prefetch(soon + 64);
      Bytes weights[C];
      each<C>([&](auto c) CROSSTUNE_INLINED { weights[c] = L::load_weights(panel + (k * C + c) * 64); });
      each<R>([&](auto r) CROSSTUNE_INLINED {
        const Bytes inputs = L::repeat(rows[r] + 4 * k);
        each<C>([&](auto c) CROSSTUNE_INLINED { Form::dot(sums[r * C + c], inputs, weights[c]); });
      });
    };
    std::size_t k = 0;
    if (kWaits<Out> && waiting.rows != 0) {
      const std::size_t steps = w.fours / (waiting.rows * C);
      for (std::size_t r = 0; r < waiting.rows; ++r) {
        each<C>([&](auto c) CROSSTUNE_INLINED {
          for (const std::size_t end = k + steps; k < end; ++k) step(k);
          waiting.put_one(r, c);
        });
      }
    }
    for (; k < w.fours; ++k) step(k);
    if constexpr (kWaits<Out>) {
      each<R * C>([&](auto i) CROSSTUNE_INLINED { L::store_ints(waiting.sums + 16 * i, sums[i]); });
      waiting.scale = w.scale + column, waiting.bias = w.bias + column;
      waiting.row = row, waiting.column = column, waiting.rows = R;
    } else {
      each<C>([&](auto c) CROSSTUNE_INLINED {
        const Columns columns(w.scale + column + 16 * c, w.bias + column + 16 * c);
        each<R>([&](auto r) CROSSTUNE_INLINED { put(waiting.to, row + r, column + 16 * c, sums[r * C + c], columns); });
      });
    }
  }

  template <typename Form, std::size_t C, typename Out>
  static void panel(const ByteRows& a, const PackedWeights& w, const std::int8_t* at, std::size_t column, Waiting<C, Out>& waiting) {
    const std::int8_t* ahead = at + w.fours * C * 64;  // the next panel, or the next product, which follows in memory
    const std::size_t tiles = (a.rows + kRows - 1) / kRows, pairs_of_lines = (kColumns * w.fours + 2 * tiles - 1) / (2 * tiles);
    std::size_t row = 0;
    for (; row + kRows <= a.rows; row += kRows, ahead += 128 * pairs_of_lines)
      tile<Form, kRows, C>(a, row, w, at, column, waiting, ahead, pairs_of_lines);
    each<kRows - 1>([&](auto r) CROSSTUNE_INLINED {
      if (a.rows - row == r + 1) tile<Form, r + 1, C>(a, row, w, at, column, waiting, ahead, pairs_of_lines);
    });
  }

  template <typename Form = InBytes, typename Out>
  static CROSSTUNE_INLINE void product(const ByteRows& a, const PackedWeights& w, std::size_t first, std::size_t last, const Out& to) {
    Waiting<kColumns, Out> waiting(to);
    for (std::size_t p = first; p < last; ++p) {
      const std::size_t column = p * kPanel, left = w.columns - column;
      const std::int8_t* at = w.weights + column * w.fours * 4;
      if (left >= kPanel) panel<Form, kColumns>(a, w, at, column, waiting);
      else each<kColumns - 1>([&](auto c) CROSSTUNE_INLINED {
        if (left != 16 * (c + 1)) return;
        Waiting<c + 1, Out> narrow(to);
        panel<Form, c + 1>(a, w, at, column, narrow);
        narrow.put_all();
      });
    }
    waiting.put_all();
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

  // Shares are whole numbers up to kMost, and so are the largest values of each channel: sums of 512 products fit into 32 bits.
  static constexpr float kMost = 2047.0f;

  // kMost * 2^x for x >= -30: as exp2, with an error of 4e-6.
  static CROSSTUNE_INLINE Ints share(Floats x) {
    x = L::max(x, L::set(-30.0f));
    const Ints whole = L::round(x);
    const Floats f = L::sub(x, L::to_floats(whole));
    Floats p = L::set(kMost * 9.6706679e-3f);
    p = L::fma(p, f, L::set(kMost * 5.5909607e-2f));
    p = L::fma(p, f, L::set(kMost * 2.4022235e-1f));
    p = L::fma(p, f, L::set(kMost * 6.9312993e-1f));
    p = L::fma(p, f, L::set(kMost * 1.0000003f));
    return L::round(L::scale(p, whole));
  }

  // Two vectors of whole numbers as the pairs of 16 words.
  static CROSSTUNE_INLINE void put_pairs(std::int8_t* out, Floats first, Floats second) {
    L::store_words(out, L::pairs(L::round(first), L::round(second)));
  }

  struct ToScores {  // out_ij = sum_ij
    std::int32_t* out;
    std::size_t stride;
  };
  static CROSSTUNE_INLINE void put(const ToScores& to, std::size_t row, std::size_t column, Ints sum, const Columns&) {
    L::store_ints(to.out + row * to.stride + column, sum);
  }
  struct ToShares {  // out_ij = round(y * factor_i + zero), as a byte
    std::uint8_t* out;
    std::size_t stride;
    const float* factors;
    float zero;
  };
  static CROSSTUNE_INLINE void put(const ToShares& to, std::size_t row, std::size_t column, Ints sum, const Columns& y) {
    L::store_bytes(to.out + row * to.stride + column, L::fma(y(sum), L::set(to.factors[row]), L::set(to.zero)));
  }

  // Where the word of two inputs `pair` for the columns from `column` on stands in packed weights.
  static CROSSTUNE_INLINE std::int8_t* packed_at(std::int8_t* weights, std::size_t pairs, std::size_t columns, std::size_t column,
                                                 std::size_t pair) {
    const std::size_t first = column / kPanel * kPanel, width = columns - first < kPanel ? columns - first : kPanel;
    return weights + (first * pairs + pair * width + column - first) * 4;
  }

  // The largest number of (rows, width), and what it is divided by for whole numbers up to `most`.
  struct Step {
    float size;
    Floats inverse;
  };
  static CROSSTUNE_INLINE Step step_of(const float* x, std::size_t rows, std::size_t stride, std::size_t width, float most) {
    Floats largest = L::set(1e-30f);
    for (std::size_t t = 0; t < rows; ++t)
      for (std::size_t d = 0; d < width; d += 16) largest = L::max(L::abs(L::load(x + t * stride + d)), largest);
    const float top = L::largest(largest);
    return {top / most, L::set(most / top)};
  }

  // A row as whole numbers of 16 bits.
  static CROSSTUNE_INLINE void put_shorts(const float* x, std::size_t width, Floats inverse, std::int16_t* out) {
    for (std::size_t d = 0; d < width; d += 16) L::store_shorts(out + d, L::round(L::mul(L::load(x + d), inverse)));
  }

  // Keys of a head as packed weights: a column for each token, zeros beyond the last.
  static CROSSTUNE_INLINE void pack_keys(const Attention& a, std::size_t tokens, Floats inverse, std::int8_t* weights) {
    const std::size_t pairs = a.width / 2;
    for (std::size_t t = 0; t < tokens; t += 16) {
      for (std::size_t d = 0; d < a.width; d += 32) {
        alignas(64) std::int16_t rows[16 * 32] = {};
        const std::size_t here = a.width - d < 32 ? a.width - d : 32, count = a.tokens - t < 16 ? a.tokens - t : 16;
        for (std::size_t j = 0; j < count; ++j) put_shorts(a.keys + (t + j) * a.stride + d, here, inverse, rows + 32 * j);
        alignas(64) std::int8_t turned[16 * 64];
        L::transpose_words(rows, turned);
        for (std::size_t pair = 0; pair < here / 2; ++pair)
          L::copy_words(packed_at(weights, pairs, tokens, t, d / 2 + pair), turned + 64 * pair);
      }
    }
  }

  // Values of a head as packed weights: a column for each channel.
  static CROSSTUNE_INLINE void pack_values(const Attention& a, std::int8_t* weights, float* scale) {
    const std::size_t pairs = (a.tokens + 1) / 2;
    for (std::size_t d = 0; d < a.width; d += 16) {
      Floats largest = L::set(1e-30f);
      for (std::size_t t = 0; t < a.tokens; ++t) largest = L::max(L::abs(L::load(a.values + t * a.stride + d)), largest);
      const Floats inverse = L::div(L::set(kMost), largest);
      L::store(scale + d, L::mul(largest, L::set(1.0f / kMost)));
      for (std::size_t t = 0; t < a.tokens; t += 2) {
        const Floats second = t + 1 < a.tokens ? L::load(a.values + (t + 1) * a.stride + d) : L::set(0.0f);
        put_pairs(packed_at(weights, pairs, a.width, d, t / 2), L::mul(L::load(a.values + t * a.stride + d), inverse), L::mul(second, inverse));
      }
    }
  }

  // The largest of `count` scores.
  static CROSSTUNE_INLINE float largest_score(const std::int32_t* scores, std::size_t count) {
    const std::size_t whole = count / 16 * 16;
    const int rest = static_cast<int>(count - whole);
    Ints most = L::set_int(-0x7fffffff);
    for (std::size_t t = 0; t < whole; t += 16) most = L::max_ints(L::load_ints(scores + t), most);
    Floats top = L::to_floats(most);
    if (rest != 0) top = L::max(L::first(rest, L::to_floats(L::load_ints(scores + whole)), L::set(-3e38f)), top);
    return L::largest(top);
  }

  // One row of scores plus a bias for each, to `out`; returns the largest.
  static CROSSTUNE_INLINE float add_bias(const std::int32_t* scores, std::size_t count, float scale, const float* bias, float* out) {
    const Floats factor = L::set(scale), least = L::set(-3e38f);
    Floats top = least;
    for (std::size_t t = 0; t < count; t += 16) {
      const Floats sum = L::fma(L::to_floats(L::load_ints(scores + t)), factor, L::load(bias + t));
      L::store(out + t, sum);
      top = L::max(t + 16 <= count ? sum : L::first(static_cast<int>(count - t), sum, least), top);
    }
    return L::largest(top);
  }

  // Shares of one row, and their sum; `power(t)` are sixteen powers of two, at most 0. What is beyond `count` gets none.
  template <typename Power>
  static CROSSTUNE_INLINE float put_row_of_shares(std::size_t count, std::int16_t* out, Power&& power) {
    const std::size_t whole = count / 16 * 16;
    const int rest = static_cast<int>(count - whole);
    const auto shares = [&](std::size_t t) CROSSTUNE_INLINED { return share(power(t)); };
    Ints sum = L::set_int(0);
    for (std::size_t t = 0; t < whole; t += 16) {
      const Ints here = shares(t);
      L::store_shorts(out + t, here);
      sum = L::add_ints(sum, here);
    }
    if (rest != 0) {
      const Ints here = L::round(L::first(rest, L::to_floats(shares(whole)), L::set(0.0f)));
      L::store_shorts(out + whole, here);
      sum = L::add_ints(sum, here);
    }
    return L::sum(L::to_floats(sum));
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
    auto* value_scale = pieces.template take<float>(a.width);
    auto* queries = pieces.template take<std::int16_t>(kRows * a.width);
    auto* scores = pieces.template take<std::int32_t>(kRows * tokens);
    auto* shares = pieces.template take<std::int16_t>(kRows * tokens);
    auto* powers = pieces.template take<float>(tokens);
    const auto* start = reinterpret_cast<const std::int32_t*>(zeros);
    // Whole numbers whose products, `width` of them added, stay below 2^30: their differences fit into 32 bits too.
    const float most = __builtin_floorf(__builtin_sqrtf(1073741824.0f / static_cast<float>(a.width)));
    const Step of_queries = step_of(a.queries, a.tokens, a.stride, a.width, most), of_keys = step_of(a.keys, a.tokens, a.stride, a.width, most);
    pack_keys(a, tokens, of_keys.inverse, keys);
    pack_values(a, values, value_scale);
    const PackedWeights by_key{keys, start, zeros, zeros, a.width / 2, tokens};
    const PackedWeights by_value{values, start, value_scale, zeros, (a.tokens + 1) / 2, a.width};
    for (std::size_t first = 0; first < a.tokens; first += kRows) {
      const std::size_t count = a.tokens - first < kRows ? a.tokens - first : kRows;
      for (std::size_t r = 0; r < count; ++r) put_shorts(a.queries + (first + r) * a.stride, a.width, of_queries.inverse, queries + r * a.width);
      product_of_pairs(queries, count, a.width, by_key, ToScores{scores, tokens});
      const float scale = of_queries.size * of_keys.size;
      float largest[kRows], factors[kRows];
      if (a.bias != nullptr) {
        for (std::size_t r = 0; r < count; ++r) {
          const Floats most = L::set(add_bias(scores + r * tokens, a.tokens, scale, a.bias - (first + r), powers));
          factors[r] = 1.0f / put_row_of_shares(a.tokens, shares + r * tokens,
                                                [&](std::size_t t) CROSSTUNE_INLINED { return L::sub(L::load(powers + t), most); });
        }
      } else {
        for (std::size_t r = 0; r < count; ++r) largest[r] = largest_score(scores + r * tokens, a.tokens);
        for (std::size_t r = 0; r < count; ++r) {
          const std::int32_t* row = scores + r * tokens;
          const Floats factor = L::set(scale), shift = L::set(-scale * largest[r]);
          factors[r] = 1.0f / put_row_of_shares(a.tokens, shares + r * tokens, [&](std::size_t t) CROSSTUNE_INLINED {
            return L::fma(L::to_floats(L::load_ints(row + t)), factor, shift);
          });
        }
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

  static void norm(float* at, std::size_t rows, std::size_t stride, const Norm& n, std::uint8_t* bytes, std::size_t byte_stride) {
    const float size = static_cast<float>(n.size);
    const std::size_t last = n.width - 16;
    const int rest = static_cast<int>(n.size - last);
    for (std::size_t r = 0; r < rows; ++r, at += stride, bytes += byte_stride) {
      const Floats mean = L::set(total(n.width, [&](std::size_t j, Floats s) CROSSTUNE_INLINED { return L::add(s, L::load(at + j)); }) / size);
      const float squares = total(n.width, [&](std::size_t j, Floats s) CROSSTUNE_INLINED {
        Floats x = L::sub(L::load(at + j), mean);
        if (j == last && rest != 16) x = L::first(rest, x, L::set(0.0f));
        return L::fma(x, x, s);
      });
      const Floats inverse = L::div(L::set(1.0f), L::set(__builtin_sqrtf(squares / size + n.epsilon)));
      for (std::size_t j = 0; j < n.width; j += 16) {
        const Floats y = L::mul(L::sub(L::load(at + j), mean), inverse);
        L::store(at + j, L::fma(y, L::load(n.gamma + j), L::load(n.beta + j)));
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

  // In place: 2^(x - largest x) for `count` entries, zeros beyond; and their sum.
  static CROSSTUNE_INLINE float powers(float* x, std::size_t count) {
    const std::size_t whole = count / 16 * 16;
    const int rest = static_cast<int>(count - whole);
    Floats most = L::set(-3e38f), sum = L::set(0.0f);
    for (std::size_t t = 0; t < whole; t += 16) most = L::max(L::load(x + t), most);
    if (rest != 0) most = L::max(L::first(rest, L::load(x + whole), L::set(-3e38f)), most);
    const Floats top = L::set(L::largest(most));
    for (std::size_t t = 0; t < padded(count); t += 16) {
      Floats e = exp2(L::sub(L::load(x + t), top));
      if (t == whole) e = L::first(rest, e, L::set(0.0f));
      L::store(x + t, e);
      sum = L::add(sum, e);
    }
    return L::sum(sum);
  }

  static void softmax(float* x, std::size_t count) {
    for (std::size_t j = 0; j < padded(count); j += 16) L::store(x + j, L::mul(L::load(x + j), L::set(1.44269504f)));
    const Floats share = L::set(1.0f / powers(x, count));
    for (std::size_t j = 0; j < padded(count); j += 16) L::store(x + j, L::mul(L::load(x + j), share));
  }

  static const Kernels& table(const char* name) {
    static const Kernels kernels{name,   kPanel,  embed, norm,   product_floats, product_sum, product_gelu,
                                 attention, mean, maximum, attend, dot, by_rows, dot_half, softmax};
    return kernels;
  }
};

}  // namespace crosstune::kernels
