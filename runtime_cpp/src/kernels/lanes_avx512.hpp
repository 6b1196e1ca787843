// Sixteen lanes in one register of AVX512 (F, BW, DQ, VL, VNNI); see lanes_plain.hpp.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/each.hpp"

namespace crosstune::kernels {

struct Avx512Lanes {
  using Floats = __m512;
  using Ints = __m512i;
  using Bytes = __m512i;

  static constexpr int kProductRows = 8, kProductColumns = 3;
  static constexpr int kFloatRows = 8, kFloatColumns = 2;

  static Floats set(float x) { return _mm512_set1_ps(x); }
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Floats abs(Floats a) { return _mm512_abs_ps(a); }
  static Ints round(Floats a) { return _mm512_cvtps_epi32(a); }
  static Ints truncate(Floats a) { return _mm512_cvttps_epi32(a); }
  static Ints at_most(Ints a, int most) { return _mm512_min_epu32(a, _mm512_set1_epi32(most)); }
  static Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
  static Floats scale(Floats x, Ints n) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(n, 23)));
  }
  static Floats pick(const float* table, Ints n) {
    return _mm512_permutexvar_ps(n, _mm512_load_ps(table));
  }
  static Floats first(int count, Floats a, Floats b) {
    return _mm512_mask_blend_ps(static_cast<__mmask16>((1u << count) - 1), b, a);
  }
  static float sum(Floats a) {
    const __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
  }
  static float largest(Floats a) {
    const __m256 b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
  }
  static void store_bytes(std::uint8_t* p, Floats x) {
    const __m512i n = _mm512_max_epi32(_mm512_cvtps_epi32(x), _mm512_setzero_si512());
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(n));
  }
  static Floats load_int8(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static Floats load_half(const std::uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store_ints(std::int32_t* p, Ints x) { _mm512_storeu_si512(p, x); }
  static Ints load_ints(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static Bytes load_weights(const std::int8_t* p) { return _mm512_loadu_si512(p); }
  static Bytes repeat(const std::uint8_t* four) {
    std::int32_t word;
    std::memcpy(&word, four, 4);
    return _mm512_set1_epi32(word);
  }
  static void dot(Ints& sum, const Bytes& a, const Bytes& b) {
    // GCC 12 moves sums to memory around the intrinsic of this instruction, which halves the speed.
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  }
  // 16 rows of 16 words: word j of row i becomes word i of row j.
  static void transpose_words(const std::int16_t* in, std::int8_t* out) {
    __m512i r[16], t[16];
    each<16>([&](auto i) { r[i] = _mm512_loadu_si512(in + 32 * i); });
    each<8>([&](auto i) {
      t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    });
    each<4>([&](auto i) {
      r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]), r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
      r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]), r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    });
    each<4>([&](auto i) {
      t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88), t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
      t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88), t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    });
    each<4>([&](auto i) {
      _mm512_storeu_si512(out + 64 * i, _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88));
      _mm512_storeu_si512(out + 64 * (8 + i), _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd));
      _mm512_storeu_si512(out + 64 * (4 + i), _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88));
      _mm512_storeu_si512(out + 64 * (12 + i), _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd));
    });
  }
  static void copy_words(std::int8_t* to, const std::int8_t* from) { _mm512_storeu_si512(to, _mm512_loadu_si512(from)); }
  static Ints set_int(std::int32_t x) { return _mm512_set1_epi32(x); }
  static Ints max_ints(Ints a, Ints b) { return _mm512_max_epi32(a, b); }
  static Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints pairs(Ints first, Ints second) {
    return _mm512_or_si512(_mm512_and_si512(first, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(second, 16));
  }
  static void store_words(std::int8_t* p, Ints x) { _mm512_storeu_si512(p, x); }
  static void store_shorts(std::int16_t* p, Ints x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x));
  }
  static void dot_pairs(Ints& sum, const Bytes& a, const Bytes& b) { asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace crosstune::kernels
