/* letterbox: a picture resized to the size a model takes, in its layout, order and numbers.
 *
 * The content is the picture scaled by min(width / W, height / H) with its aspect kept (or stretched
 * to the whole image), each side rounded half to even; what is left is padding. resize.h says what a
 * pixel is, emit.h what becomes of it. Grey is made of the resized colours.
 *
 * Padding is written when the geometry changes, not for every frame: nobody else writes to the image.
 * The last pixel is padding whenever any is, and tells whether the image is still ours.
 */
#include "emit.h"
#include "resize.h"
#include "sl_guest.h"
#include "sl_tensor.h"

enum { FIT_LETTERBOX, FIT_STRETCH };
enum { ALIGN_CENTRE, ALIGN_START };
enum { LAYOUT_NCHW, LAYOUT_NHWC };
enum { ORDER_BGR, ORDER_RGB, ORDER_GREY };
enum { DTYPE_U8, DTYPE_I8, DTYPE_F32 };
enum { WIDEST = 98304 }; /* bytes of a row that later frames may have, if the first had less */

typedef struct letterbox_params {
    int32_t width, height, fit, align, pad, layout, order, dtype;
    float mean[3], std[3], scale;
    int32_t zero_point;
} letterbox_params;

typedef struct frame {
    const uint8_t *pixels;
    uint32_t width, height, channels, stride;
} frame;

static letterbox_params params;
static resize resizer;
static emitter out;
static uint32_t widest;      /* bytes of a row that the scratch has room for */
static int32_t geometry[8];  /* frame, image, content: width and height; content: x and y */
static sl_addr padded_image; /* the image that has its padding; 0 when none has */

/* ---- setting up ------------------------------------------------------------------------------ */

static int32_t check_params(const letterbox_params *p) {
    if (p->width < 1 || p->width > RESIZE_TO_MAX || p->height < 1 || p->height > RESIZE_TO_MAX)
        return sl_fail(SL_E_ARGUMENT,
                       "width, height: give both, 1 to 8192 (no model behind says what it takes)");
    if (p->fit < 0 || p->fit > FIT_STRETCH || p->align < 0 || p->align > ALIGN_START ||
        p->layout < 0 || p->layout > LAYOUT_NHWC || p->order < 0 || p->order > ORDER_GREY ||
        p->dtype < 0 || p->dtype > DTYPE_F32 || p->pad < 0 || p->pad > 255)
        return sl_fail(SL_E_ARGUMENT, "fit, align, pad, layout, order or dtype: out of range");
    for (uint32_t c = 0; c < (p->order == ORDER_GREY ? 1 : 3); c++)
        if (!(p->std[c] > 0) || !sl_finite(p->std[c]) || !sl_finite(p->mean[c]) ||
            !sl_finite(1 / p->std[c]))
            return sl_fail(SL_E_ARGUMENT, "mean, std: needs finite numbers, std above 0");
    if (p->dtype == DTYPE_F32) return SL_OK;
    if (!(p->scale > 0) || !sl_finite(p->scale))
        return sl_fail(SL_E_ARGUMENT, "scale: needs a positive number");
    int32_t least = p->dtype == DTYPE_I8 ? -128 : 0;
    if (p->zero_point < least || p->zero_point > least + 255)
        return sl_fail(SL_E_ARGUMENT, "zero_point: 0 to 255 for u8, -128 to 127 for i8");
    return SL_OK;
}

/* The frame of a call, after looking at everything that its pixels are found by. */
static int32_t read_frame(const sl_tensor *tensor, frame *read) {
    if (tensor->dtype != SL_U8 || tensor->rank != 3 || (tensor->dims[2] != 3 && tensor->dims[2] != 1))
        return sl_fail(SL_E_ARGUMENT, "frame: needs u8 [height, width, 3] or [height, width, 1]");
    *read = (frame){sl_ptr(tensor->data), tensor->dims[1], tensor->dims[0], tensor->dims[2],
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

static void *scratch(uint32_t bytes) { return sl_ptr(sl_alloc(bytes + RESIZE_PAD)); }

static bool allocate(void) {
    uint32_t width = (uint32_t)params.width, height = (uint32_t)params.height;
    resizer.blended = scratch(widest * sizeof *resizer.blended);
    resizer.column = scratch(width * sizeof *resizer.column);
    resizer.column_weight = scratch(4 * width * sizeof *resizer.column_weight);
    resizer.row = scratch(height * sizeof *resizer.row);
    resizer.row_weight = scratch(height * sizeof *resizer.row_weight);
    resizer.picked = scratch(4 * width);
    out.scratch = scratch(3 * width);
    return resizer.blended && resizer.column && resizer.column_weight && resizer.row &&
           resizer.row_weight && resizer.picked && out.scratch;
}

static void declare(sl_call *call) {
    static const uint8_t dtypes[] = {SL_U8, SL_I8, SL_F32};
    static const uint8_t formats[] = {SL_FORMAT_BGR, SL_FORMAT_RGB, SL_FORMAT_GREY};
    static const uint32_t eight = 8;
    sl_tensor *image = sl_output(call, 0);
    if (params.layout == LAYOUT_NCHW)
        sl_declare(image, dtypes[params.dtype], 4,
                   (uint32_t[]){1, out.channels, out.height, out.width});
    else
        sl_declare(image, dtypes[params.dtype], 4,
                   (uint32_t[]){1, out.height, out.width, out.channels});
    image->format = formats[params.order];
    image->scale = params.dtype == DTYPE_F32 ? 0 : params.scale;
    image->zero_point = params.dtype == DTYPE_F32 ? 0 : params.zero_point;
    sl_declare(sl_output(call, 1), SL_I32, 1, &eight);
}

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const letterbox_params *given = sl_params(call, sizeof *given);
    if (call->n_inputs != 1 || call->n_outputs != 2 || !given)
        return sl_fail(SL_E_ARGUMENT, "needs 1 input, 2 outputs and the parameters of its manifest");
    int32_t status = check_params(given);
    frame first;
    if (!status) status = read_frame(sl_input(call, 0), &first);
    if (status) return status;
    params = *given;
    out.width = (uint32_t)params.width;
    out.height = (uint32_t)params.height;
    out.channels = params.order == ORDER_GREY ? 1 : 3;
    out.planar = params.layout == LAYOUT_NCHW;
    out.rgb = params.order == ORDER_RGB;
    out.map = EMIT_FLOAT;
    for (uint32_t c = 0; c < out.channels; c++) {
        out.mean[c] = params.mean[c];
        out.inverse[c] = 1 / params.std[c];
    }
    if (params.dtype != DTYPE_F32)
        emit_quantize(&out, params.scale, params.zero_point, params.dtype == DTYPE_I8);
    uint32_t capacity = sl_input(call, 0)->capacity;
    widest = first.width * first.channels;
    if (widest < WIDEST) widest = capacity < WIDEST ? capacity : WIDEST;
    resizer.from_width = 0; /* so that the first frame makes the tables */
    padded_image = 0;
    if (!allocate()) return sl_fail(SL_E_MEMORY, "no room for the scratch rows");
    declare(call);
    return SL_OK;
}

/* ---- running --------------------------------------------------------------------------------- */

/* a * b / c, halves to even, from 1 to the most. */
static uint32_t scaled(uint32_t a, uint32_t b, uint32_t c, uint32_t most) {
    uint64_t product = (uint64_t)a * b, whole = product / c, twice = 2 * (product % c);
    whole += twice > c || (twice == c && whole % 2);
    return whole < 1 ? 1 : whole > most ? most : (uint32_t)whole;
}

/* Where a frame of this size lies in the image. */
static void place(const frame *f) {
    uint32_t width = out.width, height = out.height;
    if (params.fit == FIT_LETTERBOX) {
        bool wide = (uint64_t)f->width * height >= (uint64_t)f->height * width;
        if (wide) height = scaled(f->height, width, f->width, height);
        else width = scaled(f->width, height, f->height, width);
    }
    bool centre = params.align == ALIGN_CENTRE;
    const int32_t now[8] = {
        (int32_t)f->width, (int32_t)f->height, params.width, params.height,
        (int32_t)width,    (int32_t)height,    centre ? (params.width - (int32_t)width) / 2 : 0,
        centre ? (params.height - (int32_t)height) / 2 : 0,
    };
    for (uint32_t i = 4; i < 8; i++)
        if (geometry[i] != now[i]) padded_image = 0;
    __builtin_memcpy(geometry, now, sizeof geometry);
    resizer.channels = f->channels;
    resizer.from_width = f->width;
    resizer.from_height = f->height;
    resizer.to_width = width;
    resizer.to_height = height;
    resize_prepare(&resizer);
}

static void pad(const sl_tensor *image) {
    void *data = sl_ptr(image->data);
    uint8_t byte = (uint8_t)params.pad;
    if (resizer.to_width == out.width && resizer.to_height == out.height) return;
    if (padded_image == image->data && emit_last_is(&out, data, byte)) return;
    emit_fill(&out, data, byte);
    padded_image = image->data;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const sl_tensor *image = sl_output(call, 0), *mapping = sl_output(call, 1);
    frame f;
    int32_t status = read_frame(sl_input(call, 0), &f);
    if (status) return status;
    if (f.width > widest / f.channels)
        return sl_fail(SL_E_ARGUMENT, "frame: its rows are longer than what was planned for");
    if (!sl_fits(image) || !sl_fits(mapping))
        return sl_fail(SL_E_CAPACITY, "image, geometry: larger than their buffers");
    if (f.width != resizer.from_width || f.height != resizer.from_height ||
        f.channels != resizer.channels)
        place(&f);
    pad(image);
    uint32_t x = (uint32_t)geometry[6], y = (uint32_t)geometry[7];
    for (uint32_t i = 0; i < resizer.to_height; i++) {
        uint8_t *row = resize_row(&resizer, f.pixels, f.stride, i);
        emit_row(&out, sl_ptr(image->data), row, f.channels == 3, x, y + i, resizer.to_width);
    }
    __builtin_memcpy(sl_ptr(mapping->data), geometry, sizeof geometry);
    return SL_OK;
}
