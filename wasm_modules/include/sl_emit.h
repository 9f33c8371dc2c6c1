/* sl_emit.h: a row of 8-bit pixels in the layout, order and element type that a model takes.
 *
 * First the bytes are put in order (planes, pixels or grey), straight into the image where it holds
 * them as they are, else into a scratch row. Then they are mapped, with p the byte:
 *
 *     f32      (p - mean) * (1 / std), each step rounded to float32
 *     u8, i8   clamp(round(that / scale) + zero_point), halves to even, as ONNX QuantizeLinear does;
 *              256 values a channel, computed once
 */
#ifndef SL_EMIT_H
#define SL_EMIT_H

#include "sanderling.h"
#include "sl_simd.h"

#define EMIT_KERNEL static __attribute__((noinline)) /* as RESIZE_KERNEL */

enum emit_map {
    EMIT_SAME,
    EMIT_FLIP,  /* i8 with 128 taken off */
    EMIT_TABLE,
    EMIT_FLOAT,
};

typedef struct emitter {
    uint32_t width, height; /* of the image */
    uint32_t channels;      /* 3, or 1 for grey */
    bool planar, rgb;
    enum emit_map map;
    float mean[3], inverse[3]; /* a channel of the image */
    uint8_t table[3][256];
    uint8_t *scratch; /* a row of the image, in order but not yet mapped */
} emitter;

/* ---- values ---------------------------------------------------------------------------------- */

static inline float emit_real(const emitter *e, uint32_t channel, uint32_t byte) {
    return ((float)byte - e->mean[channel]) * e->inverse[channel];
}

/* Fill the tables, and see which map they amount to. */
static inline void emit_quantize(emitter *e, float scale, int32_t zero_point, bool is_signed) {
    const int32_t least = is_signed ? -128 : 0;
    const float whole = 12582912.0f; /* 1.5 * 2^23: adding it rounds to integers, halves to even */
    bool same = true, flip = true;
    for (uint32_t c = 0; c < e->channels; c++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            float steps = emit_real(e, c, byte) / scale;
            steps = steps < 1000.0f ? steps : 1000.0f; /* beyond any zero point; holds for NaN too */
            steps = steps > -1000.0f ? steps : -1000.0f;
            int32_t stored = (int32_t)((steps + whole) - whole) + zero_point;
            stored = stored < least ? least : stored > least + 255 ? least + 255 : stored;
            e->table[c][byte] = (uint8_t)stored;
            same = same && e->table[c][byte] == byte;
            flip = flip && e->table[c][byte] == (byte ^ 0x80);
        }
    }
    e->map = same ? EMIT_SAME : flip ? EMIT_FLIP : EMIT_TABLE;
}

/* Elements whose channels follow each other with this period: 1 within a plane, 3 in pixels. */
EMIT_KERNEL void emit_floats(const emitter *e, float *out, const uint8_t *bytes, uint32_t n,
                               uint32_t channel, uint32_t period) {
    float mean[12], inverse[12];
    for (uint32_t i = 0; i < 12; i++) {
        mean[i] = e->mean[channel + i % period];
        inverse[i] = e->inverse[channel + i % period];
    }
    sl_v128 means[3], inverses[3];
    for (uint32_t i = 0; i < 3; i++) {
        means[i] = sl_load(mean + 4 * i);
        inverses[i] = sl_load(inverse + 4 * i);
    }
    uint32_t i = 0;
    for (; i + 12 <= n; i += 12) {
        sl_v128 x = sl_load(bytes + i);
        sl_v128 low = sl_u16x8_extend_low_u8x16(x), high = sl_u16x8_extend_high_u8x16(x);
        sl_v128 parts[3] = {sl_u32x4_extend_low_u16x8(low), sl_u32x4_extend_high_u16x8(low),
                            sl_u32x4_extend_low_u16x8(high)};
        for (uint32_t j = 0; j < 3; j++) {
            sl_v128 from_mean = sl_f32x4_sub(sl_f32x4_convert_i32x4(parts[j]), means[j]);
            sl_store(out + i + 4 * j, sl_f32x4_mul(from_mean, inverses[j]));
        }
    }
    for (; i < n; i++) out[i] = emit_real(e, channel + i % period, bytes[i]);
}

EMIT_KERNEL void emit_table(const emitter *e, uint8_t *out, const uint8_t *bytes, uint32_t n,
                              uint32_t channel, uint32_t period) {
    const uint8_t *a = e->table[channel], *b = e->table[channel + 1 % period],
                  *c = e->table[channel + 2 % period];
    uint32_t i = 0;
    for (; i + 12 <= n; i += 12)
        for (uint32_t j = 0; j < 12; j += 3) {
            out[i + j] = a[bytes[i + j]];
            out[i + j + 1] = b[bytes[i + j + 1]];
            out[i + j + 2] = c[bytes[i + j + 2]];
        }
    for (; i < n; i++) out[i] = e->table[channel + i % period][bytes[i]];
}

EMIT_KERNEL void emit_flip(uint8_t *out, const uint8_t *bytes, uint32_t n) {
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16)
        sl_store(out + i, sl_xor(sl_load(bytes + i), sl_i8x16_splat(-128)));
    for (; i < n; i++) out[i] = bytes[i] ^ 0x80;
}

/* ---- order ----------------------------------------------------------------------------------- */

/* All of these read whole vectors of `row`, and write no more than n pixels. */

/* 16 pixels of 4 bytes to 16 bytes of each channel. */
static inline void emit_planes16(uint8_t *b, uint8_t *g, uint8_t *r, const uint8_t *row) {
    sl_v128 part[4];
    for (uint32_t i = 0; i < 4; i++) { /* B B B B G G G G R R R R and rubbish */
        sl_v128 x = sl_load(row + 16 * i);
        part[i] = sl_i8x16_shuffle(x, x, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    }
#define EMIT_LOW32(x, y) \
    sl_i8x16_shuffle(x, y, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23)
#define EMIT_HIGH32(x, y) \
    sl_i8x16_shuffle(x, y, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31)
#define EMIT_LOW64(x, y) \
    sl_i8x16_shuffle(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define EMIT_HIGH64(x, y) \
    sl_i8x16_shuffle(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
    sl_v128 bg0 = EMIT_LOW32(part[0], part[1]), bg1 = EMIT_LOW32(part[2], part[3]);
    sl_v128 r0 = EMIT_HIGH32(part[0], part[1]), r1 = EMIT_HIGH32(part[2], part[3]);
    sl_store(b, EMIT_LOW64(bg0, bg1));
    sl_store(g, EMIT_HIGH64(bg0, bg1));
    sl_store(r, EMIT_LOW64(r0, r1));
#undef EMIT_LOW32
#undef EMIT_HIGH32
#undef EMIT_LOW64
#undef EMIT_HIGH64
}

EMIT_KERNEL void emit_planes(uint8_t *b, uint8_t *g, uint8_t *r, const uint8_t *row, uint32_t n) {
    if (n < 16) {
        for (uint32_t i = 0; i < n; i++) {
            b[i] = row[4 * i];
            g[i] = row[4 * i + 1];
            r[i] = row[4 * i + 2];
        }
        return;
    }
    for (uint32_t i = 0; i < n; i += 16) {
        i = i + 16 <= n ? i : n - 16; /* the end, some of it again */
        emit_planes16(b + i, g + i, r + i, row + 4 * i);
    }
}

/* Four pixels to 3 bytes each. Stores 16 bytes, of which the last 4 are rubbish. */
static inline void emit_pixels4(uint8_t *out, const uint8_t *row, bool rgb) {
    sl_v128 x = sl_load(row);
    if (rgb) x = sl_i8x16_shuffle(x, x, 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 3, 3, 3, 3);
    else x = sl_i8x16_shuffle(x, x, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 3, 3, 3);
    sl_store(out, x);
}

static inline void emit_pixels_in(uint8_t *out, const uint8_t *row, uint32_t n, bool rgb) {
    uint32_t i = 0;
    for (; i + 18 <= n; i += 16)
        for (uint32_t j = 0; j < 16; j += 4)
            emit_pixels4(out + 3 * (i + j), row + 4 * (i + j), rgb);
    for (; i + 6 <= n; i += 4) emit_pixels4(out + 3 * i, row + 4 * i, rgb);
    for (; i < n; i++) {
        out[3 * i] = row[4 * i + (rgb ? 2 : 0)];
        out[3 * i + 1] = row[4 * i + 1];
        out[3 * i + 2] = row[4 * i + (rgb ? 0 : 2)];
    }
}

EMIT_KERNEL void emit_pixels(uint8_t *out, const uint8_t *row, uint32_t n, bool rgb) {
    if (rgb) emit_pixels_in(out, row, n, true);
    else emit_pixels_in(out, row, n, false);
}

/* ITU-R BT.601 in 15 bits, as OpenCV has it; the weights add up to 2^15. */
enum { EMIT_BLUE = 3735, EMIT_GREEN = 19235, EMIT_RED = 9798 };

/* Four pixels of 4 bytes to 4 sums. */
static inline sl_v128 emit_grey4(const uint8_t *row) {
    const int16_t weights[8] = {EMIT_BLUE, EMIT_GREEN, EMIT_RED, 0, EMIT_BLUE, EMIT_GREEN, EMIT_RED, 0};
    sl_v128 x = sl_load(row), w = sl_load(weights);
    sl_v128 low = sl_i32x4_dot_i16x8(sl_u16x8_extend_low_u8x16(x), w);
    sl_v128 high = sl_i32x4_dot_i16x8(sl_u16x8_extend_high_u8x16(x), w);
    sl_v128 blue_green =
        sl_i8x16_shuffle(low, high, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    sl_v128 red =
        sl_i8x16_shuffle(low, high, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    sl_v128 sums = sl_i32x4_add(sl_i32x4_add(blue_green, red), sl_i32x4_splat(1 << 14));
    return sl_i32x4_shr(sums, 15);
}

EMIT_KERNEL void emit_grey(uint8_t *out, const uint8_t *row, uint32_t n) {
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16, row += 64) {
        sl_v128 low = sl_i16x8_narrow_i32x4(emit_grey4(row), emit_grey4(row + 16));
        sl_v128 high = sl_i16x8_narrow_i32x4(emit_grey4(row + 32), emit_grey4(row + 48));
        sl_store(out + i, sl_u8x16_narrow_i16x8(low, high));
    }
    for (; i < n; i++, row += 4)
        out[i] = (uint8_t)(
            (row[0] * EMIT_BLUE + row[1] * EMIT_GREEN + row[2] * EMIT_RED + (1 << 14)) >> 15);
}

/* Grey to pixels of 4 bytes, from the end, so that the two may begin at one address. */
EMIT_KERNEL void emit_colour_from_grey(uint8_t *row, uint32_t n) {
    for (uint32_t i = (n + 3) / 4 * 4; i; i -= 4) {
        sl_v128 x = sl_load32_zero(row + i - 4);
        sl_store(row + 4 * (i - 4),
                 sl_i8x16_shuffle(x, x, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Map n pixels in order at `bytes` (planes n bytes apart) to column x of row y of the image. */
static inline void emit_mapped(const emitter *e, void *image, const uint8_t *bytes, uint32_t x,
                               uint32_t y, uint32_t n) {
    bool planes = e->planar && e->channels == 3;
    uint32_t period = planes ? 1 : e->channels, count = n * period;
    for (uint32_t c = 0; c < (planes ? 3 : 1); c++, bytes += n) {
        size_t first = ((size_t)(c * e->height + y) * e->width + x) * period;
        switch (e->map) {
        case EMIT_SAME: __builtin_memcpy((uint8_t *)image + first, bytes, count); break;
        case EMIT_FLIP: emit_flip((uint8_t *)image + first, bytes, count); break;
        case EMIT_TABLE: emit_table(e, (uint8_t *)image + first, bytes, count, c, period); break;
        case EMIT_FLOAT: emit_floats(e, (float *)image + first, bytes, count, c, period); break;
        }
    }
}

/* A row as sl_resize.h makes it, of pixels of 4 bytes or of grey, to the same place. */
static inline void emit_row(const emitter *e, void *image, uint8_t *row, bool colour, uint32_t x,
                            uint32_t y, uint32_t n) {
    bool straight = e->map == EMIT_SAME, planes = e->planar && e->channels == 3;
    size_t plane = straight ? (size_t)e->width * e->height : n;
    uint8_t *out = e->scratch;
    if (straight) out = (uint8_t *)image + ((size_t)y * e->width + x) * (planes ? 1 : e->channels);
    if (e->channels == 1) {
        if (colour) emit_grey(out, row, n);
        else __builtin_memcpy(out, row, n);
    } else {
        if (!colour) emit_colour_from_grey(row, n);
        if (planes) emit_planes(e->rgb ? out + 2 * plane : out, out + plane,
                                e->rgb ? out : out + 2 * plane, row, n);
        else emit_pixels(out, row, n, e->rgb);
    }
    if (!straight) emit_mapped(e, image, out, x, y, n);
}

/* The whole image in one value of a pixel. */
static inline void emit_fill(const emitter *e, void *image, uint8_t byte) {
    size_t elements = (size_t)e->width * e->height * e->channels;
    if (e->map == EMIT_SAME) {
        __builtin_memset(image, byte, elements);
        return;
    }
    __builtin_memset(e->scratch, byte, (size_t)e->width * e->channels);
    for (uint32_t y = 0; y < e->height; y++) emit_mapped(e, image, e->scratch, 0, y, e->width);
}

/* The last element of the image for a byte, as emit_fill leaves it. */
static inline bool emit_last_is(const emitter *e, const void *image, uint8_t byte) {
    size_t last = (size_t)e->width * e->height * e->channels - 1;
    uint32_t channel = e->channels - 1;
    if (e->map == EMIT_FLOAT) return ((const float *)image)[last] == emit_real(e, channel, byte);
    uint8_t stored = e->map == EMIT_SAME   ? byte
                     : e->map == EMIT_FLIP ? byte ^ 0x80
                                           : e->table[channel][byte];
    return ((const uint8_t *)image)[last] == stored;
}

#endif
