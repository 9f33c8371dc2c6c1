/* sl_simd.h: vectors of 16 bytes, with the same names and the same results everywhere.
 *
 * As WebAssembly each name is the wasm_simd128.h operation of that name. Compiled for the host
 * (tests under the sanitizers, benchmarks; gcc >= 11 or clang, little-endian) it is made of vector
 * extensions. Only operations whose result the WebAssembly specification fixes to the last bit are
 * here, and nothing of relaxed SIMD: a device has to compute what the publisher computed.
 *
 * Names say type and lanes as WebAssembly does: sl_u8x16_max, sl_f32x4_gt. sl_i8x16_..., i16x8,
 * i32x4 without a `u` are signed, or do not care. Addresses need no alignment. Integers wrap.
 *
 *   comparisons   give lanes of all ones or all zeros; with a NaN all are false but f32x4_ne
 *   bitmask       bit i is the top bit of lane i
 *   bitselect     (yes, no, mask): the bits of yes where mask is 1
 *   f32x4_pmin/pmax   pmin(a, b) = b < a ? b : a, pmax(a, b) = a < b ? b : a; so `a` where either
 *                 is NaN, and where both are zeros whatever their signs. One instruction on x86.
 *   f32x4_min/max NaN where either is NaN (which NaN is not fixed), and -0 < +0. Several
 *                 instructions on x86: take pmin/pmax where the order of the arguments can be chosen.
 *   narrow        saturates; both sources are taken as signed
 *   trunc_sat     rounds towards zero, saturates, NaN gives 0
 *   swizzle       picks bytes of the first by the second; 0 for an index of 16 or more
 *   shuffle       picks bytes of the two joined, by 16 constants from 0 to 31
 *   q15mulr_sat   (a * b + 0x4000) >> 15, saturated
 *   dot_i16x8     sums of the products of neighbours
 *   f32x4         no fused multiply-add: guests are compiled with -ffp-contract=off
 */
#ifndef SL_SIMD_H
#define SL_SIMD_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__wasm__)

#include <wasm_simd128.h>

typedef v128_t sl_v128;

#define sl_load wasm_v128_load
#define sl_store wasm_v128_store
#define sl_load32_zero wasm_v128_load32_zero
#define sl_load64_zero wasm_v128_load64_zero
#define sl_load32_lane(address, a, lane) wasm_v128_load32_lane(address, a, lane)
#define sl_load64_lane(address, a, lane) wasm_v128_load64_lane(address, a, lane)
#define sl_store32_lane(address, a, lane) wasm_v128_store32_lane(address, a, lane)
#define sl_store64_lane(address, a, lane) wasm_v128_store64_lane(address, a, lane)

#define sl_and wasm_v128_and
#define sl_or wasm_v128_or
#define sl_xor wasm_v128_xor
#define sl_not wasm_v128_not
#define sl_andnot wasm_v128_andnot /* a & ~b */
#define sl_bitselect wasm_v128_bitselect
#define sl_any_true wasm_v128_any_true

#define sl_i8x16_splat wasm_i8x16_splat
#define sl_i8x16_add wasm_i8x16_add
#define sl_i8x16_sub wasm_i8x16_sub
#define sl_i8x16_eq wasm_i8x16_eq
#define sl_i8x16_gt wasm_i8x16_gt
#define sl_i8x16_ge wasm_i8x16_ge
#define sl_u8x16_gt wasm_u8x16_gt
#define sl_u8x16_ge wasm_u8x16_ge
#define sl_i8x16_min wasm_i8x16_min
#define sl_i8x16_max wasm_i8x16_max
#define sl_u8x16_min wasm_u8x16_min
#define sl_u8x16_max wasm_u8x16_max
#define sl_i8x16_bitmask wasm_i8x16_bitmask
#define sl_i8x16_swizzle wasm_i8x16_swizzle
#define sl_i8x16_shuffle wasm_i8x16_shuffle
#define sl_i8x16_narrow_i16x8 wasm_i8x16_narrow_i16x8
#define sl_u8x16_narrow_i16x8 wasm_u8x16_narrow_i16x8

#define sl_i16x8_splat wasm_i16x8_splat
#define sl_i16x8_add wasm_i16x8_add
#define sl_i16x8_sub wasm_i16x8_sub
#define sl_i16x8_mul wasm_i16x8_mul
#define sl_i16x8_shl wasm_i16x8_shl
#define sl_i16x8_shr wasm_i16x8_shr
#define sl_u16x8_shr wasm_u16x8_shr
#define sl_i16x8_gt wasm_i16x8_gt
#define sl_i16x8_min wasm_i16x8_min
#define sl_i16x8_max wasm_i16x8_max
#define sl_i16x8_q15mulr_sat wasm_i16x8_q15mulr_sat
#define sl_i16x8_extend_low_i8x16 wasm_i16x8_extend_low_i8x16
#define sl_i16x8_extend_high_i8x16 wasm_i16x8_extend_high_i8x16
#define sl_u16x8_extend_low_u8x16 wasm_u16x8_extend_low_u8x16
#define sl_u16x8_extend_high_u8x16 wasm_u16x8_extend_high_u8x16
#define sl_u16x8_extadd_pairwise_u8x16 wasm_u16x8_extadd_pairwise_u8x16
#define sl_i16x8_narrow_i32x4 wasm_i16x8_narrow_i32x4

#define sl_i32x4_splat wasm_i32x4_splat
#define sl_i32x4_add wasm_i32x4_add
#define sl_i32x4_sub wasm_i32x4_sub
#define sl_i32x4_mul wasm_i32x4_mul
#define sl_i32x4_shl wasm_i32x4_shl
#define sl_i32x4_shr wasm_i32x4_shr
#define sl_i32x4_eq wasm_i32x4_eq
#define sl_i32x4_gt wasm_i32x4_gt
#define sl_i32x4_lt wasm_i32x4_lt
#define sl_i32x4_min wasm_i32x4_min
#define sl_i32x4_max wasm_i32x4_max
#define sl_i32x4_bitmask wasm_i32x4_bitmask
#define sl_i32x4_extract_lane wasm_i32x4_extract_lane
#define sl_i32x4_dot_i16x8 wasm_i32x4_dot_i16x8
#define sl_i32x4_extend_low_i16x8 wasm_i32x4_extend_low_i16x8
#define sl_i32x4_extend_high_i16x8 wasm_i32x4_extend_high_i16x8
#define sl_u32x4_extend_low_u16x8 wasm_u32x4_extend_low_u16x8
#define sl_u32x4_extend_high_u16x8 wasm_u32x4_extend_high_u16x8
#define sl_i32x4_trunc_sat_f32x4 wasm_i32x4_trunc_sat_f32x4

#define sl_f32x4_splat wasm_f32x4_splat
#define sl_f32x4_add wasm_f32x4_add
#define sl_f32x4_sub wasm_f32x4_sub
#define sl_f32x4_mul wasm_f32x4_mul
#define sl_f32x4_div wasm_f32x4_div
#define sl_f32x4_eq wasm_f32x4_eq
#define sl_f32x4_ne wasm_f32x4_ne
#define sl_f32x4_lt wasm_f32x4_lt
#define sl_f32x4_le wasm_f32x4_le
#define sl_f32x4_gt wasm_f32x4_gt
#define sl_f32x4_ge wasm_f32x4_ge
#define sl_f32x4_min wasm_f32x4_min
#define sl_f32x4_max wasm_f32x4_max
#define sl_f32x4_pmin wasm_f32x4_pmin
#define sl_f32x4_pmax wasm_f32x4_pmax
#define sl_f32x4_abs wasm_f32x4_abs
#define sl_f32x4_neg wasm_f32x4_neg
#define sl_f32x4_convert_i32x4 wasm_f32x4_convert_i32x4
#define sl_f32x4_extract_lane wasm_f32x4_extract_lane

#else

#include <string.h>

/* Arithmetic that may wrap is done in the unsigned types. */
typedef int32_t sl_v128 __attribute__((vector_size(16)));
typedef int8_t sl_i8x16_t __attribute__((vector_size(16)));
typedef uint8_t sl_u8x16_t __attribute__((vector_size(16)));
typedef int16_t sl_i16x8_t __attribute__((vector_size(16)));
typedef uint16_t sl_u16x8_t __attribute__((vector_size(16)));
typedef int32_t sl_i32x4_t __attribute__((vector_size(16)));
typedef uint32_t sl_u32x4_t __attribute__((vector_size(16)));
typedef uint64_t sl_u64x2_t __attribute__((vector_size(16)));
typedef float sl_f32x4_t __attribute__((vector_size(16)));
typedef int8_t sl_i8x8_t __attribute__((vector_size(8)));
typedef uint8_t sl_u8x8_t __attribute__((vector_size(8)));
typedef int16_t sl_i16x4_t __attribute__((vector_size(8)));
typedef uint16_t sl_u16x4_t __attribute__((vector_size(8)));

static inline sl_v128 sl_load(const void *address) {
    sl_v128 a;
    memcpy(&a, address, sizeof a);
    return a;
}
static inline void sl_store(void *address, sl_v128 a) { memcpy(address, &a, sizeof a); }

static inline sl_v128 sl_load32_zero(const void *address) {
    sl_u32x4_t a = {0};
    uint32_t value;
    memcpy(&value, address, sizeof value);
    a[0] = value;
    return (sl_v128)a;
}
static inline sl_v128 sl_load64_zero(const void *address) {
    sl_u64x2_t a = {0};
    uint64_t value;
    memcpy(&value, address, sizeof value);
    a[0] = value;
    return (sl_v128)a;
}
static inline sl_v128 sl_load32_lane(const void *address, sl_v128 a, int lane) {
    sl_u32x4_t filled = (sl_u32x4_t)a;
    uint32_t value;
    memcpy(&value, address, sizeof value);
    filled[lane] = value;
    return (sl_v128)filled;
}
static inline sl_v128 sl_load64_lane(const void *address, sl_v128 a, int lane) {
    sl_u64x2_t filled = (sl_u64x2_t)a;
    uint64_t value;
    memcpy(&value, address, sizeof value);
    filled[lane] = value;
    return (sl_v128)filled;
}
static inline void sl_store32_lane(void *address, sl_v128 a, int lane) {
    uint32_t value = ((sl_u32x4_t)a)[lane];
    memcpy(address, &value, sizeof value);
}
static inline void sl_store64_lane(void *address, sl_v128 a, int lane) {
    uint64_t value = ((sl_u64x2_t)a)[lane];
    memcpy(address, &value, sizeof value);
}

#define SL_SPLAT(name, type, element) \
    static inline sl_v128 name(element value) { return (sl_v128)((type){0} + value); }
#define SL_UNARY(name, type, expression) \
    static inline sl_v128 name(sl_v128 a_) { \
        type a = (type)a_; \
        return (sl_v128)(expression); \
    }
#define SL_BINARY(name, type, expression) \
    static inline sl_v128 name(sl_v128 a_, sl_v128 b_) { \
        type a = (type)a_, b = (type)b_; \
        return (sl_v128)(expression); \
    }
#define SL_SHIFT(name, type, operator) \
    static inline sl_v128 name(sl_v128 a, uint32_t count) { \
        return (sl_v128)((type)a operator (count % (8 * sizeof((type)a)[0]))); \
    }
#define SL_PICK(mask, yes, no) \
    (((sl_u32x4_t)(mask) & (sl_u32x4_t)(yes)) | (~(sl_u32x4_t)(mask) & (sl_u32x4_t)(no)))
#define SL_HALF(type, a, half) \
    __extension__({ \
        type half_; \
        memcpy(&half_, (const char *)&(a) + 8 * (half), sizeof half_); \
        half_; \
    })
#define SL_EXTEND(name, wide, narrow, half) \
    static inline sl_v128 name(sl_v128 a) { \
        return (sl_v128)__builtin_convertvector(SL_HALF(narrow, a, half), wide); \
    }

SL_BINARY(sl_and, sl_u32x4_t, a & b)
SL_BINARY(sl_or, sl_u32x4_t, a | b)
SL_BINARY(sl_xor, sl_u32x4_t, a ^ b)
SL_BINARY(sl_andnot, sl_u32x4_t, a & ~b)
SL_UNARY(sl_not, sl_u32x4_t, ~a)
static inline sl_v128 sl_bitselect(sl_v128 yes, sl_v128 no, sl_v128 mask) {
    return (sl_v128)SL_PICK(mask, yes, no);
}
static inline bool sl_any_true(sl_v128 a) {
    sl_u64x2_t halves = (sl_u64x2_t)a;
    return (halves[0] | halves[1]) != 0;
}

SL_SPLAT(sl_i8x16_splat, sl_i8x16_t, int8_t)
SL_BINARY(sl_i8x16_add, sl_u8x16_t, a + b)
SL_BINARY(sl_i8x16_sub, sl_u8x16_t, a - b)
SL_BINARY(sl_i8x16_eq, sl_i8x16_t, a == b)
SL_BINARY(sl_i8x16_gt, sl_i8x16_t, a > b)
SL_BINARY(sl_i8x16_ge, sl_i8x16_t, a >= b)
SL_BINARY(sl_u8x16_gt, sl_u8x16_t, a > b)
SL_BINARY(sl_u8x16_ge, sl_u8x16_t, a >= b)
SL_BINARY(sl_i8x16_min, sl_i8x16_t, SL_PICK(a < b, a, b))
SL_BINARY(sl_i8x16_max, sl_i8x16_t, SL_PICK(a > b, a, b))
SL_BINARY(sl_u8x16_min, sl_u8x16_t, SL_PICK(a < b, a, b))
SL_BINARY(sl_u8x16_max, sl_u8x16_t, SL_PICK(a > b, a, b))

static inline uint32_t sl_i8x16_bitmask(sl_v128 a) {
#if defined(__SSE2__) /* compilers do not find this one by themselves */
    return (uint32_t)__builtin_ia32_pmovmskb128((__attribute__((vector_size(16))) char)a);
#else
    /* Bit 7 of byte i times 2^(7 - 7 i), all in one multiplication: the sums meet in the top byte. */
    sl_u64x2_t top = ((sl_u64x2_t)a & 0x8080808080808080u) >> 7;
    top = (top * 0x0102040810204080u) >> 56;
    return (uint32_t)(top[0] | top[1] << 8);
#endif
}
static inline sl_v128 sl_i8x16_swizzle(sl_v128 a, sl_v128 index) {
    sl_u8x16_t at = (sl_u8x16_t)index;
#if defined(__clang__)
    sl_u8x16_t bytes = (sl_u8x16_t)a, picked;
    for (int i = 0; i < 16; i++) picked[i] = bytes[at[i] & 15];
#else
    sl_u8x16_t picked = __builtin_shuffle((sl_u8x16_t)a, at);
#endif
    return (sl_v128)(picked & (sl_u8x16_t)(at < 16));
}
#if defined(__clang__)
#define sl_i8x16_shuffle(a, b, ...) \
    ((sl_v128)__builtin_shufflevector((sl_u8x16_t)(a), (sl_u8x16_t)(b), __VA_ARGS__))
#else
#define sl_i8x16_shuffle(a, b, ...) \
    ((sl_v128)__builtin_shuffle((sl_u8x16_t)(a), (sl_u8x16_t)(b), (sl_u8x16_t){__VA_ARGS__}))
#endif

SL_SPLAT(sl_i16x8_splat, sl_i16x8_t, int16_t)
SL_BINARY(sl_i16x8_add, sl_u16x8_t, a + b)
SL_BINARY(sl_i16x8_sub, sl_u16x8_t, a - b)
SL_BINARY(sl_i16x8_mul, sl_u16x8_t, a * b)
SL_BINARY(sl_i16x8_gt, sl_i16x8_t, a > b)
SL_BINARY(sl_i16x8_min, sl_i16x8_t, SL_PICK(a < b, a, b))
SL_BINARY(sl_i16x8_max, sl_i16x8_t, SL_PICK(a > b, a, b))
SL_SHIFT(sl_i16x8_shl, sl_u16x8_t, <<)
SL_SHIFT(sl_i16x8_shr, sl_i16x8_t, >>)
SL_SHIFT(sl_u16x8_shr, sl_u16x8_t, >>)
SL_EXTEND(sl_i16x8_extend_low_i8x16, sl_i16x8_t, sl_i8x8_t, 0)
SL_EXTEND(sl_i16x8_extend_high_i8x16, sl_i16x8_t, sl_i8x8_t, 1)
SL_EXTEND(sl_u16x8_extend_low_u8x16, sl_u16x8_t, sl_u8x8_t, 0)
SL_EXTEND(sl_u16x8_extend_high_u8x16, sl_u16x8_t, sl_u8x8_t, 1)
SL_UNARY(sl_u16x8_extadd_pairwise_u8x16, sl_u16x8_t, (a & 0xff) + (a >> 8))

SL_SPLAT(sl_i32x4_splat, sl_i32x4_t, int32_t)
SL_BINARY(sl_i32x4_add, sl_u32x4_t, a + b)
SL_BINARY(sl_i32x4_sub, sl_u32x4_t, a - b)
SL_BINARY(sl_i32x4_mul, sl_u32x4_t, a * b)
SL_BINARY(sl_i32x4_eq, sl_i32x4_t, a == b)
SL_BINARY(sl_i32x4_gt, sl_i32x4_t, a > b)
SL_BINARY(sl_i32x4_lt, sl_i32x4_t, a < b)
SL_BINARY(sl_i32x4_min, sl_i32x4_t, SL_PICK(a < b, a, b))
SL_BINARY(sl_i32x4_max, sl_i32x4_t, SL_PICK(a > b, a, b))
SL_SHIFT(sl_i32x4_shl, sl_u32x4_t, <<)
SL_SHIFT(sl_i32x4_shr, sl_i32x4_t, >>)
SL_EXTEND(sl_i32x4_extend_low_i16x8, sl_i32x4_t, sl_i16x4_t, 0)
SL_EXTEND(sl_i32x4_extend_high_i16x8, sl_i32x4_t, sl_i16x4_t, 1)
SL_EXTEND(sl_u32x4_extend_low_u16x8, sl_u32x4_t, sl_u16x4_t, 0)
SL_EXTEND(sl_u32x4_extend_high_u16x8, sl_u32x4_t, sl_u16x4_t, 1)
#define sl_i32x4_extract_lane(a, lane) (((sl_i32x4_t)(a))[lane])

static inline uint32_t sl_i32x4_bitmask(sl_v128 a) {
    sl_u32x4_t top = (sl_u32x4_t)a >> 31;
    return top[0] | top[1] << 1 | top[2] << 2 | top[3] << 3;
}
static inline sl_v128 sl_i32x4_trunc_sat_f32x4(sl_v128 a) {
    sl_f32x4_t real = (sl_f32x4_t)a;
    sl_i32x4_t whole;
    for (int i = 0; i < 4; i++) {
        float value = real[i]; /* 2^31 is the least float beyond INT32_MAX */
        whole[i] = value >= 2147483648.0f ? INT32_MAX
                   : value < -2147483648.0f ? INT32_MIN
                   : value != value         ? 0
                                            : (int32_t)value;
    }
    return (sl_v128)whole;
}

/* gcc makes dozens of instructions of these loops, which would say nothing about what the sandbox
 * costs; under the sanitizers the loops stay, so that they are tested as well. */
#if defined(__SSE4_1__) && !defined(__SANITIZE_ADDRESS__)
#include <smmintrin.h>
#define SL_X86(name, operation) \
    static inline sl_v128 name(sl_v128 a, sl_v128 b) { \
        return (sl_v128)operation((__m128i)a, (__m128i)b); \
    }
SL_X86(sl_i8x16_narrow_i16x8, _mm_packs_epi16)
SL_X86(sl_u8x16_narrow_i16x8, _mm_packus_epi16)
SL_X86(sl_i16x8_narrow_i32x4, _mm_packs_epi32)
SL_X86(sl_i32x4_dot_i16x8, _mm_madd_epi16)
static inline sl_v128 sl_i16x8_q15mulr_sat(sl_v128 a, sl_v128 b) {
    __m128i product = _mm_mulhrs_epi16((__m128i)a, (__m128i)b); /* does not saturate -1 * -1 */
    return (sl_v128)_mm_xor_si128(product, _mm_cmpeq_epi16(product, _mm_set1_epi16(INT16_MIN)));
}
#undef SL_X86
#else
static inline sl_v128 sl_i8x16_narrow_i16x8(sl_v128 a, sl_v128 b) {
    sl_i8x16_t narrow;
    sl_i16x8_t low = (sl_i16x8_t)a, high = (sl_i16x8_t)b;
    for (int i = 0; i < 16; i++) {
        int value = i < 8 ? low[i & 7] : high[i & 7];
        narrow[i] = (int8_t)(value < INT8_MIN ? INT8_MIN : value > INT8_MAX ? INT8_MAX : value);
    }
    return (sl_v128)narrow;
}
static inline sl_v128 sl_u8x16_narrow_i16x8(sl_v128 a, sl_v128 b) {
    sl_u8x16_t narrow;
    sl_i16x8_t low = (sl_i16x8_t)a, high = (sl_i16x8_t)b;
    for (int i = 0; i < 16; i++) {
        int value = i < 8 ? low[i & 7] : high[i & 7];
        narrow[i] = (uint8_t)(value < 0 ? 0 : value > UINT8_MAX ? UINT8_MAX : value);
    }
    return (sl_v128)narrow;
}
static inline sl_v128 sl_i16x8_q15mulr_sat(sl_v128 a, sl_v128 b) {
    sl_i16x8_t x = (sl_i16x8_t)a, y = (sl_i16x8_t)b, product;
    for (int i = 0; i < 8; i++) {
        int32_t value = (x[i] * y[i] + 0x4000) >> 15;
        product[i] = (int16_t)(value > INT16_MAX ? INT16_MAX : value);
    }
    return (sl_v128)product;
}
static inline sl_v128 sl_i16x8_narrow_i32x4(sl_v128 a, sl_v128 b) {
    sl_i16x8_t narrow;
    sl_i32x4_t low = (sl_i32x4_t)a, high = (sl_i32x4_t)b;
    for (int i = 0; i < 8; i++) {
        int32_t value = i < 4 ? low[i & 3] : high[i & 3];
        narrow[i] = (int16_t)(value < INT16_MIN ? INT16_MIN : value > INT16_MAX ? INT16_MAX : value);
    }
    return (sl_v128)narrow;
}
static inline sl_v128 sl_i32x4_dot_i16x8(sl_v128 a, sl_v128 b) {
    sl_i16x8_t x = (sl_i16x8_t)a, y = (sl_i16x8_t)b;
    sl_u32x4_t sums;
    for (int i = 0; i < 4; i++) {
        sums[i] = (uint32_t)(x[2 * i] * y[2 * i]) + (uint32_t)(x[2 * i + 1] * y[2 * i + 1]);
    }
    return (sl_v128)sums;
}
#endif

static inline sl_v128 sl_f32x4_splat(float value) {
    return (sl_v128)(sl_f32x4_t){value, value, value, value}; /* 0 + value would lose -0 */
}
SL_BINARY(sl_f32x4_add, sl_f32x4_t, a + b)
SL_BINARY(sl_f32x4_sub, sl_f32x4_t, a - b)
SL_BINARY(sl_f32x4_mul, sl_f32x4_t, a * b)
SL_BINARY(sl_f32x4_div, sl_f32x4_t, a / b)
SL_BINARY(sl_f32x4_eq, sl_f32x4_t, a == b)
SL_BINARY(sl_f32x4_ne, sl_f32x4_t, a != b)
SL_BINARY(sl_f32x4_lt, sl_f32x4_t, a < b)
SL_BINARY(sl_f32x4_le, sl_f32x4_t, a <= b)
SL_BINARY(sl_f32x4_gt, sl_f32x4_t, a > b)
SL_BINARY(sl_f32x4_ge, sl_f32x4_t, a >= b)
SL_BINARY(sl_f32x4_pmin, sl_f32x4_t, SL_PICK(b < a, b, a))
SL_BINARY(sl_f32x4_pmax, sl_f32x4_t, SL_PICK(a < b, b, a))
/* Equal numbers differ in the sign of zero at most; a + b is NaN where either is. */
SL_BINARY(sl_f32x4_min, sl_f32x4_t,
          SL_PICK(a < b, a, SL_PICK(b < a, b, SL_PICK(a == b, sl_or(a_, b_), a + b))))
SL_BINARY(sl_f32x4_max, sl_f32x4_t,
          SL_PICK(a > b, a, SL_PICK(b > a, b, SL_PICK(a == b, sl_and(a_, b_), a + b))))
SL_UNARY(sl_f32x4_abs, sl_u32x4_t, a & 0x7fffffffu)
SL_UNARY(sl_f32x4_neg, sl_u32x4_t, a ^ 0x80000000u)
static inline sl_v128 sl_f32x4_convert_i32x4(sl_v128 a) {
    return (sl_v128)__builtin_convertvector((sl_i32x4_t)a, sl_f32x4_t);
}
#define sl_f32x4_extract_lane(a, lane) (((sl_f32x4_t)(a))[lane])

#undef SL_SPLAT
#undef SL_PICK
#undef SL_HALF
#undef SL_UNARY
#undef SL_BINARY
#undef SL_SHIFT
#undef SL_EXTEND

#endif

#endif
