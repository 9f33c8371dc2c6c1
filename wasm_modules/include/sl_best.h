/* sl_best.h: the greatest of many values in one pass.
 *
 * A value becomes a 64-bit key, its order above and the complement of its index below, so that
 * greater keys are better and of equal values the lower index wins. While there is room, keys are
 * appended; once there is none they form a min-heap, and the least value worth looking at rises with
 * its root: 16 values at a time are then passed over after one comparison.
 */
#ifndef SL_BEST_H
#define SL_BEST_H

#include "sl_simd.h"
#include "sl_tensor.h"

typedef struct sl_best {
    uint64_t *keys;
    uint32_t capacity; /* at least 1 */
    uint32_t count;
    bool heap; /* the keys are a min-heap, no longer in the order of their indices */
} sl_best;

/* Whether the element at this index may be taken; asked for each that would be. */
typedef bool sl_accept(const void *context, uint32_t index);

static inline uint32_t sl_best_index(uint64_t key) { return ~(uint32_t)key; }

static inline void sl_sift_down(uint64_t *keys, uint32_t count, uint32_t at) {
    uint64_t key = keys[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && keys[child + 1] < keys[child]) child++;
        if (key <= keys[child]) break;
        keys[at] = keys[child];
    }
    keys[at] = key;
}

static inline void sl_make_heap(uint64_t *keys, uint32_t count) {
    for (uint32_t at = count / 2; at-- > 0;) sl_sift_down(keys, count, at);
}

static inline void sl_sort_descending(uint64_t *keys, uint32_t count) {
    sl_make_heap(keys, count);
    while (count > 1) {
        uint64_t least = keys[0];
        keys[0] = keys[--count];
        keys[count] = least;
        sl_sift_down(keys, count, 0);
    }
}

/* Offer one element; the least order that is worth offering from here on. */
static inline uint64_t sl_best_offer(sl_best *best, uint32_t order, uint32_t index, uint64_t least,
                                     sl_accept *accept, const void *context) {
    uint64_t key = (uint64_t)order << 32 | (uint32_t)~index;
    if (order < least || (accept && !accept(context, index))) return least;
    if (best->heap) {
        best->keys[0] = key;
        sl_sift_down(best->keys, best->count, 0);
    } else {
        best->keys[best->count++] = key;
        if (best->count < best->capacity) return least;
        sl_make_heap(best->keys, best->count);
        best->heap = true;
    }
    return (best->keys[0] >> 32) + 1; /* a later index loses against an equal value */
}

static inline void sl_best_of_f32(sl_best *best, const float *values, uint32_t count,
                                  uint64_t least, sl_accept *accept, const void *context) {
    uint32_t i = 0;
    for (; i + 16 <= count; i += 16) {
        sl_v128 bound = sl_f32x4_splat(sl_unorder((uint32_t)least));
        sl_v128 passes[4], any;
        for (uint32_t j = 0; j < 4; j++)
            passes[j] = sl_f32x4_ge(sl_load(values + i + 4 * j), bound);
        any = sl_or(sl_or(passes[0], passes[1]), sl_or(passes[2], passes[3]));
        if (!sl_any_true(any)) continue;
        for (uint32_t j = 0; j < 4; j++) {
            for (uint32_t mask = sl_i32x4_bitmask(passes[j]); mask; mask &= mask - 1) {
                uint32_t index = i + 4 * j + (uint32_t)__builtin_ctz(mask);
                least = sl_best_offer(best, sl_order(values[index]), index, least, accept, context);
            }
        }
    }
    for (; i < count; i++) {
        if (values[i] != values[i]) continue;
        least = sl_best_offer(best, sl_order(values[i]), i, least, accept, context);
    }
}

static inline void sl_best_of_bytes(sl_best *best, const uint8_t *bytes, uint8_t flip,
                                    uint32_t count, uint64_t least, sl_accept *accept,
                                    const void *context) {
    const sl_v128 flips = sl_i8x16_splat((int8_t)flip);
    uint32_t i = 0;
    for (; i + 16 <= count && least <= 255; i += 16) {
        sl_v128 block = sl_xor(sl_load(bytes + i), flips);
        sl_v128 bound = sl_i8x16_splat((int8_t)(uint8_t)least);
        uint32_t mask = sl_i8x16_bitmask(sl_u8x16_ge(block, bound));
        for (; mask; mask &= mask - 1) {
            uint32_t index = i + (uint32_t)__builtin_ctz(mask);
            uint8_t order = bytes[index] ^ flip;
            least = sl_best_offer(best, order, index, least, accept, context);
        }
    }
    for (; i < count && least <= 255; i++)
        least = sl_best_offer(best, bytes[i] ^ flip, i, least, accept, context);
}

/* The least order of an element that is at or above a bound, or above it when `strictly`. For bytes
 * the comparison is of scale * (stored - zero point) without rounding: 24 by 9 bits fit a double. */
static inline uint64_t sl_least_order(const sl_reader *reader, float bound, bool strictly) {
    if (reader->dtype == SL_F32) return (uint64_t)sl_order(bound) + strictly;
    for (uint32_t order = 0; order < 256; order++) {
        int32_t stored = (int32_t)order - reader->flip;
        double real = (double)reader->scale * (stored - reader->zero_point);
        if (strictly ? real > (double)bound : real >= (double)bound) return order;
    }
    return 256;
}

/* The best of `count` elements from `first` on, indices counted from there. NaN is passed over.
 *
 * Args:
 *     least: as sl_least_order gives it.
 *     accept: or NULL to take any.
 */
static inline void sl_find_best(sl_best *best, const sl_reader *reader, uint32_t first,
                                uint32_t count, uint64_t least, sl_accept *accept,
                                const void *context) {
    best->count = 0;
    best->heap = false;
    if (reader->dtype == SL_F32)
        sl_best_of_f32(best, (const float *)reader->data + first, count, least, accept, context);
    else
        sl_best_of_bytes(best, (const uint8_t *)reader->data + first, reader->flip, count, least,
                         accept, context);
}

/* Best first. */
static inline void sl_best_by_value(sl_best *best) { sl_sort_descending(best->keys, best->count); }

/* In the order of the indices; the keys' halves change places, so only the indices can be read. */
static inline void sl_best_by_index(sl_best *best) {
    for (uint32_t i = 0; i < best->count; i++) best->keys[i] &= UINT32_MAX;
    if (best->heap) sl_sort_descending(best->keys, best->count);
}

#endif
