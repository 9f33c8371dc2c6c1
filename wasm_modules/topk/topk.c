/* topk: the k greatest values of each row, greatest first, with their indices.
 *
 * Of equal values the lower index comes first. A NaN is never returned. u8 and i8 are compared as
 * they are stored and only what is returned becomes scale * (stored - zero_point) in float32 (or
 * itself, where the scale is 0).
 *
 * A single row (rank 1, or a batch of 1) gives as many as there are at or above `score`, so its
 * outputs shrink. Of a larger batch each row gives min(k, classes), whatever the score; where NaN
 * leave fewer, the rest are class -1 with the score -inf.
 */
#include "sl_best.h"
#include "sl_guest.h"

enum { OUT_SCORES, OUT_CLASSES, N_OUTPUTS };
enum { K_MAX = 1000 };

typedef struct topk_params {
    int32_t k;
    float score;
} topk_params;

static uint64_t keys[K_MAX];

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static bool understood(const sl_tensor *input, sl_reader *reader) {
    return sl_open(reader, input) && (input->rank == 1 || input->rank == 2);
}

/* The outputs' shape: the input's, with `count` for classes. */
static void shape_outputs(sl_call *call, uint32_t count) {
    const sl_tensor *input = sl_input(call, 0);
    uint32_t dims[2] = {input->dims[0], count};
    if (input->rank == 1) dims[0] = count;
    sl_declare(sl_output(call, OUT_SCORES), SL_F32, input->rank, dims);
    sl_declare(sl_output(call, OUT_CLASSES), SL_I32, input->rank, dims);
}

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const topk_params *params = sl_params(call, sizeof *params);
    if (call->n_inputs != 1 || call->n_outputs != N_OUTPUTS || !params)
        return sl_fail(SL_E_ARGUMENT, "needs 1 input, 2 outputs and the parameters k and score");
    if (params->k < 1 || params->k > K_MAX)
        return sl_fail(SL_E_ARGUMENT, "k: needs 1 to 1000");
    if (params->score != params->score) return sl_fail(SL_E_ARGUMENT, "score: is NaN");
    const sl_tensor *input = sl_input(call, 0);
    sl_reader reader;
    if (!understood(input, &reader))
        return sl_fail(SL_E_ARGUMENT,
                       "probabilities: needs f32, or u8 or i8 with scale and zero point, "
                       "[classes] or [batch, classes]");
    shape_outputs(call, least((uint32_t)params->k, input->dims[input->rank - 1]));
    return SL_OK;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    sl_call *call = sl_call_at(address);
    const topk_params *params = sl_params(call, sizeof *params);
    const sl_tensor *input = sl_input(call, 0);
    const sl_tensor *scores = sl_output(call, OUT_SCORES);
    sl_reader reader;
    if (!understood(input, &reader) || !sl_fits(input) || input->rank != scores->rank)
        return sl_fail(SL_E_ARGUMENT, "probabilities: not what sl_setup was given");
    uint32_t classes = input->dims[input->rank - 1];
    uint32_t rows = input->rank == 1 ? 1 : input->dims[0];
    uint32_t k = least((uint32_t)params->k, classes);
    if ((uint64_t)rows * k * sizeof(float) > scores->capacity)
        return sl_fail(SL_E_CAPACITY, "probabilities: larger than at set-up");
    shape_outputs(call, k);
    if (k == 0) return SL_OK;

    float *score = sl_ptr(scores->data);
    int32_t *class_id = sl_ptr(sl_output(call, OUT_CLASSES)->data);
    uint64_t bound = sl_least_order(&reader, rows == 1 ? params->score : -__builtin_inff(), false);
    sl_best best = {.keys = keys, .capacity = k};
    for (uint32_t row = 0; row < rows; row++) {
        uint32_t first = row * classes;
        sl_find_best(&best, &reader, first, classes, bound, NULL, NULL);
        sl_best_by_value(&best);
        for (uint32_t i = 0; i < best.count; i++) {
            uint32_t index = sl_best_index(best.keys[i]);
            *score++ = sl_value(&reader, first + index);
            *class_id++ = (int32_t)index;
        }
        for (uint32_t i = best.count; i < k && rows > 1; i++) {
            *score++ = -__builtin_inff();
            *class_id++ = -1;
        }
    }
    if (rows == 1) shape_outputs(call, best.count);
    return SL_OK;
}
