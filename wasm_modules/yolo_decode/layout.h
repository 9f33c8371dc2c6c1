/* layout.h: where boxes and scores lie in what a YOLO model gives.
 *
 * Which version it is: `version` when told; else the one that the shape and `classes` allow; where
 * they allow both, the smaller of the two dimensions is taken for the channels. Anything else, and a
 * square, is an error; so is one tensor of 4 columns, which are boxes without their scores (as SSD
 * has them), unless `version` says that it means 4 anchors.
 */
#ifndef YOLO_LAYOUT_H
#define YOLO_LAYOUT_H

#include "sl_guest.h"
#include "sl_tensor.h"

enum { IN_OUTPUT, IN_CLASS_SCORES, N_INPUTS };
enum { VERSION_AUTO, VERSION_V5, VERSION_V8 };

/* Numbers in a tensor, addressed by anchor and channel (steps in elements). */
typedef struct view {
    sl_reader reader;
    uint32_t anchor_step, channel_step;
} view;

/* The inputs, understood. For v5 channel 0 of `scores` is the objectness. */
typedef struct layout {
    bool v5;
    uint32_t anchors, classes;
    view boxes, scores;
} layout;

static int32_t check_tensor(const sl_tensor *tensor) {
    sl_reader reader;
    if (tensor->rank != 3 || tensor->dims[0] != 1)
        return sl_fail(SL_E_ARGUMENT, "an input needs three dimensions, the first of them 1");
    if (!sl_open(&reader, tensor))
        return sl_fail(SL_E_ARGUMENT, "an input needs to be f32, or u8 or i8 with a scale above 0 "
                                      "and a zero point within its type");
    if (!sl_fits(tensor)) return sl_fail(SL_E_ARGUMENT, "an input is larger than its buffer");
    return SL_OK;
}

/* Whether channels and classes agree: `extra` channels are not classes. */
static bool fits(uint32_t channels, uint32_t extra, uint32_t classes) {
    return channels > extra && (classes == 0 || channels - extra == classes);
}

static view view_of(const sl_tensor *tensor, bool v5, uint32_t channel) {
    view made = {
        .anchor_step = v5 ? tensor->dims[2] : 1,
        .channel_step = v5 ? 1 : tensor->dims[2],
    };
    sl_open(&made.reader, tensor);
    size_t skipped = (size_t)channel * made.channel_step * sl_dtype_size(tensor->dtype);
    made.reader.data = (const uint8_t *)made.reader.data + skipped;
    return made;
}

/* Say what the inputs are, or why they cannot be what `version` and `classes` (0: any) say. */
static int32_t understand(const sl_call *call, int32_t version, uint32_t classes, layout *made) {
    const sl_tensor *output = sl_input(call, IN_OUTPUT);
    const sl_tensor *apart = sl_input(call, IN_CLASS_SCORES);
    bool split = sl_connected(apart);
    int32_t status = check_tensor(output);
    if (status == SL_OK && split) status = check_tensor(apart);
    if (status != SL_OK) return status;

    uint32_t rows = output->dims[1], columns = output->dims[2];
    bool v8, v5;
    if (split) {
        v8 = rows == 4 && apart->dims[2] == columns && fits(apart->dims[1], 0, classes);
        v5 = columns == 4 && apart->dims[1] == rows && fits(apart->dims[2], 1, classes);
    } else {
        v8 = fits(rows, 4, classes);
        v5 = fits(columns, 5, classes);
    }
    if (!v8 && !v5)
        return sl_fail(SL_E_ARGUMENT,
                       split ? "the shapes are neither [1, 4, N] and [1, classes, N] (YOLOv8) nor "
                               "[1, N, 4] and [1, N, 1+classes] (YOLOv5)"
                             : "the shape is neither [1, 4+classes, N] (YOLOv8) nor "
                               "[1, N, 5+classes] (YOLOv5)");
    if (version == VERSION_AUTO && !split && !v5 && columns == 4 && rows > columns)
        return sl_fail(SL_E_ARGUMENT, "the shape [1, N, 4] is that of boxes without their scores");
    if (version == VERSION_V8 && !v8)
        return sl_fail(SL_E_ARGUMENT, "version is v8, but shape and classes are those of YOLOv5");
    if (version == VERSION_V5 && !v5)
        return sl_fail(SL_E_ARGUMENT, "version is v5, but shape and classes are those of YOLOv8");
    if (version == VERSION_AUTO && v8 && v5 && rows == columns)
        return sl_fail(SL_E_ARGUMENT, "the shape fits YOLOv5 and YOLOv8: say version or classes");

    made->v5 = version == VERSION_AUTO ? v5 && (!v8 || columns < rows) : version == VERSION_V5;
    made->anchors = made->v5 ? rows : columns;
    const sl_tensor *scores = split ? apart : output;
    uint32_t extra = (split ? 0 : 4) + (made->v5 ? 1 : 0);
    made->classes = scores->dims[made->v5 ? 2 : 1] - extra;
    made->boxes = view_of(output, made->v5, 0);
    made->scores = view_of(scores, made->v5, split ? 0 : 4);
    return SL_OK;
}

static inline float value_at(const view *from, uint32_t anchor, uint32_t channel) {
    return sl_value(&from->reader, anchor * from->anchor_step + channel * from->channel_step);
}

/* The last byte, in the order of the real values, whose real value as float32 is not above the
 * threshold: beyond it lies what a DequantizeLinear and a comparison would find. It exists, for the
 * real value of the first byte is 0 or less. */
static uint8_t byte_floor(const sl_reader *reader, float threshold) {
    uint8_t floor = 0;
    while (floor < 255 && sl_real(reader, (uint8_t)(floor + 1) ^ reader->flip) <= threshold)
        floor++;
    return floor;
}

#endif
