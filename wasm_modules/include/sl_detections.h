/* sl_detections.h: what guests that take detections and give detections have in common.
 *
 * Their first four tensors on both sides are boxes, scores, classes and points, in this order. A box
 * is x1, y1, x2, y2.
 */
#ifndef SL_DETECTIONS_H
#define SL_DETECTIONS_H

#include "sl_guest.h"
#include "sl_tensor.h"

enum { SL_BOXES, SL_SCORES, SL_CLASSES, SL_POINTS };

static inline bool sl_is_vector(const sl_tensor *tensor, uint32_t dtype, uint32_t count) {
    return tensor->dtype == dtype && tensor->rank == 1 && tensor->dims[0] == count;
}

static inline bool sl_holds(const sl_tensor *tensor, uint64_t elements) {
    return tensor->capacity >= elements * sl_dtype_size(tensor->dtype);
}

/* The shapes of all four inputs, and that all of the guest's inputs lie within their buffers; done
 * at set-up and again for each frame's sizes. */
static inline int32_t sl_check_detections(const sl_call *call) {
    const sl_tensor *boxes = sl_input(call, SL_BOXES);
    const sl_tensor *points = sl_input(call, SL_POINTS);
    uint32_t count = boxes->dims[0];
    if (boxes->dtype != SL_F32 || boxes->rank != 2 || boxes->dims[1] != 4)
        return sl_fail(SL_E_ARGUMENT, "boxes: needs f32 [candidates, 4]");
    if (!sl_is_vector(sl_input(call, SL_SCORES), SL_F32, count))
        return sl_fail(SL_E_ARGUMENT, "scores: needs f32 [candidates], as many as boxes");
    if (!sl_is_vector(sl_input(call, SL_CLASSES), SL_I32, count))
        return sl_fail(SL_E_ARGUMENT, "classes: needs i32 [candidates], as many as boxes");
    if (sl_connected(points) &&
        (points->dtype != SL_F32 || points->rank != 3 || points->dims[0] != count ||
         points->dims[2] != 2))
        return sl_fail(SL_E_ARGUMENT,
                       "points: needs f32 [candidates, points, 2], as many as boxes");
    for (uint32_t i = 0; i < call->n_inputs; i++)
        if (!sl_fits(sl_input(call, i)))
            return sl_fail(SL_E_ARGUMENT, "an input is larger than its buffer");
    return SL_OK;
}

/* Declare the four outputs for so many detections; points where the input has them. */
static inline void sl_declare_detections(const sl_call *call, uint32_t most) {
    const sl_tensor *points = sl_input(call, SL_POINTS);
    sl_declare(sl_output(call, SL_BOXES), SL_F32, 2, (uint32_t[]){most, 4});
    sl_declare(sl_output(call, SL_SCORES), SL_F32, 1, &most);
    sl_declare(sl_output(call, SL_CLASSES), SL_I32, 1, &most);
    if (sl_connected(points))
        sl_declare(sl_output(call, SL_POINTS), SL_F32, 3, (uint32_t[]){most, points->dims[1], 2});
    else
        sl_declare(sl_output(call, SL_POINTS), SL_NONE, 0, NULL);
}

/* Whether the four outputs hold so many detections with so many points each. */
static inline bool sl_holds_detections(const sl_call *call, uint32_t most, uint32_t points) {
    return sl_holds(sl_output(call, SL_BOXES), 4 * (uint64_t)most) &&
           sl_holds(sl_output(call, SL_SCORES), most) &&
           sl_holds(sl_output(call, SL_CLASSES), most) &&
           sl_holds(sl_output(call, SL_POINTS), 2 * (uint64_t)most * points);
}

/* The area of a box. 0 when it is none: a coordinate that is not finite, no width or height, an area
 * that float32 cannot hold. */
static inline float sl_box_area(const float *box) {
    for (uint32_t i = 0; i < 4; i++)
        if (!sl_finite(box[i])) return 0;
    if (!(box[2] > box[0] && box[3] > box[1])) return 0;
    float area = (box[2] - box[0]) * (box[3] - box[1]);
    return sl_finite(area) ? area : 0;
}

#endif
