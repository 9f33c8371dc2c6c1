/* softmax: logits to probabilities along the last dimension.
 *
 *     p[i] = exp((x[i] - max) / temperature) / sum over j of exp((x[j] - max) / temperature)
 *
 * in float32, sums of 256 terms at a time collected in float64. u8 and i8 stand for
 * scale * (stored - zero_point), or for themselves where the scale is 0; max - x is then one of 256
 * values, so the exponentials come from a table.
 *
 * What the formula leaves open:
 *   - equal logits have equal shares, infinite ones too: +inf takes all, two of them a half each, and
 *     a row of nothing but -inf is uniform; else -inf has the probability 0;
 *   - a NaN makes its whole row NaN: no probability in it would mean anything.
 */
#include "sl_guest.h"
#include "sl_math.h"
#include "sl_tensor.h"

enum { BLOCK = 256 };

typedef struct softmax_params {
    float temperature;
} softmax_params;

static float table[256]; /* exp(-d * scale / temperature) for a difference of d stored steps */
static float table_step = -1;

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const softmax_params *params = sl_params(call, sizeof *params);
    if (call->n_inputs != 1 || call->n_outputs != 1 || !params)
        return sl_fail(SL_E_ARGUMENT, "needs 1 input, 1 output and the parameter temperature");
    if (!(params->temperature > 0) || !sl_finite(params->temperature))
        return sl_fail(SL_E_ARGUMENT, "temperature: needs a positive number");
    const sl_tensor *logits = sl_input(call, 0);
    sl_reader reader;
    if (!sl_open(&reader, logits))
        return sl_fail(SL_E_ARGUMENT, "logits: needs f32, or u8 or i8 with scale and zero point");
    if (logits->rank < 1 || logits->rank > SL_MAX_RANK)
        return sl_fail(SL_E_ARGUMENT, "logits: needs 1 to 8 dimensions");
    sl_declare(sl_output(call, 0), SL_F32, logits->rank, logits->dims);
    return SL_OK;
}

static float sum_of(sl_v128 lanes) {
    float part[4];
    sl_store(part, lanes);
    return (part[0] + part[1]) + (part[2] + part[3]);
}

static float greatest(const float *x, uint32_t n) {
    uint32_t i = 0;
    float max = x[0];
    if (n >= 4) {
        sl_v128 best = sl_load(x);
        for (i = 4; i + 4 <= n; i += 4) best = sl_f32x4_pmax(best, sl_load(x + i));
        float part[4];
        sl_store(part, best);
        for (uint32_t j = 0; j < 4; j++) max = part[j] > max ? part[j] : max;
    }
    for (; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* exp((x - max) / temperature); 1 where x is max, though the two be infinite. */
static inline sl_v128 shares(sl_v128 x, sl_v128 max, sl_v128 temperature) {
    sl_v128 distance = sl_f32x4_div(sl_f32x4_sub(x, max), temperature);
    sl_v128 nearest = sl_f32x4_eq(x, max);
    return sl_exp_f32x4(sl_andnot(distance, nearest));
}

static double exponentials_f32(const float *x, float *out, uint32_t n, float temperature) {
    const sl_v128 max = sl_f32x4_splat(greatest(x, n));
    const sl_v128 divisor = sl_f32x4_splat(temperature);
    double sum = 0;
    for (uint32_t i = 0; i < n;) {
        uint32_t end = n - i > BLOCK ? i + BLOCK : n;
        sl_v128 part = sl_f32x4_splat(0);
        for (; i + 4 <= end; i += 4) {
            sl_v128 e = shares(sl_load(x + i), max, divisor);
            sl_store(out + i, e);
            part = sl_f32x4_add(part, e);
        }
        sum += (double)sum_of(part);
        for (; i < end; i++) { /* the last 1 to 3 */
            float lanes[4];
            sl_store(lanes, shares(sl_f32x4_splat(x[i]), max, divisor));
            out[i] = lanes[0];
            sum += (double)out[i];
        }
    }
    return sum;
}

static void fill_table(float step) {
    if (step == table_step) return;
    for (uint32_t d = 0; d < 256; d++) table[d] = sl_exp(-(float)d * step);
    table_step = step;
}

static double exponentials_bytes(const uint8_t *x, uint8_t flip, float *out, uint32_t n) {
    uint8_t max = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t order = x[i] ^ flip;
        max = order > max ? order : max;
    }
    double sum = 0;
    for (uint32_t i = 0; i < n;) {
        uint32_t end = n - i > BLOCK ? i + BLOCK : n;
        float part = 0;
        for (; i < end; i++) {
            out[i] = table[max - (x[i] ^ flip)];
            part += out[i];
        }
        sum += (double)part;
    }
    return sum;
}

static void divide(float *out, uint32_t n, float sum) {
    const sl_v128 divisor = sl_f32x4_splat(sum);
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) sl_store(out + i, sl_f32x4_div(sl_load(out + i), divisor));
    for (; i < n; i++) out[i] /= sum;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const softmax_params *params = sl_params(call, sizeof *params);
    const sl_tensor *logits = sl_input(call, 0);
    sl_tensor *output = sl_output(call, 0);
    sl_reader reader;
    if (!sl_open(&reader, logits) || !sl_fits(logits) || logits->rank != output->rank)
        return sl_fail(SL_E_ARGUMENT, "logits: not what sl_setup was given");
    uint64_t elements = sl_elements(logits);
    if (elements * sizeof(float) > output->capacity)
        return sl_fail(SL_E_CAPACITY, "logits: larger than at set-up");
    for (uint32_t i = 0; i < logits->rank; i++) output->dims[i] = logits->dims[i];
    if (elements == 0) return SL_OK;

    uint32_t classes = logits->dims[logits->rank - 1];
    uint32_t rows = (uint32_t)elements / classes;
    float *out = sl_ptr(output->data);
    if (reader.dtype != SL_F32) fill_table(reader.scale / params->temperature);
    for (uint32_t row = 0; row < rows; row++, out += classes) {
        uint32_t first = row * classes;
        double sum;
        if (reader.dtype == SL_F32)
            sum = exponentials_f32((const float *)reader.data + first, out, classes,
                                   params->temperature);
        else
            sum = exponentials_bytes((const uint8_t *)reader.data + first, reader.flip, out,
                                     classes);
        divide(out, classes, (float)sum);
    }
    return SL_OK;
}
