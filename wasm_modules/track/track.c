/* track: detections of one camera followed through its frames, each with an id that stays.
 *
 * ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box",
 * ECCV 2022). In each frame, with the boxes of tracks where the Kalman filter predicts them:
 *
 *   1. confirmed tracks and detections of at least `high` are assigned to each other;
 *   2. confirmed tracks that were seen the last time and found none, and detections of `low` to `high`:
 *      something half hidden is still there, but nothing new begins with so low a score;
 *   3. tracks that are not confirmed yet, and what is left of at least `high`;
 *   4. what is then left of at least `new_score` begins a track.
 *
 * An assignment is the one with the greatest sum of what overlaps have above the least that counts:
 * `iou`, in 2 at least 1/2, in 3 at least 3/10. A track is confirmed, and has its id, once it was seen
 * in `min_hits` frames in a row, in the first frame of all at once. One that is not confirmed and not
 * seen ends; a confirmed one that is not seen is kept for `keep_ms`.
 *
 * Of more than MOST detections those of the highest scores take part. Where there are MOST tracks, a new
 * one takes the place of the one that has been out of sight longest.
 */
#include "assign.h"
#include "kalman.h"
#include "sl_best.h"
#include "sl_detections.h"

enum { OUT_IDS = SL_POINTS + 1, N_OUTPUTS };
enum { N_INPUTS = SL_POINTS + 1 };
enum { MOST = ASSIGN_MOST, NO_IDS_LEFT = 1 };
enum { IOU_ONE = 1 << 20 }; /* an overlap of 1 as a whole number */
#define IOU_LOW_SCORE 0.5
#define IOU_UNCONFIRMED 0.3
#define LONGEST_NS (100000 * SL_MS)  /* more than keep_ms */
#define PREDICTED_NS (1000 * SL_MS) /* a velocity says nothing about later */

typedef struct track_params {
    float high, low, new_score, iou;
    int32_t keep_ms, min_hits, across_classes, smooth;
} track_params;

typedef struct track {
    motion motion;
    double box[4];     /* where it is thought to be in this frame */
    int64_t unseen_ns; /* since it was last seen */
    int32_t id;        /* 0: not confirmed yet */
    int32_t class_id;
    uint32_t hits;
    bool seen;      /* the last time */
    int32_t found;  /* its detection in this frame, by rank; -1 for none */
} track;

static track_params params;
static uint32_t capacity; /* detections of a frame */
static sl_clock clock;
static track tracks[MOST];
static uint32_t n_tracks;
static int32_t last_id;
static uint64_t ranked[MOST]; /* the frame's detections, best first */
static int32_t owner[MOST];   /* of each of them, its track; -1 for none */
static uint32_t n_ranked, n_high; /* all, and those of at least `high`, which come first */

/* ---- setting up ------------------------------------------------------------------------------ */

static int32_t check_params(const track_params *p) {
    if (!p) return sl_fail(SL_E_ARGUMENT, "params: not the size that the manifest packs");
    if (!(p->low >= 0 && p->low <= p->high && p->high <= 1))
        return sl_fail(SL_E_ARGUMENT, "low, high: needs 0 <= low <= high <= 1");
    if (!(p->new_score >= 0 && p->new_score <= 1) || !(p->iou >= 0 && p->iou <= 1))
        return sl_fail(SL_E_ARGUMENT, "new_score, iou: needs 0 to 1");
    if (p->keep_ms < 0 || p->keep_ms > 60000 || p->min_hits < 1 || p->min_hits > 100)
        return sl_fail(SL_E_ARGUMENT, "keep_ms: needs 0 to 60000; min_hits: 1 to 100");
    return SL_OK;
}

static uint32_t most_of(uint32_t count) { return count < MOST ? count : MOST; }

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    if (call->n_inputs != N_INPUTS || call->n_outputs != N_OUTPUTS)
        return sl_fail(SL_E_ARGUMENT, "track has 4 inputs (1 optional) and 5 outputs");
    const track_params *given = sl_params(call, sizeof *given);
    int32_t status = check_params(given);
    if (!status) status = sl_check_detections(call);
    if (status) return status;
    params = *given;
    capacity = sl_input(call, SL_BOXES)->dims[0];
    uint32_t most = most_of(capacity);
    sl_declare_detections(call, most);
    sl_declare(sl_output(call, OUT_IDS), SL_I32, 1, &most);
    return SL_OK;
}

SL_EXPORT(sl_reset) int32_t sl_reset(void) {
    clock.running = false;
    n_tracks = 0; /* ids go on, so that none is ever used twice */
    return SL_OK;
}

/* ---- detections ------------------------------------------------------------------------------ */

typedef struct detections {
    const float *boxes, *scores, *points;
    const int32_t *classes;
    uint32_t count, n_points;
} detections;

static detections read_detections(const sl_call *call) {
    const sl_tensor *points = sl_input(call, SL_POINTS);
    bool with_points = sl_connected(points);
    return (detections){.boxes = sl_ptr(sl_input(call, SL_BOXES)->data),
                        .scores = sl_ptr(sl_input(call, SL_SCORES)->data),
                        .classes = sl_ptr(sl_input(call, SL_CLASSES)->data),
                        .points = with_points ? sl_ptr(points->data) : NULL,
                        .count = sl_input(call, SL_BOXES)->dims[0],
                        .n_points = with_points ? points->dims[1] : 0};
}

static bool is_detection(const void *context, uint32_t index) {
    const detections *d = context;
    return sl_finite(d->scores[index]) && sl_box_area(d->boxes + 4 * (size_t)index) > 0;
}

/* Which of the input's detections the one of a rank is. */
static uint32_t input_of(uint32_t rank) { return sl_best_index(ranked[rank]); }
static const float *box_of(const detections *d, uint32_t rank) {
    return d->boxes + 4 * (size_t)input_of(rank);
}

static void rank(const sl_call *call, const detections *d) {
    sl_best best = {.keys = ranked, .capacity = MOST};
    sl_reader reader;
    sl_open(&reader, sl_input(call, SL_SCORES));
    sl_find_best(&best, &reader, 0, d->count, sl_least_order(&reader, params.low, false),
                 is_detection, d);
    sl_best_by_value(&best);
    n_ranked = best.count;
    n_high = 0;
    while (n_high < n_ranked && d->scores[input_of(n_high)] >= params.high) n_high++;
    for (uint32_t i = 0; i < n_ranked; i++) owner[i] = -1;
}

/* ---- association ----------------------------------------------------------------------------- */

/* The intersection over the union, 0 to IOU_ONE. */
static int32_t overlap(const double *a, const float *b) {
    double left = a[0] > b[0] ? a[0] : b[0], right = a[2] < b[2] ? a[2] : b[2];
    double top = a[1] > b[1] ? a[1] : b[1], bottom = a[3] < b[3] ? a[3] : b[3];
    if (!(right > left && bottom > top)) return 0;
    double inter = (right - left) * (bottom - top);
    double area = (a[2] - a[0]) * (a[3] - a[1]);
    double other = ((double)b[2] - (double)b[0]) * ((double)b[3] - (double)b[1]);
    double share = inter / (area + other - inter);
    return share < 1 ? (int32_t)(share * IOU_ONE) : IOU_ONE; /* rounding may make it more than 1 */
}

enum which { CONFIRMED, CONFIRMED_SEEN, UNCONFIRMED };

static bool takes_part(const track *t, enum which which) {
    if (t->found >= 0) return false;
    if (which == UNCONFIRMED) return t->id == 0;
    return t->id != 0 && (which == CONFIRMED || t->seen);
}

/* Assign detections of rank `from` to `to` that have no track yet to tracks that have none yet. */
static void associate(const detections *d, enum which which, uint32_t from, uint32_t to,
                      double least_iou) {
    static uint16_t row[MOST], column[MOST];
    static int32_t column_of[MOST];
    uint32_t rows = 0, columns = 0;
    for (uint32_t i = 0; i < n_tracks; i++)
        if (takes_part(&tracks[i], which)) row[rows++] = (uint16_t)i;
    for (uint32_t i = from; i < to; i++)
        if (owner[i] < 0) column[columns++] = (uint16_t)i;
    double iou = params.iou;
    int32_t least = (int32_t)((iou > least_iou ? iou : least_iou) * IOU_ONE);
    for (uint32_t i = 0; i < rows; i++) {
        const track *t = &tracks[row[i]];
        for (uint32_t j = 0; j < columns; j++) {
            bool alike = params.across_classes || d->classes[input_of(column[j])] == t->class_id;
            int32_t share = alike ? overlap(t->box, box_of(d, column[j])) : 0;
            assign_weights[i][j] = share && share >= least ? share - least + 1 : 0;
        }
    }
    assign(rows, columns, column_of);
    for (uint32_t i = 0; i < rows; i++) {
        if (column_of[i] < 0) continue;
        tracks[row[i]].found = column[column_of[i]];
        owner[column[column_of[i]]] = row[i];
    }
}

/* ---- tracks ---------------------------------------------------------------------------------- */

/* Move all tracks on in time; those out of sight for too long end. One that was seen the last time is
 * not, however long ago that was: a slow camera has tracks too. */
static void predict(int64_t gone_ns) {
    double frames = (double)(gone_ns < PREDICTED_NS ? gone_ns : PREDICTED_NS) / SL_FRAME_NS;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n_tracks; i++) {
        track *t = &tracks[i];
        t->unseen_ns += gone_ns;
        if (!t->seen && t->unseen_ns > params.keep_ms * SL_MS) continue;
        kalman_predict(&t->motion, frames, t->seen);
        kalman_box(&t->motion, t->box);
        t->found = -1;
        tracks[kept++] = *t;
    }
    n_tracks = kept;
}

static void confirm(track *t, bool at_once) {
    if (t->id == 0 && (at_once || t->hits >= (uint32_t)params.min_hits)) t->id = ++last_id;
}

/* Take in what was found, and end what was neither found nor confirmed. */
static void update(const detections *d) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n_tracks; i++) {
        track *t = &tracks[i];
        t->seen = t->found >= 0;
        if (!t->seen && !t->id) continue;
        if (t->seen) {
            owner[t->found] = (int32_t)kept;
            kalman_update(&t->motion, box_of(d, (uint32_t)t->found));
            kalman_box(&t->motion, t->box);
            t->class_id = d->classes[input_of((uint32_t)t->found)];
            t->unseen_ns = 0;
            t->hits++;
            confirm(t, false);
        }
        tracks[kept++] = *t;
    }
    n_tracks = kept;
}

/* A place for a new track, or NULL when all are taken by what was seen in this frame. */
static track *place(void) {
    if (n_tracks < MOST) return &tracks[n_tracks++];
    track *oldest = NULL;
    for (uint32_t i = 0; i < MOST; i++)
        if (!tracks[i].seen && (!oldest || tracks[i].unseen_ns > oldest->unseen_ns))
            oldest = &tracks[i];
    return oldest;
}

static void begin(const detections *d, bool first_frame) {
    for (uint32_t i = 0; i < n_high && d->scores[input_of(i)] >= params.new_score; i++) {
        if (owner[i] >= 0) continue;
        track *t = place();
        if (!t) return;
        *t = (track){.class_id = d->classes[input_of(i)], .hits = 1, .seen = true};
        t->found = (int32_t)i;
        kalman_begin(&t->motion, box_of(d, i));
        kalman_box(&t->motion, t->box);
        confirm(t, first_frame);
        owner[i] = (int32_t)(t - tracks);
    }
}

/* ---- a frame --------------------------------------------------------------------------------- */

/* A filtered coordinate may be beyond what the detected ones can be. */
static float narrow(double value) {
    const double most = 3.4028234663852886e38;
    return (float)(value < -most ? -most : value > most ? most : value);
}

static void write(const sl_call *call, const detections *d) {
    float *boxes = sl_ptr(sl_output(call, SL_BOXES)->data);
    float *scores = sl_ptr(sl_output(call, SL_SCORES)->data);
    float *points = sl_ptr(sl_output(call, SL_POINTS)->data);
    int32_t *classes = sl_ptr(sl_output(call, SL_CLASSES)->data);
    int32_t *ids = sl_ptr(sl_output(call, OUT_IDS)->data);
    size_t stride = 2 * (size_t)d->n_points;
    uint32_t count = 0;
    for (uint32_t i = 0; i < n_ranked; i++) {
        if (owner[i] < 0 || !tracks[owner[i]].id) continue;
        const track *t = &tracks[owner[i]];
        for (uint32_t j = 0; j < 4; j++)
            boxes[4 * count + j] = params.smooth ? narrow(t->box[j]) : box_of(d, i)[j];
        scores[count] = d->scores[input_of(i)];
        classes[count] = d->classes[input_of(i)];
        ids[count] = t->id;
        if (stride)
            __builtin_memcpy(points + stride * count, d->points + stride * input_of(i),
                             stride * sizeof *points);
        count++;
    }
    for (uint32_t i = 0; i < N_OUTPUTS; i++)
        if (sl_connected(sl_output(call, i))) sl_output(call, i)->dims[0] = count;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    int32_t status = sl_check_detections(call);
    if (status) return status;
    detections d = read_detections(call);
    if (d.count > capacity) return sl_fail(SL_E_ARGUMENT, "boxes: more than at set-up");
    uint32_t most = most_of(capacity);
    if (!sl_holds_detections(call, most, d.n_points) || !sl_holds(sl_output(call, OUT_IDS), most))
        return sl_fail(SL_E_CAPACITY, "an output is smaller than declared at set-up");
    if (last_id > INT32_MAX - MOST)
        return sl_fail(NO_IDS_LEFT, "all ids have been used: it has to be set up anew");

    bool first_frame = !clock.running;
    predict(sl_clock_step(&clock, call->captured_ns, LONGEST_NS));
    rank(call, &d);
    associate(&d, CONFIRMED, 0, n_high, 0);
    associate(&d, CONFIRMED_SEEN, n_high, n_ranked, IOU_LOW_SCORE);
    associate(&d, UNCONFIRMED, 0, n_high, IOU_UNCONFIRMED);
    update(&d);
    begin(&d, first_frame);
    write(call, &d);
    return SL_OK;
}
