/* sl_resize.h: bilinear resize of 8-bit pictures in fixed point, a row at a time.
 *
 * Output i of an axis lies at (i + 1/2) * from / to - 1/2 of the source (half-pixel centres), held to
 * the picture: between elements `at` and `at` + 1, with a weight of 15 bits for the second. With
 * q(d, w) = (d * w + 2^14) >> 15 a pixel is, first along the columns, then along the rows,
 *
 *     v(a, b, w) = a * 2^7 + 2^6 + q((b - a) * 2^7, w)
 *     p          = (v0 + q(v1 - v0, w)) >> 7
 *
 * with 7 bits below the point in between, all within 16 bits. That is within 1/50 of exact before it
 * is rounded, and the same on every machine. Short cuts below are for weights that make them equal
 * to this formula bit for bit.
 */
#ifndef SL_RESIZE_H
#define SL_RESIZE_H

#include "sanderling.h"
#include "sl_simd.h"

/* A loop over a row is a function of its own: with everything in one function the registers run out,
 * and each step of each loop loads the base of the memory from the stack. */
#define RESIZE_KERNEL static __attribute__((noinline))

enum {
    RESIZE_PAD = 64,     /* bytes after each scratch buffer: vectors write and read past the end */
    RESIZE_TO_MAX = 8192 /* pixels of an output axis */
};

enum resize_way {
    RESIZE_BILINEAR,
    RESIZE_GATHER,  /* the same for colour, made more than 3 times narrower: most columns go unread */
    RESIZE_HALVE,   /* exactly by 2 on both axes: the mean of 4 */
    RESIZE_NEAREST, /* by odd whole numbers: every weight is 0 */
    RESIZE_COPY,    /* a nearest that takes each column */
};

typedef struct resize {
    uint32_t channels; /* 3: a row comes out as pixels of 4 bytes, B G R and rubbish; 1: of 1 byte */
    uint32_t from_width, from_height, to_width, to_height;
    enum resize_way way;
    uint32_t *column; /* byte offset of the left pixel in `blended`; else in the source row */
    int16_t *column_weight; /* 4 a pixel where channels is 3, else 1 */
    uint32_t *row;          /* the upper source row */
    int16_t *row_weight;
    int16_t *blended; /* two source rows made one, 7 bits below the point */
    uint8_t *picked;  /* the row that comes out */
} resize;

/* Output `i` of an axis: the element before it, and the weight of the one behind it. */
static inline uint32_t resize_place(uint32_t i, uint32_t from, uint32_t to, int16_t *weight) {
    int64_t twice = (2 * (int64_t)i + 1) * from - to; /* the place times 2 * to */
    *weight = 0;
    if (twice <= 0) return 0;
    uint64_t whole = (uint64_t)twice / (2 * to), rest = (uint64_t)twice % (2 * to);
    if (whole >= from - 1) return from - 1;
    *weight = (int16_t)((rest * 32768 + to) / (2 * to)); /* below 2^15 as long as `to` is */
    return (uint32_t)whole;
}

static inline enum resize_way resize_choose(const resize *r) {
    uint32_t x = r->from_width / r->to_width, y = r->from_height / r->to_height;
    bool whole = x * r->to_width == r->from_width && y * r->to_height == r->from_height;
    if (whole && x == 2 && y == 2 && r->to_width >= 16) return RESIZE_HALVE;
    if (whole && x == 1 && y % 2 && r->to_width >= 16) return RESIZE_COPY;
    if (whole && x % 2 && x > 1 && y % 2) return RESIZE_NEAREST;
    bool narrower = (uint64_t)r->to_width * 3 < r->from_width;
    return r->channels == 3 && narrower ? RESIZE_GATHER : RESIZE_BILINEAR;
}

/* Fill the tables for the sizes that are set. */
static inline void resize_prepare(resize *r) {
    r->way = resize_choose(r);
    uint32_t bytes = r->channels * (r->way == RESIZE_BILINEAR ? sizeof *r->blended : 1);
    uint32_t copies = r->channels == 3 ? 4 : 1;
    int16_t *weight = r->column_weight;
    for (uint32_t i = 0; i < r->to_width; i++, weight += copies) {
        r->column[i] = bytes * resize_place(i, r->from_width, r->to_width, weight);
        for (uint32_t j = 1; j < copies; j++) weight[j] = weight[0];
    }
    for (uint32_t i = r->to_width; i % 8; i++) r->column[i] = 0; /* steps are of up to 8 pixels */
    for (uint32_t i = 0; i < r->to_height; i++)
        r->row[i] = resize_place(i, r->from_height, r->to_height, &r->row_weight[i]);
}

/* ---- bilinear -------------------------------------------------------------------------------- */

static inline sl_v128 resize_between(sl_v128 a, sl_v128 b, sl_v128 weight) {
    return sl_i16x8_add(a, sl_i16x8_q15mulr_sat(sl_i16x8_sub(b, a), weight));
}

/* Put 8 elements between two rows: those at the low or the high end of 16. A byte above 0x80, halved,
 * is the byte * 2^7 + 2^6. */
static inline sl_v128 resize_blend_low(sl_v128 a, sl_v128 b, sl_v128 weight) {
    const sl_v128 half = sl_i8x16_splat(-128);
#define RESIZE_LOW(x) \
    sl_u16x8_shr(sl_i8x16_shuffle(half, x, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), 1)
    return resize_between(RESIZE_LOW(a), RESIZE_LOW(b), weight);
#undef RESIZE_LOW
}
static inline sl_v128 resize_blend_high(sl_v128 a, sl_v128 b, sl_v128 weight) {
    const sl_v128 half = sl_i8x16_splat(-128);
#define RESIZE_HIGH(x) \
    sl_u16x8_shr( \
        sl_i8x16_shuffle(half, x, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), 1)
    return resize_between(RESIZE_HIGH(a), RESIZE_HIGH(b), weight);
#undef RESIZE_HIGH
}

static inline void resize_blend16(int16_t *out, const uint8_t *a, const uint8_t *b, sl_v128 weight) {
    sl_v128 upper = sl_load(a), lower = sl_load(b);
    sl_store(out, resize_blend_low(upper, lower, weight));
    sl_store(out + 8, resize_blend_high(upper, lower, weight));
}

RESIZE_KERNEL void resize_blend(int16_t *out, const uint8_t *a, const uint8_t *b, uint32_t n,
                                int16_t weight) {
    const sl_v128 weights = sl_i16x8_splat(weight);
    if (n < 16) {
        for (uint32_t i = 0; i < n; i++)
            out[i] = (int16_t)(a[i] * 128 + 64 + (((b[i] - a[i]) * 128 * weight + 0x4000) >> 15));
        return;
    }
    uint32_t i = 0;
    for (; i + 32 <= n; i += 32) {
        resize_blend16(out + i, a + i, b + i, weights);
        resize_blend16(out + i + 16, a + i + 16, b + i + 16, weights);
    }
    if (i + 16 <= n) resize_blend16(out + i, a + i, b + i, weights);
    resize_blend16(out + n - 16, a + n - 16, b + n - 16, weights); /* the end, some of it again */
}

/* Two pixels of colour out of a blended row: B G R and rubbish, twice. */
static inline sl_v128 resize_two(const uint8_t *blended, const uint32_t *column,
                                 const int16_t *weight) {
    const uint8_t *p = blended + column[0], *q = blended + column[1];
    sl_v128 left = sl_load64_lane(q, sl_load64_zero(p), 1);
    sl_v128 right = sl_load64_lane(q + 6, sl_load64_zero(p + 6), 1);
    return sl_u16x8_shr(resize_between(left, right, sl_load(weight)), 7);
}

RESIZE_KERNEL void resize_across_colour(const resize *r) {
    const uint8_t *blended = (const uint8_t *)r->blended;
    const uint32_t *column = r->column;
    const int16_t *weight = r->column_weight;
    for (uint32_t i = 0; i < r->to_width; i += 8, column += 8, weight += 32) {
        sl_v128 a = resize_two(blended, column, weight);
        sl_v128 b = resize_two(blended, column + 2, weight + 8);
        sl_store(r->picked + 4 * i, sl_u8x16_narrow_i16x8(a, b));
        sl_v128 c = resize_two(blended, column + 4, weight + 16);
        sl_v128 d = resize_two(blended, column + 6, weight + 24);
        sl_store(r->picked + 4 * i + 16, sl_u8x16_narrow_i16x8(c, d));
    }
}

/* Two pixels and those behind them, from a source row: the two left ones, then the two right ones.
 * Of 8 bytes 6 are of use; the row has 2 more where over 3 columns make one. */
static inline sl_v128 resize_four(const uint8_t *from, const uint32_t *column) {
    sl_v128 x = sl_load64_lane(from + column[1], sl_load64_zero(from + column[0]), 1);
    return sl_i8x16_shuffle(x, x, 0, 1, 2, 2, 8, 9, 10, 10, 3, 4, 5, 5, 11, 12, 13, 13);
}

static inline sl_v128 resize_gather2(const uint8_t *a, const uint8_t *b, const uint32_t *column,
                                     const int16_t *weight, sl_v128 row_weight) {
    sl_v128 upper = resize_four(a, column), lower = resize_four(b, column);
    sl_v128 left = resize_blend_low(upper, lower, row_weight);
    sl_v128 right = resize_blend_high(upper, lower, row_weight);
    return sl_u16x8_shr(resize_between(left, right, sl_load(weight)), 7);
}

RESIZE_KERNEL void resize_gather(const resize *r, const uint8_t *a, const uint8_t *b, int16_t weight) {
    const sl_v128 weights = sl_i16x8_splat(weight);
    const uint32_t *column = r->column;
    const int16_t *across = r->column_weight;
    for (uint32_t i = 0; i < r->to_width; i += 4, column += 4, across += 16) {
        sl_v128 first = resize_gather2(a, b, column, across, weights);
        sl_v128 second = resize_gather2(a, b, column + 2, across + 8, weights);
        sl_store(r->picked + 4 * i, sl_u8x16_narrow_i16x8(first, second));
    }
}

/* Four pixels of grey, each with the one behind it. */
static inline sl_v128 resize_pairs(const uint8_t *blended, const uint32_t *column) {
    sl_v128 pairs = sl_load32_zero(blended + column[0]);
    pairs = sl_load32_lane(blended + column[1], pairs, 1);
    pairs = sl_load32_lane(blended + column[2], pairs, 2);
    return sl_load32_lane(blended + column[3], pairs, 3);
}

RESIZE_KERNEL void resize_across_grey(const resize *r) {
    const uint8_t *blended = (const uint8_t *)r->blended;
    for (uint32_t i = 0; i < r->to_width; i += 8) {
        sl_v128 a = resize_pairs(blended, r->column + i), b = resize_pairs(blended, r->column + i + 4);
        sl_v128 left = sl_i8x16_shuffle(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29);
        sl_v128 right =
            sl_i8x16_shuffle(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
        sl_v128 grey = sl_u16x8_shr(resize_between(left, right, sl_load(r->column_weight + i)), 7);
        sl_store64_lane(r->picked + i, sl_u8x16_narrow_i16x8(grey, grey), 0);
    }
}

/* ---- by whole numbers ------------------------------------------------------------------------ */

/* Sums of two neighbours in each of two rows, made means of 4. */
static inline sl_v128 resize_mean(sl_v128 upper, sl_v128 lower) {
    sl_v128 sums = sl_i16x8_add(sl_u16x8_extadd_pairwise_u8x16(upper),
                                sl_u16x8_extadd_pairwise_u8x16(lower));
    return sl_u16x8_shr(sl_i16x8_add(sums, sl_i16x8_splat(2)), 2);
}

/* Four pixels of colour from 24 bytes of each row, of which neither more nor less is read. */
static inline void resize_halve4(uint8_t *out, const uint8_t *a, const uint8_t *b) {
#define RESIZE_FIRST(x) \
    sl_i8x16_shuffle(x, x, 0, 3, 1, 4, 2, 5, 2, 5, 6, 9, 7, 10, 8, 11, 8, 11)
#define RESIZE_SECOND(x) \
    sl_i8x16_shuffle(x, x, 4, 7, 5, 8, 6, 9, 6, 9, 10, 13, 11, 14, 12, 15, 12, 15)
    sl_v128 a0 = sl_load(a), a1 = sl_load(a + 8), b0 = sl_load(b), b1 = sl_load(b + 8);
    sl_v128 first = resize_mean(RESIZE_FIRST(a0), RESIZE_FIRST(b0));
    sl_v128 second = resize_mean(RESIZE_SECOND(a1), RESIZE_SECOND(b1));
    sl_store(out, sl_u8x16_narrow_i16x8(first, second));
#undef RESIZE_FIRST
#undef RESIZE_SECOND
}

RESIZE_KERNEL void resize_halve_colour(uint8_t *out, const uint8_t *a, const uint8_t *b, uint32_t n) {
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        resize_halve4(out + 4 * i, a + 6 * i, b + 6 * i);
        resize_halve4(out + 4 * i + 16, a + 6 * i + 24, b + 6 * i + 24);
    }
    for (; i < n; i += 4) {
        i = i + 4 <= n ? i : n - 4;
        resize_halve4(out + 4 * i, a + 6 * i, b + 6 * i);
    }
}

RESIZE_KERNEL void resize_halve_grey(uint8_t *out, const uint8_t *a, const uint8_t *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 16) {
        i = i + 16 <= n ? i : n - 16;
        sl_v128 first = resize_mean(sl_load(a + 2 * i), sl_load(b + 2 * i));
        sl_v128 second = resize_mean(sl_load(a + 2 * i + 16), sl_load(b + 2 * i + 16));
        sl_store(out + i, sl_u8x16_narrow_i16x8(first, second));
    }
}

/* The byte behind each pixel is read with it: a factor of 3 or more leaves one at the row's end. */
RESIZE_KERNEL void resize_nearest(const resize *r, const uint8_t *from) {
    uint8_t *to = r->picked;
    if (r->channels == 1) {
        for (uint32_t i = 0; i < r->to_width; i += 8)
            for (uint32_t j = 0; j < 8; j++) to[i + j] = from[r->column[i + j]];
        return;
    }
    for (uint32_t i = 0; i < r->to_width; i += 8)
        for (uint32_t j = 0; j < 8; j++)
            __builtin_memcpy(to + 4 * (i + j), from + r->column[i + j], 4);
}

/* Four pixels of 3 bytes to 4 bytes, from the first 12 of 16 bytes or from the last. */
static inline void resize_copy_first(uint8_t *out, const uint8_t *from) {
    sl_v128 x = sl_load(from);
    sl_store(out, sl_i8x16_shuffle(x, x, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11));
}
static inline void resize_copy_last(uint8_t *out, const uint8_t *from) {
    sl_v128 x = sl_load(from);
    sl_store(out, sl_i8x16_shuffle(x, x, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12, 12, 13, 14, 15, 15));
}

/* n is at least 16. */
RESIZE_KERNEL void resize_copy_colour(uint8_t *out, const uint8_t *from, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 16) {
        i = i + 16 <= n ? i : n - 16; /* the end, some of it again */
        for (uint32_t j = 0; j < 12; j += 4)
            resize_copy_first(out + 4 * (i + j), from + 3 * (i + j));
        resize_copy_last(out + 4 * (i + 12), from + 3 * (i + 12) - 4);
    }
}

/* Row `y` of the resized picture; it holds until the next call. */
static inline uint8_t *resize_row(const resize *r, const uint8_t *frame, uint32_t stride,
                                  uint32_t y) {
    const uint8_t *upper = frame + (size_t)r->row[y] * stride;
    const uint8_t *lower = r->row_weight[y] ? upper + stride : upper;
    bool colour = r->channels == 3;
    switch (r->way) {
    case RESIZE_COPY:
        if (colour) resize_copy_colour(r->picked, upper, r->to_width);
        else __builtin_memcpy(r->picked, upper, r->to_width);
        break;
    case RESIZE_NEAREST: resize_nearest(r, upper); break;
    case RESIZE_HALVE:
        if (colour) resize_halve_colour(r->picked, upper, lower, r->to_width);
        else resize_halve_grey(r->picked, upper, lower, r->to_width);
        break;
    case RESIZE_GATHER: resize_gather(r, upper, lower, r->row_weight[y]); break;
    case RESIZE_BILINEAR:
        resize_blend(r->blended, upper, lower, r->from_width * r->channels, r->row_weight[y]);
        if (colour) resize_across_colour(r);
        else resize_across_grey(r);
        break;
    }
    return r->picked;
}

#endif
