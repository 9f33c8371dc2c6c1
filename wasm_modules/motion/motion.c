/* motion: does anything move? A frame in which nothing does ends here (SL_SKIP).
 *
 * The picture becomes a grid of mean lumas (means.h). Each cell has a background and a noise level
 * by sigma-delta estimation (Manzanera and Richefeu, "A new motion detection algorithm based on
 * sigma-delta background estimation", Pattern Recognition Letters 28, 2007), with a step that grows
 * with the time gone by, so that dropped frames do not slow it down:
 *
 *     difference = luma - background - light        light: the median of luma - background
 *     changed when |difference| > max(noise, threshold)
 *     background += light, then a step towards luma
 *     noise      a step towards 4 |difference|, held to 0 to 16
 *
 * so that a lamp, a cloud or the camera's own exposure, which change all cells alike, change nothing.
 * A cell is compared before its background moves: after a gap that step is large.
 *
 * Passed on are: frames with more than `area` of their cells changed, those for `hold_ms` after, one
 * every `refresh_ms`, and the first FIRST_FRAMES, while the background is not known yet.
 */
#include "means.h"
#include "sl_clock.h"

enum { FIRST_FRAMES = 8, AMPLIFY = 4, NOISE_MAX = 16 << 8 };
#define DAY_NS (86400000 * SL_MS) /* times stop there */
#define SECOND_NS (1000 * SL_MS)

typedef struct motion_params {
    int32_t cell;
    float area, threshold, adapt;
    int32_t hold_ms, refresh_ms;
} motion_params;

/* What is known of the frames before. */
static struct {
    sl_clock clock;
    uint32_t width, height;  /* of the picture that the background is of */
    uint32_t frames;         /* counted up to FIRST_FRAMES */
    int64_t moved_ns, passed_ns; /* since something moved, since a frame was passed on */
    int64_t rest;            /* of the step: what was less than one */
} state;

static motion_params params;
static uint32_t most_rows, most_columns, widest; /* that there is room for; widest in bytes */
static int32_t *luma, *background, *noise, *difference;
static uint16_t *sums;
static uint64_t *totals;

static void forget(void) {
    __builtin_memset(&state, 0, sizeof state);
    state.moved_ns = DAY_NS;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static int32_t check_params(const motion_params *p) {
    if (!p) return sl_fail(SL_E_ARGUMENT, "params: not the size that the manifest packs");
    if (p->cell < 4 || p->cell > MEANS_CELL_MAX)
        return sl_fail(SL_E_ARGUMENT, "cell: needs 4 to 64");
    if (!(p->area >= 0 && p->area <= 1)) return sl_fail(SL_E_ARGUMENT, "area: needs 0 to 1");
    if (!(p->threshold >= 0 && p->threshold <= 255) || !(p->adapt >= 0 && p->adapt <= 255))
        return sl_fail(SL_E_ARGUMENT, "threshold, adapt: needs 0 to 255");
    if (p->hold_ms < 0 || p->hold_ms > DAY_NS / SL_MS || p->refresh_ms < 0 ||
        p->refresh_ms > DAY_NS / SL_MS)
        return sl_fail(SL_E_ARGUMENT, "hold_ms, refresh_ms: needs 0 to 86400000");
    return SL_OK;
}

static void *room(uint64_t bytes) {
    return bytes <= UINT32_MAX - MEANS_PAD ? sl_ptr(sl_alloc((uint32_t)bytes + MEANS_PAD)) : NULL;
}

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    if (call->n_inputs != 1 || call->n_outputs != 2)
        return sl_fail(SL_E_ARGUMENT, "motion has 1 input and 2 outputs");
    const motion_params *given = sl_params(call, sizeof *given);
    picture first;
    int32_t status = check_params(given);
    if (!status) status = means_read(sl_input(call, 0), &first);
    if (status) return status;
    params = *given;
    most_rows = means_cells(first.height, (uint32_t)params.cell);
    most_columns = means_cells(first.width, (uint32_t)params.cell);
    widest = first.width * first.step;
    uint64_t cells = (uint64_t)most_rows * most_columns;
    luma = room(4 * sizeof *luma * cells);
    sums = room(sizeof *sums * (uint64_t)widest);
    totals = room(sizeof *totals * (uint64_t)most_columns);
    if (!luma || !sums || !totals) return sl_fail(SL_E_MEMORY, "no room for so many cells");
    background = luma + cells;
    noise = background + cells;
    difference = noise + cells;
    sl_declare(sl_output(call, 0), SL_F32, 1, (uint32_t[]){1});
    sl_declare(sl_output(call, 1), SL_U8, 2, (uint32_t[]){most_rows, most_columns});
    forget();
    return SL_OK;
}

SL_EXPORT(sl_reset) int32_t sl_reset(void) {
    forget();
    return SL_OK;
}

/* ---- the background -------------------------------------------------------------------------- */

/* The lower median of values above -2^16 and below 2^16: found by the upper 9 bits, then the lower. */
static int32_t median(const int32_t *values, uint32_t count) {
    static uint32_t upper[512], lower[256];
    uint32_t left = (count - 1) / 2, high = 0, low = 0;
    __builtin_memset(upper, 0, sizeof upper);
    __builtin_memset(lower, 0, sizeof lower);
    for (uint32_t i = 0; i < count; i++) upper[(uint32_t)(values[i] + 65536) >> 8]++;
    for (; upper[high] <= left; high++) left -= upper[high];
    for (uint32_t i = 0; i < count; i++)
        if ((uint32_t)(values[i] + 65536) >> 8 == high) lower[values[i] & 255]++;
    for (; lower[low] <= left; low++) left -= lower[low];
    return (int32_t)(high << 8 | low) - 65536;
}

static inline int32_t towards(int32_t from, int32_t to, int32_t step) {
    return to > from + step ? from + step : to < from - step ? from - step : to;
}

static inline int32_t held(int32_t value, int32_t most) {
    return value < 0 ? 0 : value > most ? most : value;
}

/* How far backgrounds move, for the time since the frame before; at most what a second allows. */
static int32_t step_of(int64_t gone_ns) {
    int64_t time = gone_ns < SECOND_NS ? gone_ns : SECOND_NS;
    int64_t way = (int64_t)(int32_t)(params.adapt * 256) * time + state.rest;
    state.rest = way % SECOND_NS;
    return (int32_t)(way / SECOND_NS);
}

/* Compare with the background, and let it follow; the number of changed cells. */
static uint32_t compare(uint32_t count, int32_t step, uint8_t *cells) {
    int32_t threshold = (int32_t)(params.threshold * 256);
    uint32_t changed = 0;
    for (uint32_t i = 0; i < count; i++) difference[i] = luma[i] - background[i];
    int32_t light = median(difference, count);
    for (uint32_t i = 0; i < count; i++) {
        int32_t apart = difference[i] - light;
        apart = apart < 0 ? -apart : apart;
        cells[i] = apart > threshold && apart > noise[i];
        changed += cells[i];
        background[i] = towards(held(background[i] + light, 255 << 8), luma[i], step);
        if (apart) noise[i] = held(towards(noise[i], AMPLIFY * apart, step), NOISE_MAX);
    }
    return changed;
}

static void begin(const picture *p, uint32_t count, uint8_t *cells) {
    forget();
    state.width = p->width;
    state.height = p->height;
    __builtin_memcpy(background, luma, count * sizeof *background);
    __builtin_memset(noise, 0, count * sizeof *noise);
    __builtin_memset(cells, 0, count);
}

/* ---- a frame --------------------------------------------------------------------------------- */

static int64_t later(int64_t time_ns, int64_t gone_ns) {
    return time_ns + gone_ns < DAY_NS ? time_ns + gone_ns : DAY_NS;
}

/* Whether this frame is passed on. */
static bool passes(bool moving, int64_t gone_ns) {
    state.moved_ns = moving ? 0 : later(state.moved_ns, gone_ns);
    state.passed_ns = later(state.passed_ns, gone_ns);
    bool refresh = params.refresh_ms && state.passed_ns >= params.refresh_ms * SL_MS;
    bool hold = moving || state.moved_ns < params.hold_ms * SL_MS;
    bool first = state.frames < FIRST_FRAMES;
    state.frames += first;
    if (!first && !hold && !refresh) return false;
    state.passed_ns = 0;
    return true;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    sl_tensor *share = sl_output(call, 0), *map = sl_output(call, 1);
    uint32_t cell = (uint32_t)params.cell;
    picture p;
    int32_t status = means_read(sl_input(call, 0), &p);
    if (status) return status;
    uint32_t rows = means_cells(p.height, cell), columns = means_cells(p.width, cell);
    if (rows > most_rows || columns > most_columns || p.width * p.step > widest)
        return sl_fail(SL_E_ARGUMENT, "image: larger than what was planned for");
    uint32_t count = rows * columns;
    if (share->capacity < sizeof(float) || map->capacity < count)
        return sl_fail(SL_E_CAPACITY, "motion, cells: larger than their buffers");
    uint8_t *cells = sl_ptr(map->data);
    means_of(&p, cell, rows, columns, sums, totals, luma);

    uint32_t changed = 0;
    if (!state.clock.running || state.width != p.width || state.height != p.height)
        begin(&p, count, cells);
    int64_t gone_ns = sl_clock_step(&state.clock, call->captured_ns, DAY_NS);
    if (state.frames) changed = compare(count, step_of(gone_ns), cells);
    float moved = (float)changed / (float)count;
    *(float *)sl_ptr(share->data) = moved;
    map->dims[0] = rows;
    map->dims[1] = columns;
    return passes(moved > params.area, gone_ns) ? SL_OK : SL_SKIP;
}
