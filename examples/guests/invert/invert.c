/* A whole guest: the negative of a picture. docs/abi.md goes through it line by line. */
#include "sl_guest.h"

typedef struct {
    int32_t keep; /* pixel values below this stay as they are */
} params;

SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    if (sl_params(call, sizeof(params)) == NULL)
        return sl_fail(SL_E_ARGUMENT, "the parameters do not match module.toml");
    const sl_tensor *in = sl_input(call, 0);
    sl_tensor *out = sl_output(call, 0);
    sl_declare(out, SL_U8, in->rank, in->dims);
    out->format = in->format;
    return SL_OK;
}

SL_EXPORT(sl_run) int32_t sl_run(sl_addr address) {
    const sl_call *call = sl_call_at(address);
    const params *p = sl_params(call, sizeof(params));
    const sl_tensor *in = sl_input(call, 0);
    sl_tensor *out = sl_output(call, 0);
    uint32_t size = in->dims[0] * in->dims[1] * in->dims[2];
    if (size > in->capacity || size > out->capacity) return SL_E_CAPACITY;
    const uint8_t *from = sl_ptr(in->data);
    uint8_t *to = sl_ptr(out->data);
    for (uint32_t i = 0; i < size; i++)
        to[i] = from[i] < p->keep ? from[i] : (uint8_t)(255 - from[i]);
    for (uint32_t i = 0; i < in->rank; i++) out->dims[i] = in->dims[i];
    return SL_OK;
}
