/* centerface_decode: faces out of CenterFace's heatmap, scale, offset and landmark maps.
 *
 * A cell of the maps stands for 4 x 4 pixels of the model's input. One whose heatmap value is above
 * `score` is a candidate; for the cell in row r, column c, in float32:
 *
 *     h = exp(scale[0]) * 4                  w = exp(scale[1]) * 4
 *     x1 = (c + offset[1] + 0.5) * 4 - w/2   y1 = (r + offset[0] + 0.5) * 4 - h/2, into the input
 *     x2 = min(x1 + w, input width)          y2 = min(y1 + h, input height)
 *     point j = landmarks[2j + 1] * w + x1,  landmarks[2j] * h + y1
 *
 * A box that begins outside the input is moved into it, not cut, and its points go with it: the model
 * was trained and evaluated with a decoder that does so (Xu et al., CenterFace, 2019).
 *
 * Quantized heatmaps are compared as bytes, which is the comparison of the exact real values; the
 * other maps are read for candidates only. A candidate whose score, box or points are not finite is
 * dropped. Candidates come in row-major order; of more than max_candidates the best are kept, of
 * equal scores those that come first.
 */
#include "sl_best.h"
#include "sl_guest.h"
#include "sl_math.h"

enum { IN_HEATMAP, IN_SCALE, IN_OFFSET, IN_LANDMARKS, N_INPUTS };
enum { OUT_BOXES, OUT_SCORES, OUT_CLASSES, OUT_POINTS, N_OUTPUTS };
enum { STRIDE = 4, POINTS = 5 };

typedef struct centerface_params {
    float score;
    int32_t max_candidates;
} centerface_params;

typedef struct face_maps {
    sl_reader map[N_INPUTS];
    uint32_t height, width; /* in cells */
} face_maps;

typedef struct face {
    float score;
    float box[4];
    float points[POINTS][2];
} face;

static uint64_t *keys;
static uint32_t capacity; /* keys, and rows of the outputs */

static int32_t open_maps(const sl_call *call, face_maps *maps) {
    static const uint32_t channels[N_INPUTS] = {1, 2, 2, 10};
    static const char *const messages[N_INPUTS] = {
        "heatmap: needs f32, u8 or i8 [1, 1, h, w]",
        "scale: needs f32, u8 or i8 [1, 2, h, w] of the heatmap's size",
        "offset: needs f32, u8 or i8 [1, 2, h, w] of the heatmap's size",
        "landmarks: needs f32, u8 or i8 [1, 10, h, w] of the heatmap's size",
    };
    maps->height = sl_input(call, IN_HEATMAP)->dims[2];
    maps->width = sl_input(call, IN_HEATMAP)->dims[3];
    for (uint32_t i = 0; i < N_INPUTS; i++) {
        const sl_tensor *tensor = sl_input(call, i);
        const uint32_t *dims = tensor->dims;
        bool shaped = tensor->rank == 4 && dims[0] == 1 && dims[1] == channels[i] &&
                      dims[2] == maps->height && dims[3] == maps->width;
        if (!shaped || !sl_open(&maps->map[i], tensor) || !sl_fits(tensor))
            return sl_fail(SL_E_ARGUMENT, messages[i]);
    }
    return SL_OK;
}

static void shape_outputs(const sl_call *call, uint32_t candidates) {
    const uint32_t dims[3] = {candidates, POINTS, 2};
    sl_declare(sl_output(call, OUT_BOXES), SL_F32, 2, (uint32_t[]){candidates, 4});
    sl_declare(sl_output(call, OUT_SCORES), SL_F32, 1, dims);
    sl_declare(sl_output(call, OUT_CLASSES), SL_I32, 1, dims);
    sl_declare(sl_output(call, OUT_POINTS), SL_F32, 3, dims);
}

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const centerface_params *params = sl_params(call, sizeof *params);
    if (call->n_inputs != N_INPUTS || call->n_outputs != N_OUTPUTS || !params)
        return sl_fail(SL_E_ARGUMENT,
                       "needs 4 inputs, 4 outputs and the parameters score and max_candidates");
    if (!sl_finite(params->score)) return sl_fail(SL_E_ARGUMENT, "score: is not a number");
    if (params->max_candidates < 1 || params->max_candidates > 100000)
        return sl_fail(SL_E_ARGUMENT, "max_candidates: needs 1 to 100000");
    face_maps maps;
    int32_t status = open_maps(call, &maps);
    if (status != SL_OK) return status;
    uint64_t cells = sl_elements(sl_input(call, IN_HEATMAP));
    capacity = (uint32_t)params->max_candidates;
    if (cells < capacity) capacity = (uint32_t)cells;
    keys = sl_ptr(sl_alloc(capacity * (uint32_t)sizeof *keys));
    if (!keys) return sl_fail(SL_E_MEMORY, "no memory for the candidates");
    shape_outputs(call, capacity);
    return SL_OK;
}

static float clamp(float value, float high) {
    value = value > 0 ? value : 0;
    return value < high ? value : high;
}

static bool all_finite(const float *values, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (!sl_finite(values[i])) return false;
    return true;
}

/* False when it is no face: something in it is not finite. */
static bool decode(const face_maps *maps, uint32_t cell, face *out) {
    const uint32_t plane = maps->height * maps->width;
    const float row = (float)(cell / maps->width), column = (float)(cell % maps->width);
    const float high = (float)maps->height * STRIDE, wide = (float)maps->width * STRIDE;
    const float h = sl_exp(sl_value(&maps->map[IN_SCALE], cell)) * STRIDE;
    const float w = sl_exp(sl_value(&maps->map[IN_SCALE], cell + plane)) * STRIDE;
    const float left =
        (column + sl_value(&maps->map[IN_OFFSET], cell + plane) + 0.5f) * STRIDE - w / 2;
    const float top = (row + sl_value(&maps->map[IN_OFFSET], cell) + 0.5f) * STRIDE - h / 2;
    const float before_clipping[] = {h, w, left, top};
    if (!all_finite(before_clipping, 4)) return false; /* clipping would hide a NaN */

    const float x1 = clamp(left, wide), y1 = clamp(top, high);
    const float x2 = clamp(x1 + w, wide), y2 = clamp(y1 + h, high);
    out->score = sl_value(&maps->map[IN_HEATMAP], cell);
    out->box[0] = x1;
    out->box[1] = y1;
    out->box[2] = x2;
    out->box[3] = y2;
    for (uint32_t j = 0; j < POINTS; j++) {
        const uint32_t y_at = cell + 2 * j * plane, x_at = y_at + plane;
        out->points[j][0] = sl_value(&maps->map[IN_LANDMARKS], x_at) * w + x1;
        out->points[j][1] = sl_value(&maps->map[IN_LANDMARKS], y_at) * h + y1;
    }
    return sl_finite(out->score) && all_finite(out->points[0], 2 * POINTS);
}

static bool is_face(const void *maps, uint32_t cell) {
    face unused;
    return decode(maps, cell, &unused);
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const centerface_params *params = sl_params(call, sizeof *params);
    face_maps maps;
    int32_t status = open_maps(call, &maps);
    if (status != SL_OK) return status;
    uint32_t cells = maps.height * maps.width;
    uint32_t wanted = cells < (uint32_t)params->max_candidates ? cells
                                                                : (uint32_t)params->max_candidates;
    if (wanted > capacity) return sl_fail(SL_E_CAPACITY, "maps: larger than at set-up");
    sl_best best = {.keys = keys, .capacity = wanted};
    const sl_reader *heatmap = &maps.map[IN_HEATMAP];
    uint64_t least = sl_least_order(heatmap, params->score, true);
    sl_find_best(&best, heatmap, 0, cells, least, is_face, &maps);
    sl_best_by_index(&best);

    float *boxes = sl_ptr(sl_output(call, OUT_BOXES)->data);
    float *scores = sl_ptr(sl_output(call, OUT_SCORES)->data);
    int32_t *classes = sl_ptr(sl_output(call, OUT_CLASSES)->data);
    float *points = sl_ptr(sl_output(call, OUT_POINTS)->data);
    for (uint32_t i = 0; i < best.count; i++) {
        face found;
        decode(&maps, sl_best_index(best.keys[i]), &found);
        __builtin_memcpy(boxes + 4 * i, found.box, sizeof found.box);
        __builtin_memcpy(points + 2 * POINTS * i, found.points, sizeof found.points);
        scores[i] = found.score;
        classes[i] = 0;
    }
    shape_outputs(call, best.count);
    return SL_OK;
}
