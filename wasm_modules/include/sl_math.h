/* sl_math.h: the exponential function, four lanes at a time. There is no libm in a guest, and one
 * sequence of IEEE operations gives the same bits on every machine, which a libm would not.
 */
#ifndef SL_MATH_H
#define SL_MATH_H

#include "sl_simd.h"

/* e^x within 1 ulp, subnormal results included; inf above 88.72, 0 below -103.97, NaN for NaN.
 *
 * x = n ln 2 + r with |r| <= ln(2)/2, ln 2 in two parts so that n times the first is exact; e^r by a
 * polynomial (Cephes, expf); 2^n in two factors, since n may be past either end of the exponents.
 */
static inline sl_v128 sl_exp_f32x4(sl_v128 x) {
    const sl_v128 round = sl_f32x4_splat(12582912.0f); /* 1.5 * 2^23: its low bits become n */
    x = sl_f32x4_pmax(x, sl_f32x4_splat(-104.0f));
    x = sl_f32x4_pmin(x, sl_f32x4_splat(89.0f));
    sl_v128 shifted = sl_f32x4_add(sl_f32x4_mul(x, sl_f32x4_splat(1.44269504f)), round);
    sl_v128 n = sl_f32x4_sub(shifted, round);
    sl_v128 r = sl_f32x4_sub(x, sl_f32x4_mul(n, sl_f32x4_splat(0.693359375f)));
    r = sl_f32x4_add(r, sl_f32x4_mul(n, sl_f32x4_splat(2.12194440e-4f)));

    sl_v128 p = sl_f32x4_splat(1.9875691500e-4f);
    p = sl_f32x4_add(sl_f32x4_mul(p, r), sl_f32x4_splat(1.3981999507e-3f));
    p = sl_f32x4_add(sl_f32x4_mul(p, r), sl_f32x4_splat(8.3334519073e-3f));
    p = sl_f32x4_add(sl_f32x4_mul(p, r), sl_f32x4_splat(4.1665795894e-2f));
    p = sl_f32x4_add(sl_f32x4_mul(p, r), sl_f32x4_splat(1.6666665459e-1f));
    p = sl_f32x4_add(sl_f32x4_mul(p, r), sl_f32x4_splat(5.0000001201e-1f));
    p = sl_f32x4_add(sl_f32x4_mul(p, sl_f32x4_mul(r, r)), r);
    p = sl_f32x4_add(p, sl_f32x4_splat(1.0f));

    const sl_v128 one = sl_i32x4_splat(127 << 23);
    sl_v128 whole = sl_i32x4_sub(shifted, round); /* n as an integer: both have the same exponent */
    sl_v128 half = sl_i32x4_shr(whole, 1);
    sl_v128 rest = sl_i32x4_sub(whole, half);
    p = sl_f32x4_mul(p, sl_i32x4_add(sl_i32x4_shl(half, 23), one));
    return sl_f32x4_mul(p, sl_i32x4_add(sl_i32x4_shl(rest, 23), one));
}

/* The same for one number: the same bits as in a lane. */
static inline float sl_exp(float x) {
    float lanes[4];
    sl_store(lanes, sl_exp_f32x4(sl_f32x4_splat(x)));
    return lanes[0];
}

#endif
