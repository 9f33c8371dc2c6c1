/* sl_picture.h: a frame, or a part of it, as the picture that a model takes: its size, layout, order
 * and numbers. What letterbox and crop have in common.
 *
 * The content is the frame scaled by min(width / W, height / H) with its aspect kept (or stretched
 * to the whole picture), each side rounded half to even; what is left is padding. sl_resize.h says
 * what a pixel is, sl_emit.h what becomes of it. Grey is made of the resized colours.
 */
#ifndef SL_PICTURE_H
#define SL_PICTURE_H

#include "sl_emit.h"
#include "sl_guest.h"
#include "sl_resize.h"
#include "sl_tensor.h"

enum { SL_FIT_LETTERBOX, SL_FIT_STRETCH };
enum { SL_ALIGN_CENTRE, SL_ALIGN_START };
enum { SL_LAYOUT_NCHW, SL_LAYOUT_NHWC };
enum { SL_ORDER_BGR, SL_ORDER_RGB, SL_ORDER_GREY };
enum { SL_PICTURE_U8, SL_PICTURE_I8, SL_PICTURE_F32 };

/* The parameters as a manifest packs them: those of letterbox, in their order. */
typedef struct sl_picture_params {
    int32_t width, height, fit, align, pad, layout, order, dtype;
    float mean[3], std[3], scale;
    int32_t zero_point;
} sl_picture_params;

typedef struct sl_frame {
    const uint8_t *pixels;
    uint32_t width, height, channels, stride;
} sl_frame;

typedef struct sl_picture {
    sl_picture_params params;
    resize resizer;
    emitter out;
    uint32_t widest;     /* bytes of a row that the scratch has room for */
    int32_t geometry[8]; /* frame, image, content: width and height; content: x and y */
} sl_picture;

/* ---- setting up ------------------------------------------------------------------------------ */

static inline int32_t sl_picture_check(const sl_picture_params *p) {
    if (p->width < 1 || p->width > RESIZE_TO_MAX || p->height < 1 || p->height > RESIZE_TO_MAX)
        return sl_fail(SL_E_ARGUMENT,
                       "width, height: give both, 1 to 8192 (no model behind says what it takes)");
    if (p->fit < 0 || p->fit > SL_FIT_STRETCH || p->align < 0 || p->align > SL_ALIGN_START ||
        p->layout < 0 || p->layout > SL_LAYOUT_NHWC || p->order < 0 ||
        p->order > SL_ORDER_GREY || p->dtype < 0 || p->dtype > SL_PICTURE_F32 || p->pad < 0 ||
        p->pad > 255)
        return sl_fail(SL_E_ARGUMENT, "fit, align, pad, layout, order or dtype: out of range");
    for (uint32_t c = 0; c < (p->order == SL_ORDER_GREY ? 1 : 3); c++)
        if (!(p->std[c] > 0) || !sl_finite(p->std[c]) || !sl_finite(p->mean[c]) ||
            !sl_finite(1 / p->std[c]))
            return sl_fail(SL_E_ARGUMENT, "mean, std: needs finite numbers, std above 0");
    if (p->dtype == SL_PICTURE_F32) return SL_OK;
    if (!(p->scale > 0) || !sl_finite(p->scale))
        return sl_fail(SL_E_ARGUMENT, "scale: needs a positive number");
    int32_t least = p->dtype == SL_PICTURE_I8 ? -128 : 0;
    if (p->zero_point < least || p->zero_point > least + 255)
        return sl_fail(SL_E_ARGUMENT, "zero_point: 0 to 255 for u8, -128 to 127 for i8");
    return SL_OK;
}

/* The frame of a call, after looking at everything that its pixels are found by. */
static inline int32_t sl_frame_read(const sl_tensor *tensor, sl_frame *read) {
    if (tensor->dtype != SL_U8 || tensor->rank != 3 || (tensor->dims[2] != 3 && tensor->dims[2] != 1))
        return sl_fail(SL_E_ARGUMENT, "frame: needs u8 [height, width, 3] or [height, width, 1]");
    *read = (sl_frame){sl_ptr(tensor->data), tensor->dims[1], tensor->dims[0], tensor->dims[2],
                       tensor->row_stride};
    uint32_t format = read->channels == 3 ? SL_FORMAT_BGR : SL_FORMAT_GREY;
    if (tensor->format != SL_FORMAT_NONE && tensor->format != format)
        return sl_fail(SL_E_ARGUMENT, "frame: needs BGR with 3 channels, or grey with 1");
    if (!read->width || !read->height) return sl_fail(SL_E_ARGUMENT, "frame: it has no pixels");
    uint64_t row = (uint64_t)read->width * read->channels;
    if (read->stride && read->stride < row)
        return sl_fail(SL_E_ARGUMENT, "frame: row_stride is less than a row");
    if (row > tensor->capacity) return sl_fail(SL_E_ARGUMENT, "frame: larger than its buffer");
    if (!read->stride) read->stride = (uint32_t)row;
    if ((uint64_t)(read->height - 1) * read->stride + row > tensor->capacity)
        return sl_fail(SL_E_ARGUMENT, "frame: larger than its buffer");
    return SL_OK;
}

static inline void *sl_picture_scratch(uint32_t bytes) {
    return sl_ptr(sl_alloc(bytes + RESIZE_PAD));
}

/* Fill the picture and take its scratch memory; false when there is no room.
 *
 * Args:
 *     params: as sl_picture_check lets them through.
 *     first: the frame at set-up, as sl_frame_read gives it.
 *     capacity: bytes of the frame's buffer: later frames may be wider than the first.
 */
static inline bool sl_picture_open(sl_picture *p, const sl_picture_params *params,
                                   const sl_frame *first, uint32_t capacity) {
    enum { WIDEST = 98304 }; /* bytes of a row that later frames may have, if the first had less */
    uint32_t width = (uint32_t)params->width, height = (uint32_t)params->height;
    emitter *out = &p->out;
    p->params = *params;
    out->width = width;
    out->height = height;
    out->channels = params->order == SL_ORDER_GREY ? 1 : 3;
    out->planar = params->layout == SL_LAYOUT_NCHW;
    out->rgb = params->order == SL_ORDER_RGB;
    out->map = EMIT_FLOAT;
    for (uint32_t c = 0; c < out->channels; c++) {
        out->mean[c] = params->mean[c];
        out->inverse[c] = 1 / params->std[c];
    }
    if (params->dtype != SL_PICTURE_F32)
        emit_quantize(out, params->scale, params->zero_point, params->dtype == SL_PICTURE_I8);
    p->widest = first->width * first->channels;
    if (p->widest < WIDEST) p->widest = capacity < WIDEST ? capacity : WIDEST;
    resize *r = &p->resizer;
    r->from_width = 0; /* so that the first frame makes the tables */
    r->blended = sl_picture_scratch(p->widest * sizeof *r->blended);
    r->column = sl_picture_scratch(width * sizeof *r->column);
    r->column_weight = sl_picture_scratch(4 * width * sizeof *r->column_weight);
    r->row = sl_picture_scratch(height * sizeof *r->row);
    r->row_weight = sl_picture_scratch(height * sizeof *r->row_weight);
    r->picked = sl_picture_scratch(4 * width);
    out->scratch = sl_picture_scratch(3 * width);
    return r->blended && r->column && r->column_weight && r->row && r->row_weight && r->picked &&
           out->scratch;
}

/* Declare the output for so many pictures. */
static inline void sl_picture_declare(const sl_picture *p, sl_tensor *image, uint32_t count) {
    static const uint8_t dtypes[] = {SL_U8, SL_I8, SL_F32};
    static const uint8_t formats[] = {SL_FORMAT_BGR, SL_FORMAT_RGB, SL_FORMAT_GREY};
    const emitter *out = &p->out;
    bool real = p->params.dtype == SL_PICTURE_F32;
    if (out->planar)
        sl_declare(image, dtypes[p->params.dtype], 4,
                   (uint32_t[]){count, out->channels, out->height, out->width});
    else
        sl_declare(image, dtypes[p->params.dtype], 4,
                   (uint32_t[]){count, out->height, out->width, out->channels});
    image->format = formats[p->params.order];
    image->scale = real ? 0 : p->params.scale;
    image->zero_point = real ? 0 : p->params.zero_point;
}

/* ---- running --------------------------------------------------------------------------------- */

/* a * b / c, halves to even, from 1 to the most. */
static inline uint32_t sl_scaled(uint32_t a, uint32_t b, uint32_t c, uint32_t most) {
    uint64_t product = (uint64_t)a * b, whole = product / c, twice = 2 * (product % c);
    whole += twice > c || (twice == c && whole % 2);
    return whole < 1 ? 1 : whole > most ? most : (uint32_t)whole;
}

/* Find where a frame of this size lies in the picture; true when the content has another place than
 * before. */
static inline bool sl_picture_place(sl_picture *p, const sl_frame *f) {
    const sl_picture_params *params = &p->params;
    resize *r = &p->resizer;
    if (f->width == r->from_width && f->height == r->from_height && f->channels == r->channels)
        return false;
    uint32_t width = p->out.width, height = p->out.height;
    if (params->fit == SL_FIT_LETTERBOX) {
        bool wide = (uint64_t)f->width * height >= (uint64_t)f->height * width;
        if (wide) height = sl_scaled(f->height, width, f->width, height);
        else width = sl_scaled(f->width, height, f->height, width);
    }
    bool centre = params->align == SL_ALIGN_CENTRE, moved = false;
    const int32_t now[8] = {
        (int32_t)f->width, (int32_t)f->height, params->width, params->height,
        (int32_t)width,    (int32_t)height,    centre ? (params->width - (int32_t)width) / 2 : 0,
        centre ? (params->height - (int32_t)height) / 2 : 0,
    };
    for (uint32_t i = 4; i < 8; i++) moved |= p->geometry[i] != now[i];
    __builtin_memcpy(p->geometry, now, sizeof now);
    r->channels = f->channels;
    r->from_width = f->width;
    r->from_height = f->height;
    r->to_width = width;
    r->to_height = height;
    resize_prepare(r);
    return moved;
}

/* Whether the content leaves room for padding. */
static inline bool sl_picture_padded(const sl_picture *p) {
    return p->resizer.to_width != p->out.width || p->resizer.to_height != p->out.height;
}

/* Write the content of a frame that has been placed. */
static inline void sl_picture_draw(const sl_picture *p, const sl_frame *f, void *image) {
    const resize *r = &p->resizer;
    uint32_t x = (uint32_t)p->geometry[6], y = (uint32_t)p->geometry[7];
    for (uint32_t i = 0; i < r->to_height; i++) {
        uint8_t *row = resize_row(r, f->pixels, f->stride, i);
        emit_row(&p->out, image, row, f->channels == 3, x, y + i, r->to_width);
    }
}

#endif
