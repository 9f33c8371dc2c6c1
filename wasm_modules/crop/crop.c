/* crop: each box cut out of the frame, as the picture that the next model takes.
 *
 * A box with `margin` of its size added on each side, held to the frame and to whole pixels (outwards),
 * is resized as letterbox resizes a frame: sl_picture.h says how. The first `most` boxes get a picture
 * each, in their order; a box that is none (not finite, no area) or has nothing inside the frame gets
 * one of padding, so that picture i is always that of box i.
 */
#include "sl_detections.h"
#include "sl_picture.h"

enum { IN_FRAME, IN_BOXES, N_INPUTS };

typedef struct crop_params {
    sl_picture_params picture;
    int32_t most;
    float margin;
} crop_params;

static crop_params params;
static sl_picture picture;

static int32_t check_boxes(const sl_tensor *boxes) {
    if (boxes->dtype != SL_F32 || boxes->rank != 2 || boxes->dims[1] != 4)
        return sl_fail(SL_E_ARGUMENT, "boxes: needs f32 [boxes, 4]");
    if (!sl_fits(boxes)) return sl_fail(SL_E_ARGUMENT, "boxes: larger than their buffer");
    return SL_OK;
}

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const crop_params *given = sl_params(call, sizeof *given);
    if (call->n_inputs != N_INPUTS || call->n_outputs != 1 || !given)
        return sl_fail(SL_E_ARGUMENT, "needs 2 inputs, 1 output and the parameters of its manifest");
    if (given->most < 1 || given->most > 64) return sl_fail(SL_E_ARGUMENT, "most: needs 1 to 64");
    if (!(given->margin >= 0 && given->margin <= 10))
        return sl_fail(SL_E_ARGUMENT, "margin: needs 0 to 10");
    int32_t status = sl_picture_check(&given->picture);
    sl_frame first;
    if (!status) status = sl_frame_read(sl_input(call, IN_FRAME), &first);
    if (!status) status = check_boxes(sl_input(call, IN_BOXES));
    if (status) return status;
    params = *given;
    if (!sl_picture_open(&picture, &params.picture, &first, sl_input(call, IN_FRAME)->capacity))
        return sl_fail(SL_E_MEMORY, "no room for the scratch rows");
    sl_picture_declare(&picture, sl_output(call, 0), (uint32_t)params.most);
    return SL_OK;
}

/* A place held to 0 to `most`, in whole pixels. */
static uint32_t pixel(double place, uint32_t most, bool upwards) {
    if (!(place > 0)) return 0;
    if (place >= most) return most;
    uint32_t whole = (uint32_t)place;
    return whole + (upwards && whole < place);
}

/* The part of the frame that a box is given; false when there is none. */
static bool part_of(const sl_frame *f, const float *box, sl_frame *part) {
    if (!(sl_box_area(box) > 0)) return false;
    double across = ((double)box[2] - (double)box[0]) * (double)params.margin;
    double down = ((double)box[3] - (double)box[1]) * (double)params.margin;
    uint32_t left = pixel((double)box[0] - across, f->width, false);
    uint32_t top = pixel((double)box[1] - down, f->height, false);
    uint32_t right = pixel((double)box[2] + across, f->width, true);
    uint32_t bottom = pixel((double)box[3] + down, f->height, true);
    if (right <= left || bottom <= top) return false;
    *part = *f;
    part->pixels += (size_t)top * f->stride + (size_t)left * f->channels;
    part->width = right - left;
    part->height = bottom - top;
    return true;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const sl_tensor *boxes = sl_input(call, IN_BOXES);
    sl_tensor *image = sl_output(call, 0);
    sl_frame f, part;
    int32_t status = sl_frame_read(sl_input(call, IN_FRAME), &f);
    if (!status) status = check_boxes(boxes);
    if (status) return status;
    if (f.width > picture.widest / f.channels)
        return sl_fail(SL_E_ARGUMENT, "frame: its rows are longer than what was planned for");
    uint32_t most = (uint32_t)params.most, count = boxes->dims[0] < most ? boxes->dims[0] : most;
    image->dims[0] = count;
    if (!sl_fits(image)) return sl_fail(SL_E_CAPACITY, "image: larger than its buffer");

    const emitter *out = &picture.out;
    size_t bytes = (size_t)out->width * out->height * out->channels * sl_dtype_size(image->dtype);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *to = (uint8_t *)sl_ptr(image->data) + i * bytes;
        bool there = part_of(&f, (const float *)sl_ptr(boxes->data) + 4 * (size_t)i, &part);
        if (there) sl_picture_place(&picture, &part);
        if (!there || sl_picture_padded(&picture))
            emit_fill(out, to, (uint8_t)params.picture.pad);
        if (there) sl_picture_draw(&picture, &part, to);
    }
    return SL_OK;
}
