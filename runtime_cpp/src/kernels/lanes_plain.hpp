// Sixteen lanes of float, int32 or bytes in plain C++: the reference of the kernels, and their form for any processor.
//
// All forms of lanes (lanes_plain.hpp, lanes_avx512.hpp, lanes_avx2.hpp) do the same IEEE 754 operations in the same order, so
// that every processor gives the same bits.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace crosstune::kernels {

struct PlainLanes {
  struct Floats { float at[16]; };
  struct Ints { std::int32_t at[16]; };
  struct Bytes { std::uint8_t at[64]; };  // four bytes a lane

  // The tile of an integer product: rows x (16 * kProductColumns) sums.
  static constexpr int kProductRows = 4, kProductColumns = 1;
  // The tile of a float product.
  static constexpr int kFloatRows = 4, kFloatColumns = 1;

  template <typename F>
  static Floats each(F&& f) {
    Floats r;
    for (int i = 0; i < 16; ++i) r.at[i] = f(i);
    return r;
  }

  static Floats set(float x) { return each([&](int) { return x; }); }
  static Floats load(const float* p) { Floats r; std::memcpy(r.at, p, sizeof r.at); return r; }
  static void store(float* p, Floats x) { std::memcpy(p, x.at, sizeof x.at); }
  static Floats add(Floats a, Floats b) { return each([&](int i) { return a.at[i] + b.at[i]; }); }
  static Floats sub(Floats a, Floats b) { return each([&](int i) { return a.at[i] - b.at[i]; }); }
  static Floats mul(Floats a, Floats b) { return each([&](int i) { return a.at[i] * b.at[i]; }); }
  static Floats div(Floats a, Floats b) { return each([&](int i) { return a.at[i] / b.at[i]; }); }
  static Floats fma(Floats a, Floats b, Floats c) { return each([&](int i) { return std::fma(a.at[i], b.at[i], c.at[i]); }); }
  // As the instructions do: the second number if either is NaN.
  static Floats max(Floats a, Floats b) { return each([&](int i) { return a.at[i] > b.at[i] ? a.at[i] : b.at[i]; }); }
  static Floats min(Floats a, Floats b) { return each([&](int i) { return a.at[i] < b.at[i] ? a.at[i] : b.at[i]; }); }
  static Floats abs(Floats a) { return each([&](int i) { return std::fabs(a.at[i]); }); }

  // To the nearest integer, halves to even; what does not fit becomes the smallest one.
  static Ints round(Floats a) {
    Ints r;
    for (int i = 0; i < 16; ++i) {
      const float x = std::nearbyintf(a.at[i]);
      r.at[i] = x >= -2147483648.0f && x < 2147483648.0f ? static_cast<std::int32_t>(x) : INT32_MIN;
    }
    return r;
  }
  static Ints truncate(Floats a) {
    Ints r;
    for (int i = 0; i < 16; ++i) {
      r.at[i] = a.at[i] >= -2147483648.0f && a.at[i] < 2147483648.0f ? static_cast<std::int32_t>(a.at[i]) : INT32_MIN;
    }
    return r;
  }
  // The smaller one of two unsigned numbers.
  static Ints at_most(Ints a, int most) {
    for (int i = 0; i < 16; ++i) a.at[i] = static_cast<std::uint32_t>(a.at[i]) < static_cast<std::uint32_t>(most) ? a.at[i] : most;
    return a;
  }
  static Floats to_floats(Ints a) { return each([&](int i) { return static_cast<float>(a.at[i]); }); }
  // x * 2^n for normal results.
  static Floats scale(Floats x, Ints n) {
    return each([&](int i) {
      std::uint32_t bits;
      std::memcpy(&bits, &x.at[i], 4);
      bits += static_cast<std::uint32_t>(n.at[i]) << 23;
      float y;
      std::memcpy(&y, &bits, 4);
      return y;
    });
  }
  // table[n] for n of 0 to 15; the table is 64-byte aligned.
  static Floats pick(const float* table, Ints n) { return each([&](int i) { return table[n.at[i] & 15]; }); }
  // The first `count` lanes of `a`, the others of `b`.
  static Floats first(int count, Floats a, Floats b) { return each([&](int i) { return i < count ? a.at[i] : b.at[i]; }); }

  static float sum(Floats a) {
    for (int half = 8; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) a.at[i] = a.at[i] + a.at[i + half];
    return a.at[0];
  }
  static float largest(Floats a) {
    for (int half = 8; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) a.at[i] = a.at[i] > a.at[i + half] ? a.at[i] : a.at[i + half];
    return a.at[0];
  }

  // Rounded, and cut to 0 to 255.
  static void store_bytes(std::uint8_t* p, Floats x) {
    const Ints n = round(x);
    for (int i = 0; i < 16; ++i) p[i] = static_cast<std::uint8_t>(n.at[i] < 0 ? 0 : n.at[i] > 255 ? 255 : n.at[i]);
  }
  static Floats load_int8(const std::int8_t* p) { return each([&](int i) { return static_cast<float>(p[i]); }); }
  static Floats load_half(const std::uint16_t* p) {
    return each([&](int i) {
      const std::uint32_t sign = (p[i] & 0x8000u) << 16, exponent = (p[i] >> 10) & 31u, fraction = p[i] & 0x3ffu;
      float y;
      if (exponent == 0) {
        y = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24
        return sign ? -y : y;
      }
      const std::uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | fraction << 13;
      std::memcpy(&y, &bits, 4);
      return y;
    });
  }

  static void store_ints(std::int32_t* p, Ints x) { std::memcpy(p, x.at, sizeof x.at); }
  static Ints load_ints(const std::int32_t* p) { Ints r; std::memcpy(r.at, p, sizeof r.at); return r; }
  static Bytes load_weights(const std::int8_t* p) { Bytes r; std::memcpy(r.at, p, sizeof r.at); return r; }
  static Bytes repeat(const std::uint8_t* four) {
    Bytes r;
    for (int i = 0; i < 16; ++i) std::memcpy(r.at + 4 * i, four, 4);
    return r;
  }
  // sum += the products of four unsigned bytes of `a` with four signed ones of `b`, in each lane.
  static void dot(Ints& sum, const Bytes& a, const Bytes& b) {
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 4; ++j) sum.at[i] += a.at[4 * i + j] * static_cast<std::int8_t>(b.at[4 * i + j]);
  }
  // 16 rows of 16 words of two numbers: word j of row i becomes word i of row j.
  static void transpose_words(const std::int16_t* in, std::int8_t* out) {
    for (std::size_t i = 0; i < 16; ++i)
      for (std::size_t j = 0; j < 16; ++j) std::memcpy(out + 64 * j + 4 * i, in + 32 * i + 2 * j, 4);
  }
  static void copy_words(std::int8_t* to, const std::int8_t* from) { std::memcpy(to, from, 64); }
  static Ints set_int(std::int32_t x) {
    Ints r;
    for (int i = 0; i < 16; ++i) r.at[i] = x;
    return r;
  }
  static Ints max_ints(Ints a, Ints b) {
    for (int i = 0; i < 16; ++i) a.at[i] = a.at[i] > b.at[i] ? a.at[i] : b.at[i];
    return a;
  }
  static Ints add_ints(Ints a, Ints b) {
    for (int i = 0; i < 16; ++i) a.at[i] += b.at[i];
    return a;
  }
  // Words of two signed 16-bit numbers, the first below.
  static Ints pairs(Ints first, Ints second) {
    for (int i = 0; i < 16; ++i)
      first.at[i] = static_cast<std::int32_t>((static_cast<std::uint32_t>(first.at[i]) & 0xffffu) | static_cast<std::uint32_t>(second.at[i]) << 16);
    return first;
  }
  static void store_words(std::int8_t* p, Ints x) { std::memcpy(p, x.at, sizeof x.at); }
  static void store_shorts(std::int16_t* p, Ints x) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<std::int16_t>(x.at[i]);
  }
  // sum += the products of two signed 16-bit numbers of `a` with those of `b`, in each lane.
  static void dot_pairs(Ints& sum, const Bytes& a, const Bytes& b) {
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 2; ++j) {
        std::int16_t x, y;
        std::memcpy(&x, a.at + 4 * i + 2 * j, 2), std::memcpy(&y, b.at + 4 * i + 2 * j, 2);
        sum.at[i] += x * y;
      }
  }
  static void prefetch(const void*) {}
};

}  // namespace crosstune::kernels
