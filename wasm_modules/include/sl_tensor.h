/* sl_tensor.h: checks that every guest makes of its tensors, and elements read as real numbers. */
#ifndef SL_TENSOR_H
#define SL_TENSOR_H

#include "sanderling.h"

#define SL_TOO_MANY ((uint64_t)1 << 32) /* more elements than a 32-bit memory has bytes */

/* How many elements a tensor has; SL_TOO_MANY stands for any number from there on. */
static inline uint64_t sl_elements(const sl_tensor *tensor) {
    uint64_t count = 1;
    bool empty = false;
    if (tensor->rank > SL_MAX_RANK) return SL_TOO_MANY;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        empty |= tensor->dims[i] == 0;
        count *= tensor->dims[i];
        if (count > SL_TOO_MANY) count = SL_TOO_MANY;
    }
    return empty ? 0 : count;
}

/* Whether its elements lie within its capacity. */
static inline bool sl_fits(const sl_tensor *tensor) {
    return sl_elements(tensor) * sl_dtype_size(tensor->dtype) <= tensor->capacity;
}

static inline uint32_t sl_float_bits(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float sl_float_of(uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

static inline bool sl_finite(float value) {
    return (sl_float_bits(value) & 0x7f800000u) != 0x7f800000u;
}

/* A tensor of u8, i8 or f32 for reading. */
typedef struct sl_reader {
    const void *data;
    uint32_t dtype;
    float scale; /* 1 for a tensor that is not quantized */
    int32_t zero_point;
    uint8_t flip; /* a byte ^ flip, taken as unsigned, is in the order of the real values */
} sl_reader;

/* False for other dtypes, a scale that is not a positive number, a zero point that no element of
 * the dtype can hold. */
static inline bool sl_open(sl_reader *reader, const sl_tensor *tensor) {
    bool quantized = tensor->scale != 0 && tensor->dtype != SL_F32;
    reader->data = sl_ptr(tensor->data);
    reader->dtype = tensor->dtype;
    reader->scale = quantized ? tensor->scale : 1;
    reader->zero_point = quantized ? tensor->zero_point : 0;
    reader->flip = tensor->dtype == SL_I8 ? 0x80 : 0;
    if (tensor->dtype == SL_F32) return true;
    if (tensor->dtype != SL_U8 && tensor->dtype != SL_I8) return false;
    int32_t least = -(int32_t)reader->flip;
    return reader->scale > 0 && sl_finite(reader->scale) && reader->zero_point >= least &&
           reader->zero_point <= least + 255;
}

/* The real value of a byte. */
static inline float sl_real(const sl_reader *reader, uint8_t byte) {
    int32_t stored = (int32_t)(byte ^ reader->flip) - reader->flip;
    return reader->scale * (float)(stored - reader->zero_point);
}

/* The real value of an element. */
static inline float sl_value(const sl_reader *reader, uint32_t index) {
    if (reader->dtype == SL_F32) return ((const float *)reader->data)[index];
    return sl_real(reader, ((const uint8_t *)reader->data)[index]);
}

/* A number that orders as the float does: the two zeros equal, -inf lowest. Not for a NaN. */
static inline uint32_t sl_order(float value) {
    uint32_t bits = sl_float_bits(value + 0.0f); /* -0 + 0 is +0 */
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The float of an order; a NaN for what lies beyond +inf. */
static inline float sl_unorder(uint32_t order) {
    return sl_float_of(order & 0x80000000u ? order & 0x7fffffffu : ~order);
}

#endif
