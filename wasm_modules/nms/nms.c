/* nms: greedy non-maximum suppression, and boxes mapped back to the frame.
 *
 * Candidates are taken by score, best first, equal scores in the order they came. One is dropped
 * when it overlaps one already taken by more than `iou` (of the same class, or of any class when
 * across_classes is set). The arithmetic is float32 and fixed; reference.py repeats it:
 *
 *     width = x2 - x1, height = y2 - y1, area = width * height
 *     inter = max(0, min(x2, X2) - max(x1, X1)) * max(0, min(y2, Y2) - max(y1, Y1))
 *     suppressed when inter > iou * ((area + AREA) - inter)    -- capitals: the one already taken
 *
 * What is no detection takes no part, so it suppresses nothing either:
 *   - a score that is not above `score`, or not finite;
 *   - a box or a point with a coordinate that is not finite;
 *   - a box without an area (x2 <= x1, y2 <= y1, or an area that float32 cannot hold);
 *   - with geometry, a box of which nothing lies inside the frame: it is in the padding.
 *
 * With geometry, x = (x - content_x) * frame_w / content_w, in float64 and then rounded, so that a
 * picture that was not resized gets its boxes back bit for bit. Overlap is the same on either side
 * of that map, so it is measured before it; boxes are clipped to the frame, points are not.
 */
#include "sl_detections.h"
#include "sl_guest.h"
#include "sl_simd.h"
#include "sl_tensor.h"

enum { IN_BOXES, IN_SCORES, IN_CLASSES, IN_POINTS, IN_GEOMETRY, N_INPUTS };
enum { OUT_BOXES, OUT_SCORES, OUT_CLASSES, OUT_POINTS, N_OUTPUTS };

typedef struct nms_params {
    float iou;
    float score;
    int32_t max_detections;
    int32_t across_classes;
} nms_params;

/* What letterbox says of the way from the frame to the model's input. */
typedef struct frame_map {
    bool connected;
    double frame_w, frame_h, content_w, content_h, content_x, content_y;
} frame_map;

/* The boxes taken so far, one array a coordinate, so that four are compared at a time. */
typedef struct taken_boxes {
    float *x1, *y1, *x2, *y2, *area;
    int32_t *class_id;
    uint32_t count;
} taken_boxes;

static uint32_t capacity; /* candidates that there is scratch for */
static uint64_t *ranked[2];
static taken_boxes taken;

static inline uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* All of the inputs but what is in them. */
static int32_t check_inputs(const sl_call *call) {
    const sl_tensor *geometry = sl_input(call, IN_GEOMETRY);
    if (sl_connected(geometry) && !sl_is_vector(geometry, SL_I32, 8))
        return sl_fail(SL_E_ARGUMENT, "geometry: needs i32 [8], as letterbox gives it");
    return sl_check_detections(call);
}

static int32_t check_params(const nms_params *params) {
    if (!params) return sl_fail(SL_E_ARGUMENT, "params: not the size that the manifest packs");
    if (!(params->iou >= 0 && params->iou <= 1))
        return sl_fail(SL_E_ARGUMENT, "iou: needs 0 to 1");
    if (!(params->score >= 0 && params->score <= 1))
        return sl_fail(SL_E_ARGUMENT, "score: needs 0 to 1");
    if (params->max_detections < 1)
        return sl_fail(SL_E_ARGUMENT, "max_detections: needs 1 or more");
    return SL_OK;
}

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    if (call->n_inputs != N_INPUTS || call->n_outputs != N_OUTPUTS)
        return sl_fail(SL_E_ARGUMENT, "nms has 5 inputs (2 optional) and 4 outputs");
    const nms_params *params = sl_params(call, sizeof *params);
    int32_t status = check_params(params);
    if (status == SL_OK) status = check_inputs(call);
    if (status != SL_OK) return status;

    capacity = sl_input(call, IN_BOXES)->dims[0];
    uint32_t most = least((uint32_t)params->max_detections, capacity);
    uint64_t lanes = ((uint64_t)most + 4) & ~(uint64_t)3; /* whole vectors, one at least */
    uint64_t bytes = 2 * sizeof(uint64_t) * (uint64_t)capacity + 6 * sizeof(float) * lanes;
    sl_addr scratch = bytes <= UINT32_MAX ? sl_alloc((uint32_t)bytes) : 0;
    if (!scratch) return sl_fail(SL_E_MEMORY, "no room to sort so many candidates");
    float *floats = sl_ptr(scratch);
    taken.x1 = floats;
    taken.y1 = floats + lanes;
    taken.x2 = floats + 2 * lanes;
    taken.y2 = floats + 3 * lanes;
    taken.area = floats + 4 * lanes;
    taken.class_id = (int32_t *)(floats + 5 * lanes);
    ranked[0] = (uint64_t *)(floats + 6 * lanes);
    ranked[1] = ranked[0] + capacity;

    sl_declare_detections(call, most);
    return SL_OK;
}

/* ---- order ----------------------------------------------------------------------------------- */

/* Sort by the upper 32 bits, least first; entries with equal ones stay in order. `from` is
 * overwritten, the result is in the buffer that is returned. A byte at a time: no recursion, and
 * the same time whatever the order they come in. */
static uint64_t *sort_ranked(uint64_t *from, uint64_t *to, uint32_t count) {
    static uint32_t starts[4][256];
    __builtin_memset(starts, 0, sizeof starts);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t byte = 0; byte < 4; byte++) starts[byte][from[i] >> (32 + 8 * byte) & 255]++;
    for (uint32_t byte = 0; byte < 4; byte++) {
        uint32_t shift = 32 + 8 * byte;
        uint32_t *start = starts[byte];
        if (start[from[0] >> shift & 255] == count) continue; /* all alike here: nothing to move */
        for (uint32_t value = 0, sum = 0; value < 256; value++) {
            uint32_t here = start[value];
            start[value] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < count; i++) to[start[from[i] >> shift & 255]++] = from[i];
        uint64_t *other = from;
        from = to;
        to = other;
    }
    return from;
}

/* The indices of the scores above the threshold in the lower 32 bits of each entry, best first. */
static const uint64_t *rank(const float *scores, uint32_t count, float threshold, uint32_t *found) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        /* The bits of positive floats order like the numbers; turned over, the best comes first. */
        if (scores[i] > threshold && sl_finite(scores[i]))
            ranked[0][kept++] = (uint64_t)~sl_float_bits(scores[i]) << 32 | i;
    }
    *found = kept;
    return kept ? sort_ranked(ranked[0], ranked[1], kept) : ranked[0];
}

/* ---- overlap --------------------------------------------------------------------------------- */

/* Whether a box overlaps one of those taken by more than `iou`. */
static bool suppressed(const float *box, float area, int32_t class_id, float iou) {
    sl_v128 x1 = sl_f32x4_splat(box[0]), y1 = sl_f32x4_splat(box[1]);
    sl_v128 x2 = sl_f32x4_splat(box[2]), y2 = sl_f32x4_splat(box[3]);
    sl_v128 areas = sl_f32x4_splat(area), limit = sl_f32x4_splat(iou);
    sl_v128 zero = sl_f32x4_splat(0), wanted = sl_i32x4_splat(class_id);
    for (uint32_t i = 0; i < taken.count; i += 4) {
        sl_v128 alike = sl_i32x4_eq(sl_load(taken.class_id + i), wanted);
        if (!sl_any_true(alike)) continue;
        sl_v128 right = sl_f32x4_pmin(x2, sl_load(taken.x2 + i));
        sl_v128 left = sl_f32x4_pmax(x1, sl_load(taken.x1 + i));
        sl_v128 bottom = sl_f32x4_pmin(y2, sl_load(taken.y2 + i));
        sl_v128 top = sl_f32x4_pmax(y1, sl_load(taken.y1 + i));
        sl_v128 width = sl_f32x4_pmax(zero, sl_f32x4_sub(right, left));
        sl_v128 height = sl_f32x4_pmax(zero, sl_f32x4_sub(bottom, top));
        sl_v128 inter = sl_f32x4_mul(width, height);
        sl_v128 both = sl_f32x4_sub(sl_f32x4_add(areas, sl_load(taken.area + i)), inter);
        sl_v128 over = sl_f32x4_gt(inter, sl_f32x4_mul(limit, both));
        if (sl_any_true(sl_and(over, alike))) return true;
    }
    return false;
}

static void take(const float *box, float area, int32_t class_id) {
    uint32_t at = taken.count++;
    if (at % 4 == 0) {
        /* A new vector: its free lanes hold a point, which overlaps nothing. */
        float *const arrays[] = {taken.x1, taken.y1, taken.x2, taken.y2, taken.area};
        for (uint32_t i = 0; i < 5; i++) __builtin_memset(arrays[i] + at, 0, 4 * sizeof(float));
        __builtin_memset(taken.class_id + at, 0, 4 * sizeof(int32_t));
    }
    taken.x1[at] = box[0];
    taken.y1[at] = box[1];
    taken.x2[at] = box[2];
    taken.y2[at] = box[3];
    taken.area[at] = area;
    taken.class_id[at] = class_id;
}

/* ---- back to the frame ----------------------------------------------------------------------- */

static int32_t read_geometry(const sl_tensor *geometry, frame_map *map) {
    *map = (frame_map){.connected = sl_connected(geometry)};
    if (!map->connected) return SL_OK;
    const int32_t *values = sl_ptr(geometry->data);
    for (uint32_t i = 0; i < 6; i++)
        if (values[i] <= 0)
            return sl_fail(SL_E_ARGUMENT, "geometry: a width or height that is not above 0");
    map->frame_w = values[0];
    map->frame_h = values[1];
    map->content_w = values[4];
    map->content_h = values[5];
    map->content_x = values[6];
    map->content_y = values[7];
    return SL_OK;
}

static inline double map_x(const frame_map *map, float x) {
    return map->connected ? (x - map->content_x) * map->frame_w / map->content_w : x;
}

static inline double map_y(const frame_map *map, float y) {
    return map->connected ? (y - map->content_y) * map->frame_h / map->content_h : y;
}

static inline float clip(double value, double top) {
    return (float)(value < top ? value > 0 ? value : 0 : top);
}

/* Write a box where it is in the frame; false when none of it is. */
static bool place_box(const frame_map *map, const float *box, float *placed) {
    if (!map->connected) {
        __builtin_memcpy(placed, box, 4 * sizeof(float));
        return true;
    }
    placed[0] = clip(map_x(map, box[0]), map->frame_w);
    placed[1] = clip(map_y(map, box[1]), map->frame_h);
    placed[2] = clip(map_x(map, box[2]), map->frame_w);
    placed[3] = clip(map_y(map, box[3]), map->frame_h);
    return placed[2] > placed[0] && placed[3] > placed[1];
}

/* Write a candidate's points where they are in the frame; false when one is not finite. */
static bool place_points(const frame_map *map, const float *points, uint32_t count, float *placed) {
    for (uint32_t i = 0; i < count; i++) {
        placed[2 * i] = (float)map_x(map, points[2 * i]);
        placed[2 * i + 1] = (float)map_y(map, points[2 * i + 1]);
        if (!sl_finite(placed[2 * i]) || !sl_finite(placed[2 * i + 1])) return false;
    }
    return true;
}

/* ---- a frame --------------------------------------------------------------------------------- */

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    const nms_params *params = sl_params(call, sizeof *params);
    frame_map map;
    int32_t status = check_params(params);
    if (status == SL_OK) status = check_inputs(call);
    if (status == SL_OK) status = read_geometry(sl_input(call, IN_GEOMETRY), &map);
    if (status != SL_OK) return status;

    const float *boxes = sl_ptr(sl_input(call, IN_BOXES)->data);
    const float *scores = sl_ptr(sl_input(call, IN_SCORES)->data);
    const int32_t *classes = sl_ptr(sl_input(call, IN_CLASSES)->data);
    const sl_tensor *points = sl_input(call, IN_POINTS);
    uint32_t count = sl_input(call, IN_BOXES)->dims[0];
    uint32_t n_points = sl_connected(points) ? points->dims[1] : 0;
    if (count > capacity)
        return sl_fail(SL_E_ARGUMENT, "boxes: more candidates than at set-up");
    uint32_t most = least((uint32_t)params->max_detections, capacity);
    sl_tensor *out_boxes = sl_output(call, OUT_BOXES);
    sl_tensor *out_scores = sl_output(call, OUT_SCORES);
    sl_tensor *out_classes = sl_output(call, OUT_CLASSES);
    sl_tensor *out_points = sl_output(call, OUT_POINTS);
    if (!sl_holds_detections(call, most, n_points))
        return sl_fail(SL_E_CAPACITY, "an output is smaller than declared at set-up");
    float *to_boxes = sl_ptr(out_boxes->data), *to_scores = sl_ptr(out_scores->data);
    float *to_points = sl_ptr(out_points->data);
    int32_t *to_classes = sl_ptr(out_classes->data);

    uint32_t found;
    const uint64_t *order = rank(scores, count, params->score, &found);
    taken.count = 0;
    for (uint32_t i = 0; i < found && taken.count < most; i++) {
        uint32_t index = (uint32_t)order[i], at = taken.count;
        const float *box = boxes + 4 * (size_t)index;
        int32_t group = params->across_classes ? 0 : classes[index];
        float area = sl_box_area(box);
        if (!(area > 0) || suppressed(box, area, group, params->iou)) continue;
        if (!place_box(&map, box, to_boxes + 4 * (size_t)at)) continue;
        size_t stride = 2 * (size_t)n_points;
        if (n_points && !place_points(&map, (const float *)sl_ptr(points->data) + stride * index,
                                      n_points, to_points + stride * at))
            continue;
        to_scores[at] = scores[index];
        to_classes[at] = classes[index];
        take(box, area, group);
    }
    out_boxes->dims[0] = out_scores->dims[0] = out_classes->dims[0] = taken.count;
    if (n_points) out_points->dims[0] = taken.count;
    return SL_OK;
}
