// Sixteen lanes in two registers of AVX2, FMA and F16C, with the byte products of AVX-VNNI; see lanes_plain.hpp.
//
// CROSSTUNE_EVEX selects the encoding of the same instruction that AVX512-VNNI with VL has, so that this form also runs there. The
// two have names of their own, or the linker would keep one of them for both.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/each.hpp"

namespace crosstune::kernels {

#ifdef CROSSTUNE_EVEX
#define CROSSTUNE_AVX2_LANES Avx2EvexLanes
#else
#define CROSSTUNE_AVX2_LANES Avx2Lanes
#endif

struct CROSSTUNE_AVX2_LANES {
  struct Floats { __m256 low, high; };
  struct Ints { __m256i low, high; };
  using Bytes = Ints;

  static constexpr int kProductRows = 6, kProductColumns = 1;
  static constexpr int kFloatRows = 4, kFloatColumns = 1;

  static Floats set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, Floats x) { _mm256_storeu_ps(p, x.low), _mm256_storeu_ps(p + 8, x.high); }
  static Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static Floats sub(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
  static Floats mul(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static Floats div(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
  static Floats fma(Floats a, Floats b, Floats c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
  static Floats min(Floats a, Floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
  static Floats abs(Floats a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
  }
  static Ints round(Floats a) { return {_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)}; }
  static Ints truncate(Floats a) { return {_mm256_cvttps_epi32(a.low), _mm256_cvttps_epi32(a.high)}; }
  static Ints at_most(Ints a, int most) {
    return {_mm256_min_epu32(a.low, _mm256_set1_epi32(most)), _mm256_min_epu32(a.high, _mm256_set1_epi32(most))};
  }
  static Floats to_floats(Ints a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
  static Floats scale(Floats x, Ints n) {
    const auto one = [](__m256 y, __m256i m) {
      return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), _mm256_slli_epi32(m, 23)));
    };
    return {one(x.low, n.low), one(x.high, n.high)};
  }
  static Floats pick(const float* table, Ints n) {  // from both halves by the last three bits, then one of them by the fourth
    const __m256 low = _mm256_load_ps(table), high = _mm256_load_ps(table + 8);
    const auto one = [&](__m256i m) {
      return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, m), _mm256_permutevar8x32_ps(high, m), _mm256_castsi256_ps(_mm256_slli_epi32(m, 28)));
    };
    return {one(n.low), one(n.high)};
  }
  static Floats first(int count, Floats a, Floats b) {
    const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), n = _mm256_set1_epi32(count);
    const __m256i low = _mm256_cmpgt_epi32(n, place), high = _mm256_cmpgt_epi32(_mm256_sub_epi32(n, _mm256_set1_epi32(8)), place);
    return {_mm256_blendv_ps(b.low, a.low, _mm256_castsi256_ps(low)), _mm256_blendv_ps(b.high, a.high, _mm256_castsi256_ps(high))};
  }
  static float sum(Floats a) {
    const __m256 b = _mm256_add_ps(a.low, a.high);
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
  }
  static float largest(Floats a) {
    const __m256 b = _mm256_max_ps(a.low, a.high);
    const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
  }
  static void store_bytes(std::uint8_t* p, Floats x) {
    const auto halves = [](__m256 y) {  // eight 16-bit numbers, cut to 0 to 65535
      const __m256i n = _mm256_cvtps_epi32(y);
      return _mm_packus_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
    };
    const __m128i most = _mm_set1_epi16(255);
    const __m128i low = _mm_min_epu16(halves(x.low), most), high = _mm_min_epu16(halves(x.high), most);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(low, high));
  }
  static Floats load_int8(const std::int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
  }
  static Floats load_half(const std::uint16_t* p) {
    const auto one = [](const std::uint16_t* q) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q))); };
    return {one(p), one(p + 8)};
  }
  static void store_ints(std::int32_t* p, Ints x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.low), _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.high);
  }
  static Ints load_ints(const std::int32_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
  }
  static Bytes load_weights(const std::int8_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
  }
  static Bytes repeat(const std::uint8_t* four) {
    std::int32_t word;
    std::memcpy(&word, four, 4);
    return {_mm256_set1_epi32(word), _mm256_set1_epi32(word)};
  }
  static void dot(Ints& sum, const Bytes& a, const Bytes& b) {
#ifdef CROSSTUNE_EVEX
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.low) : "v"(a.low), "v"(b.low));
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.high) : "v"(a.high), "v"(b.high));
#else
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.low) : "x"(a.low), "x"(b.low));
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.high) : "x"(a.high), "x"(b.high));
#endif
  }
  static void transpose_words(const std::int16_t* in, std::int8_t* out) {
    for (std::size_t i = 0; i < 16; i += 8)
      for (std::size_t j = 0; j < 16; j += 8) transpose8(in + 32 * i + 2 * j, out + 64 * j + 4 * i);
  }
  static void transpose8(const std::int16_t* in, std::int8_t* out) {
    __m256i r[8], t[8];
    each<8>([&](auto i) { r[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + 32 * i)); });
    each<4>([&](auto i) {
      t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    });
    each<2>([&](auto i) {
      r[4 * i] = _mm256_unpacklo_epi64(t[4 * i], t[4 * i + 2]), r[4 * i + 1] = _mm256_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
      r[4 * i + 2] = _mm256_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
      r[4 * i + 3] = _mm256_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    });
    each<4>([&](auto i) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 64 * i), _mm256_permute2x128_si256(r[i], r[4 + i], 0x20));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 64 * (4 + i)), _mm256_permute2x128_si256(r[i], r[4 + i], 0x31));
    });
  }
  static void copy_words(std::int8_t* to, const std::int8_t* from) { std::memcpy(to, from, 64); }
  static Ints set_int(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static Ints max_ints(Ints a, Ints b) { return {_mm256_max_epi32(a.low, b.low), _mm256_max_epi32(a.high, b.high)}; }
  static Ints add_ints(Ints a, Ints b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
  static Ints pairs(Ints first, Ints second) {
    const auto one = [](__m256i a, __m256i b) {
      return _mm256_or_si256(_mm256_and_si256(a, _mm256_set1_epi32(0xffff)), _mm256_slli_epi32(b, 16));
    };
    return {one(first.low, second.low), one(first.high, second.high)};
  }
  static void store_words(std::int8_t* p, Ints x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.low), _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), x.high);
  }
  static void store_shorts(std::int16_t* p, Ints x) {  // numbers that fit
    const __m256i mixed = _mm256_packs_epi32(x.low, x.high);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(mixed, 0xd8));
  }
  static void dot_pairs(Ints& sum, const Bytes& a, const Bytes& b) {
#ifdef CROSSTUNE_EVEX
    asm("vpdpwssd %2, %1, %0" : "+v"(sum.low) : "v"(a.low), "v"(b.low));
    asm("vpdpwssd %2, %1, %0" : "+v"(sum.high) : "v"(a.high), "v"(b.high));
#else
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum.low) : "x"(a.low), "x"(b.low));
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum.high) : "x"(a.high), "x"(b.high));
#endif
  }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace crosstune::kernels
