/* means.h: the mean luma of each cell of a picture, with 8 bits below the point.
 *
 * Cells are squares of `cell` pixels; the last of a row or column takes what is left over, so that it
 * is up to twice as large. The channels are summed first and weighted afterwards (ITU-R BT.601 in 15
 * bits), once a cell. All in integers.
 */
#ifndef MEANS_H
#define MEANS_H

#include "sl_guest.h"
#include "sl_simd.h"

#define MEANS_KERNEL static __attribute__((noinline))

enum {
    MEANS_PAD = 64, /* bytes after the sums: vectors write past the end */
    MEANS_CELL_MAX = 64, /* up to 127 rows of 255 are summed in 16 bits */
};

typedef struct picture {
    const uint8_t *pixels;
    uint32_t width, height, stride; /* bytes from row to row */
    uint32_t planes;                /* 3 where each channel has its own, else 1 */
    uint32_t step;                  /* channels of a pixel within a plane: 3 or 1 */
    uint32_t weights[3];            /* of the channels, in their order; they add up to 2^15 */
} picture;

/* A picture out of a tensor that is u8 [H, W, C], [1, C, H, W] or [1, H, W, C], C 3 or 1. */
static inline int32_t means_read(const sl_tensor *tensor, picture *read) {
    const uint32_t *dims = tensor->dims;
    bool frame = tensor->rank == 3, batch = tensor->rank == 4 && dims[0] == 1;
    bool planar = batch && (dims[1] == 3 || dims[1] == 1);
    if (!frame && !batch) return sl_fail(SL_E_ARGUMENT, "image: needs one picture of rank 3 or 4");
    if (batch) dims++;
    uint32_t channels = planar ? dims[0] : dims[2];
    if (tensor->dtype != SL_U8 || (channels != 3 && channels != 1))
        return sl_fail(SL_E_ARGUMENT, "image: needs u8 with 3 channels or 1");
    *read = (picture){.pixels = sl_ptr(tensor->data),
                      .height = planar ? dims[1] : dims[0],
                      .width = planar ? dims[2] : dims[1],
                      .planes = planar ? channels : 1,
                      .step = planar ? 1 : channels};
    static const uint32_t bgr[3] = {3735, 19235, 9798};
    for (uint32_t c = 0; c < 3; c++)
        read->weights[c] = channels == 1                      ? c == 0 ? 1 << 15 : 0
                           : tensor->format == SL_FORMAT_RGB ? bgr[2 - c]
                                                             : bgr[c];
    if (!read->width || !read->height) return sl_fail(SL_E_ARGUMENT, "image: it has no pixels");
    uint64_t row = (uint64_t)read->width * read->step;
    if (tensor->row_stride && tensor->row_stride < row)
        return sl_fail(SL_E_ARGUMENT, "image: row_stride is less than a row");
    if (row > tensor->capacity) return sl_fail(SL_E_ARGUMENT, "image: larger than its buffer");
    read->stride = tensor->row_stride ? tensor->row_stride : (uint32_t)row;
    uint64_t rows = (uint64_t)read->height * read->planes; /* below 2^34 */
    if ((rows - 1) * read->stride + row > tensor->capacity)
        return sl_fail(SL_E_ARGUMENT, "image: larger than its buffer");
    return SL_OK;
}

/* How many cells an axis has. */
static inline uint32_t means_cells(uint32_t pixels, uint32_t cell) {
    return pixels < 2 * cell ? 1 : pixels / cell;
}

/* Where a cell ends. */
static inline uint32_t means_end(uint32_t index, uint32_t count, uint32_t cell, uint32_t pixels) {
    return index + 1 == count ? pixels : (index + 1) * cell;
}

/* The sums of n columns of bytes over some rows. */
MEANS_KERNEL void means_columns(uint16_t *sums, const uint8_t *from, uint32_t stride, uint32_t rows,
                                uint32_t n) {
    if (n < 16) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t sum = 0;
            for (uint32_t y = 0; y < rows; y++) sum += from[(size_t)y * stride + i];
            sums[i] = (uint16_t)sum;
        }
        return;
    }
    for (uint32_t i = 0; i < n; i += 16) {
        i = i + 16 <= n ? i : n - 16; /* the end, some of it again */
        const uint8_t *at = from + i;
        sl_v128 low = sl_i16x8_splat(0), high = low;
        for (uint32_t y = 0; y < rows; y++, at += stride) {
            sl_v128 x = sl_load(at);
            low = sl_i16x8_add(low, sl_u16x8_extend_low_u8x16(x));
            high = sl_i16x8_add(high, sl_u16x8_extend_high_u8x16(x));
        }
        sl_store(sums + i, low);
        sl_store(sums + i + 8, high);
    }
}

/* Add the weighted sums of each cell of a band to `totals`. */
MEANS_KERNEL void means_across(uint64_t *totals, const uint16_t *sums, const picture *p,
                               const uint32_t *weights, uint32_t cell, uint32_t columns) {
    for (uint32_t column = 0, x = 0; column < columns; column++) {
        uint32_t end = means_end(column, columns, cell, p->width), sum[3] = {0};
        if (p->step == 1)
            for (; x < end; x++) sum[0] += sums[x];
        else
            for (; x < end; x++)
                for (uint32_t c = 0; c < 3; c++) sum[c] += sums[3 * x + c];
        for (uint32_t c = 0; c < p->step; c++) totals[column] += (uint64_t)sum[c] * weights[c];
    }
}

/* Fill `means` for rows x columns cells.
 *
 * Args:
 *     sums: scratch for a row of the picture, one element a byte, and MEANS_PAD behind it.
 *     totals: scratch for a row of cells.
 */
static inline void means_of(const picture *p, uint32_t cell, uint32_t rows, uint32_t columns,
                            uint16_t *sums, uint64_t *totals, int32_t *means) {
    for (uint32_t row = 0, y = 0; row < rows; row++) {
        uint32_t end = means_end(row, rows, cell, p->height);
        __builtin_memset(totals, 0, columns * sizeof *totals);
        for (uint32_t plane = 0; plane < p->planes; plane++) {
            const uint8_t *from = p->pixels + ((size_t)plane * p->height + y) * p->stride;
            means_columns(sums, from, p->stride, end - y, p->width * p->step);
            means_across(totals, sums, p, p->weights + plane, cell, columns);
        }
        for (uint32_t column = 0, x = 0; column < columns; column++) {
            uint32_t right = means_end(column, columns, cell, p->width);
            uint64_t area = (uint64_t)(right - x) * (end - y);
            *means++ = (int32_t)((totals[column] + (area << 6)) / (area << 7));
            x = right;
        }
        y = end;
    }
}

#endif
