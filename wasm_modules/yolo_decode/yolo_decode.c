/* yolo_decode: boxes, scores and classes out of the output of YOLOv5, YOLOv8 or YOLO11.
 *
 * Layouts (C classes, N anchors), joined or split as `sanderling model quantize` leaves them:
 *
 *     v8  [1, 4+C, N]   or  boxes [1, 4, N] and class_scores [1, C, N]
 *     v5  [1, N, 5+C]   or  boxes [1, N, 4] and class_scores [1, N, 1+C]
 *
 * An anchor has cx, cy, w, h, for v5 objectness, and a score for each class. layout.h says how the
 * two are told apart.
 *
 * What is found, in float32 (reference.py repeats it bit for bit):
 *   - real = scale * (stored - zero_point) for quantized inputs;
 *   - an anchor's class is the one with the greatest score, the lowest index of equals;
 *   - its score is that of the class, for v5 objectness * class;
 *   - it is a candidate when score > `score`; for v5 the objectness alone must be above it too;
 *   - the box is cx - w/2, cy - h/2, cx + w/2, cy + h/2.
 * A NaN among the class scores is passed over; an anchor whose score or box is not finite is
 * dropped. Candidates come in the order of the anchors. Of more than max_candidates the best are
 * kept, the lower anchors of equals.
 *
 * Most anchors show nothing, so the work is to find that out cheaply. Scores in columns are reduced
 * to their maximum by anchor, a block of anchors at a time so that it stays in the first cache;
 * quantized ones as raw bytes, against the last byte whose real value does not pass. Only survivors
 * get a class and a box.
 */
#include "sl_guest.h"
#include "sl_simd.h"
#include "sl_tensor.h"

#include "layout.h"

enum { OUT_BOXES, OUT_SCORES, OUT_CLASSES, N_OUTPUTS };

typedef struct yolo_params {
    int32_t version;
    int32_t classes;
    float score;
    int32_t max_candidates;
} yolo_params;

typedef struct candidate {
    float score;
    int32_t class_id;
    float box[4];
} candidate;

static layout planned; /* settles version and classes; its anchors are the most there can be */
static candidate *found;
static uint32_t n_found;

#define BLOCK 1024 /* anchors whose best scores are kept at hand */

static inline uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static int32_t check_params(const yolo_params *params) {
    if (!params) return sl_fail(SL_E_ARGUMENT, "params: not the size that the manifest packs");
    if (params->version < VERSION_AUTO || params->version > VERSION_V8)
        return sl_fail(SL_E_ARGUMENT, "version: needs auto, v5 or v8");
    if (params->classes < 0) return sl_fail(SL_E_ARGUMENT, "classes: needs 0 or more");
    if (!(params->score >= 0 && params->score <= 1))
        return sl_fail(SL_E_ARGUMENT, "score: needs 0 to 1");
    if (params->max_candidates < 1)
        return sl_fail(SL_E_ARGUMENT, "max_candidates: needs 1 or more");
    return SL_OK;
}

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    if (call->n_inputs != N_INPUTS || call->n_outputs != N_OUTPUTS)
        return sl_fail(SL_E_ARGUMENT, "yolo_decode has 2 inputs (1 optional) and 3 outputs");
    const yolo_params *params = sl_params(call, sizeof *params);
    int32_t status = check_params(params);
    if (status == SL_OK)
        status = understand(call, params->version, (uint32_t)params->classes, &planned);
    if (status != SL_OK) return status;

    uint64_t bytes = sizeof(candidate) * (uint64_t)planned.anchors;
    sl_addr scratch = bytes <= UINT32_MAX ? sl_alloc((uint32_t)bytes) : 0;
    if (!scratch) return sl_fail(SL_E_MEMORY, "no room for so many anchors");
    found = sl_ptr(scratch);
    uint32_t most = least((uint32_t)params->max_candidates, planned.anchors);
    sl_declare(sl_output(call, OUT_BOXES), SL_F32, 2, (uint32_t[]){most, 4});
    sl_declare(sl_output(call, OUT_SCORES), SL_F32, 1, &most);
    sl_declare(sl_output(call, OUT_CLASSES), SL_I32, 1, &most);
    return SL_OK;
}

/* ---- survivors ------------------------------------------------------------------------------- */

/* Keep a survivor of the cheap test, if its box is one. */
static void keep(const layout *in, uint32_t anchor, uint32_t class_id, float score) {
    float cx = value_at(&in->boxes, anchor, 0), cy = value_at(&in->boxes, anchor, 1);
    float half_w = 0.5f * value_at(&in->boxes, anchor, 2);
    float half_h = 0.5f * value_at(&in->boxes, anchor, 3);
    candidate *made = found + n_found;
    made->score = score;
    made->class_id = (int32_t)class_id;
    made->box[0] = cx - half_w;
    made->box[1] = cy - half_h;
    made->box[2] = cx + half_w;
    made->box[3] = cy + half_h;
    bool good = sl_finite(score);
    for (uint32_t i = 0; i < 4; i++) good = good && sl_finite(made->box[i]);
    n_found += good;
}

/* ---- YOLOv8: scores in columns --------------------------------------------------------------- */

/* best[i] = the greatest of `floor` and the scores of anchor i; NaN is passed over. Four classes a
 * pass; where fewer are left, the last one again. */
static void best_f32(const layout *in, const float *scores, uint32_t count, float floor,
                     float *best) {
    uint32_t whole = count & ~15u, last = in->classes - 1;
    size_t step = in->scores.channel_step;
    for (uint32_t i = 0; i < count; i++) best[i] = floor;
    for (uint32_t c = 0; c <= last; c += 4) {
        const float *r0 = scores + c * step, *r1 = scores + least(c + 1, last) * step;
        const float *r2 = scores + least(c + 2, last) * step;
        const float *r3 = scores + least(c + 3, last) * step;
        for (uint32_t i = 0; i < whole; i += 16) {
            for (uint32_t j = i; j < i + 16; j += 4) {
                sl_v128 top = sl_f32x4_pmax(sl_load(best + j), sl_load(r0 + j));
                top = sl_f32x4_pmax(top, sl_load(r1 + j));
                top = sl_f32x4_pmax(top, sl_load(r2 + j));
                sl_store(best + j, sl_f32x4_pmax(top, sl_load(r3 + j)));
            }
        }
    }
    for (uint32_t c = 0; c <= last; c++)
        for (uint32_t i = whole; i < count; i++)
            if (scores[c * step + i] > best[i]) best[i] = scores[c * step + i];
}

static void columns_f32(const layout *in, float threshold) {
    static _Alignas(16) float best[BLOCK];
    const float *scores = in->scores.reader.data;
    for (uint32_t start = 0; start < in->anchors; start += BLOCK) {
        uint32_t count = least(BLOCK, in->anchors - start);
        best_f32(in, scores + start, count, threshold, best);
        for (uint32_t i = count; i % 16; i++) best[i] = threshold;
        for (uint32_t i = 0; i < count; i += 16) {
            sl_v128 floor = sl_f32x4_splat(threshold);
            sl_v128 any = sl_or(sl_or(sl_f32x4_gt(sl_load(best + i), floor),
                                      sl_f32x4_gt(sl_load(best + i + 4), floor)),
                                sl_or(sl_f32x4_gt(sl_load(best + i + 8), floor),
                                      sl_f32x4_gt(sl_load(best + i + 12), floor)));
            if (!sl_any_true(any)) continue;
            for (uint32_t j = i; j < i + 16; j++) {
                if (!(best[j] > threshold)) continue;
                const float *column = scores + start + j;
                uint32_t c = 0;
                while (column[(size_t)c * in->scores.channel_step] != best[j]) c++;
                keep(in, start + j, c, best[j]);
            }
        }
    }
}

/* The same for bytes. Signed ones are compared as unsigned with the top bit turned (`flip`). */
static void best_u8(const layout *in, const uint8_t *scores, uint32_t count, uint8_t floor,
                    uint8_t *best) {
    uint32_t whole = count & ~15u, last = in->classes - 1;
    uint8_t flip = in->scores.reader.flip;
    size_t step = in->scores.channel_step;
    sl_v128 turn = sl_i8x16_splat((int8_t)flip);
    __builtin_memset(best, floor, count);
    for (uint32_t c = 0; c <= last; c += 4) {
        const uint8_t *r0 = scores + c * step, *r1 = scores + least(c + 1, last) * step;
        const uint8_t *r2 = scores + least(c + 2, last) * step;
        const uint8_t *r3 = scores + least(c + 3, last) * step;
        for (uint32_t i = 0; i < whole; i += 16) {
            sl_v128 a = sl_u8x16_max(sl_xor(sl_load(r0 + i), turn), sl_xor(sl_load(r1 + i), turn));
            sl_v128 b = sl_u8x16_max(sl_xor(sl_load(r2 + i), turn), sl_xor(sl_load(r3 + i), turn));
            sl_store(best + i, sl_u8x16_max(sl_load(best + i), sl_u8x16_max(a, b)));
        }
    }
    for (uint32_t c = 0; c <= last; c++)
        for (uint32_t i = whole; i < count; i++)
            if ((scores[c * step + i] ^ flip) > best[i]) best[i] = scores[c * step + i] ^ flip;
}

static void columns_u8(const layout *in, float threshold) {
    static _Alignas(16) uint8_t best[BLOCK];
    const uint8_t *scores = in->scores.reader.data;
    uint8_t flip = in->scores.reader.flip;
    uint8_t floor = byte_floor(&in->scores.reader, threshold);
    for (uint32_t start = 0; start < in->anchors; start += BLOCK) {
        uint32_t count = least(BLOCK, in->anchors - start);
        best_u8(in, scores + start, count, floor, best);
        for (uint32_t i = count; i % 16; i++) best[i] = floor;
        for (uint32_t i = 0; i < count; i += 16) {
            sl_v128 alike = sl_i8x16_eq(sl_load(best + i), sl_i8x16_splat((int8_t)floor));
            uint32_t alive = ~sl_i8x16_bitmask(alike) & 0xffff;
            for (; alive; alive &= alive - 1) {
                uint32_t at = i + (uint32_t)__builtin_ctz(alive);
                const uint8_t *column = scores + start + at;
                uint32_t c = 0;
                while ((column[(size_t)c * in->scores.channel_step] ^ flip) != best[at]) c++;
                keep(in, start + at, c, value_at(&in->scores, start + at, c));
            }
        }
    }
}

/* ---- YOLOv5: a row an anchor ----------------------------------------------------------------- */

/* The first anchor from here on whose objectness is above the threshold; eight are passed over at a
 * time, as most are not. */
static uint32_t next_f32(const layout *in, uint32_t anchor, float threshold) {
    uint32_t step = in->scores.anchor_step;
    const float *objectness = in->scores.reader.data;
    for (; anchor + 8 <= in->anchors; anchor += 8) {
        uint32_t any = 0;
        for (uint32_t i = 0; i < 8; i++) any |= objectness[(size_t)(anchor + i) * step] > threshold;
        if (any) break;
    }
    while (anchor < in->anchors && !(objectness[(size_t)anchor * step] > threshold)) anchor++;
    return anchor;
}

static void rows_f32(const layout *in, float threshold) {
    for (uint32_t anchor = 0; (anchor = next_f32(in, anchor, threshold)) < in->anchors; anchor++) {
        const float *row = in->scores.reader.data;
        row += (size_t)anchor * in->scores.anchor_step;
        const float *scores = row + 1;
        sl_v128 tops = sl_f32x4_splat(0); /* a score of 0 or less passes no threshold */
        uint32_t c = 0;
        for (; c + 4 <= in->classes; c += 4) tops = sl_f32x4_pmax(tops, sl_load(scores + c));
        float lanes[4], best = 0;
        sl_store(lanes, tops);
        for (uint32_t i = 0; i < 4; i++) best = lanes[i] > best ? lanes[i] : best;
        for (; c < in->classes; c++) best = scores[c] > best ? scores[c] : best;
        float score = row[0] * best;
        if (!(score > threshold)) continue;
        for (c = 0; scores[c] != best;) c++;
        keep(in, anchor, c, score);
    }
}

static uint32_t next_u8(const layout *in, uint32_t anchor, uint8_t floor) {
    uint32_t step = in->scores.anchor_step;
    const uint8_t *objectness = in->scores.reader.data;
    uint8_t flip = in->scores.reader.flip;
    for (; anchor + 8 <= in->anchors; anchor += 8) {
        uint32_t any = 0;
        for (uint32_t i = 0; i < 8; i++)
            any |= (objectness[(size_t)(anchor + i) * step] ^ flip) > floor;
        if (any) break;
    }
    while (anchor < in->anchors && (objectness[(size_t)anchor * step] ^ flip) <= floor) anchor++;
    return anchor;
}

static void rows_u8(const layout *in, float threshold) {
    uint8_t flip = in->scores.reader.flip, floor = byte_floor(&in->scores.reader, threshold);
    for (uint32_t anchor = 0; (anchor = next_u8(in, anchor, floor)) < in->anchors; anchor++) {
        const uint8_t *row = in->scores.reader.data;
        row += (size_t)anchor * in->scores.anchor_step;
        uint32_t best = 0;
        for (uint32_t c = 1; c < in->classes; c++)
            if ((row[1 + c] ^ flip) > (row[1 + best] ^ flip)) best = c;
        float score = value_at(&in->scores, anchor, 0) * value_at(&in->scores, anchor, 1 + best);
        if (score > threshold) keep(in, anchor, best, score);
    }
}

/* ---- the best of too many -------------------------------------------------------------------- */

/* The bits of the score of the last candidate that is kept, and how many of those with exactly that
 * score are. Scores are positive, so their bits order like the numbers; found a byte at a time. */
static uint32_t last_kept(uint32_t wanted, uint32_t *equals) {
    uint32_t prefix = 0, mask = 0;
    for (int32_t shift = 24; shift >= 0; shift -= 8) {
        uint32_t counts[256] = {0}, byte = 255;
        for (uint32_t i = 0; i < n_found; i++) {
            uint32_t bits = sl_float_bits(found[i].score);
            if ((bits & mask) == prefix) counts[bits >> shift & 255]++;
        }
        for (; counts[byte] < wanted; byte--) wanted -= counts[byte];
        prefix |= byte << shift;
        mask |= 255u << shift;
    }
    *equals = wanted;
    return prefix;
}

static uint32_t write_best(uint32_t most, float *boxes, float *scores, int32_t *classes) {
    uint32_t equals = n_found, last = n_found > most ? last_kept(most, &equals) : 0, written = 0;
    for (uint32_t i = 0; i < n_found; i++) {
        uint32_t bits = sl_float_bits(found[i].score);
        if (bits < last || (bits == last && equals == 0)) continue;
        equals -= bits == last;
        __builtin_memcpy(boxes + 4 * (size_t)written, found[i].box, sizeof found[i].box);
        scores[written] = found[i].score;
        classes[written++] = found[i].class_id;
    }
    return written;
}

/* ---- a frame --------------------------------------------------------------------------------- */

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    const yolo_params *params = sl_params(call, sizeof *params);
    layout in;
    int32_t status = check_params(params);
    if (status == SL_OK)
        status = understand(call, planned.v5 ? VERSION_V5 : VERSION_V8, planned.classes, &in);
    if (status != SL_OK) return status;
    if (in.anchors > planned.anchors)
        return sl_fail(SL_E_ARGUMENT, "more anchors than at set-up");
    uint32_t most = least((uint32_t)params->max_candidates, planned.anchors);
    sl_tensor *boxes = sl_output(call, OUT_BOXES), *scores = sl_output(call, OUT_SCORES);
    sl_tensor *classes = sl_output(call, OUT_CLASSES);
    if (boxes->capacity < 16 * (uint64_t)most || scores->capacity < 4 * (uint64_t)most ||
        classes->capacity < 4 * (uint64_t)most)
        return sl_fail(SL_E_CAPACITY, "an output is smaller than declared at set-up");

    n_found = 0;
    bool quantized = in.scores.reader.dtype != SL_F32;
    if (in.v5) (quantized ? rows_u8 : rows_f32)(&in, params->score);
    else (quantized ? columns_u8 : columns_f32)(&in, params->score);
    uint32_t written =
        write_best(most, sl_ptr(boxes->data), sl_ptr(scores->data), sl_ptr(classes->data));
    boxes->dims[0] = scores->dims[0] = classes->dims[0] = written;
    return SL_OK;
}
