/* sanderling.h: the guest ABI, version 1.
 *
 * A guest is a WebAssembly module that does one step before or after a model. It imports nothing,
 * exports `memory` and the functions below, and sees tensors as descriptors that point into its own
 * memory. docs/abi.md explains the life of a call; this file is the layout, and
 * runtime/sanderling/abi.py is its mirror (a test compiles this header and compares the two).
 *
 * Addresses are 32-bit offsets into the guest's memory. Compiled for the host (tests under the
 * sanitizers, benchmarks), they are offsets into one arena, so that the layout is the same.
 */
#ifndef SANDERLING_H
#define SANDERLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_ABI_MAJOR 1
#define SL_ABI_MINOR 1
#define SL_MAX_RANK 8
#define SL_ALIGN 64 /* of every address that sl_alloc returns */

typedef uint32_t sl_addr;

/* Element types. 0 is no type: the descriptor of an optional tensor that is not connected. */
enum sl_dtype {
    SL_NONE = 0,
    SL_U8 = 1,
    SL_I8 = 2,
    SL_U16 = 3,
    SL_I16 = 4,
    SL_I32 = 5,
    SL_I64 = 6,
    SL_F16 = 7,
    SL_F32 = 8,
    SL_F64 = 9,
    SL_BOOL = 10,
};

/* Pixel formats of image tensors. SL_FORMAT_NONE: not an image. */
enum sl_format {
    SL_FORMAT_NONE = 0,
    SL_FORMAT_BGR = 1,
    SL_FORMAT_RGB = 2,
    SL_FORMAT_GREY = 3,
    SL_FORMAT_YUYV = 4,
    SL_FORMAT_NV12 = 5,
};

/* A tensor: 64 bytes. real = scale * (stored - zero_point) where scale is not 0. */
typedef struct sl_tensor {
    sl_addr data;              /*  0: address of the first element; 0 when not connected */
    uint32_t capacity;         /*  4: bytes that may be used from there */
    uint8_t dtype;             /*  8: enum sl_dtype */
    uint8_t rank;              /*  9: how many of dims count, at most SL_MAX_RANK */
    uint8_t format;            /* 10: enum sl_format */
    uint8_t reserved0;         /* 11: zero */
    uint32_t row_stride;       /* 12: bytes from one image row to the next; 0 when rows are packed */
    uint32_t dims[SL_MAX_RANK]; /* 16 */
    float scale;               /* 48: 0 when not quantized */
    int32_t zero_point;        /* 52 */
    uint32_t reserved1[2];     /* 56: zero */
} sl_tensor;

/* A call: 64 bytes. The same block is passed to sl_setup and to every sl_run after it. */
typedef struct sl_call {
    uint32_t size;       /*  0: bytes of this struct as the host knows it */
    uint32_t n_inputs;   /*  4 */
    uint32_t n_outputs;  /*  8 */
    sl_addr inputs;      /* 12: sl_tensor[n_inputs], in the order of the manifest */
    sl_addr outputs;     /* 16: sl_tensor[n_outputs], in the order of the manifest */
    sl_addr params;      /* 20: the parameters as a C struct, in the order of the manifest */
    uint32_t params_len; /* 24: its bytes */
    uint32_t reserved0;  /* 28: zero */
    uint64_t sequence;   /* 32: the frame's number */
    int64_t captured_ns; /* 40: the frame's capture time, monotonic */
    uint32_t reserved1[4]; /* 48: zero */
} sl_call;

/* Return values of sl_setup and sl_run. Positive numbers are the guest's own. */
enum sl_status {
    SL_OK = 0,
    SL_E_ARGUMENT = -1, /* an input or a parameter that the guest cannot work with */
    SL_E_MEMORY = -2,   /* sl_alloc had no room */
    SL_E_CAPACITY = -3, /* an output does not fit its buffer */
    SL_SKIP = -100,     /* no error: the frame needs nothing more, the host runs no further stage */
};

#if defined(__wasm__)

#define SL_EXPORT(name) __attribute__((export_name(#name), visibility("default")))

static inline void *sl_ptr(sl_addr address) { return (void *)(uintptr_t)address; }
static inline sl_addr sl_address(const void *pointer) { return (sl_addr)(uintptr_t)pointer; }

#else

#define SL_EXPORT(name) __attribute__((visibility("default")))

extern unsigned char *sl_host_arena; /* from the host-side runner */

static inline void *sl_ptr(sl_addr address) { return address ? sl_host_arena + address : NULL; }
static inline sl_addr sl_address(const void *pointer) {
    return pointer ? (sl_addr)((const unsigned char *)pointer - sl_host_arena) : 0;
}

#endif

SL_EXPORT(sl_abi_version) int32_t sl_abi_version(void);
SL_EXPORT(sl_alloc) sl_addr sl_alloc(uint32_t size);
SL_EXPORT(sl_setup) int32_t sl_setup(sl_addr call);
SL_EXPORT(sl_run) int32_t sl_run(sl_addr call);
SL_EXPORT(sl_error) sl_addr sl_error(void);   /* optional */
SL_EXPORT(sl_reset) int32_t sl_reset(void);   /* optional: forget earlier frames; makes a guest stateful */

static inline sl_call *sl_call_at(sl_addr call) { return (sl_call *)sl_ptr(call); }
static inline sl_tensor *sl_input(const sl_call *call, uint32_t index) {
    return (sl_tensor *)sl_ptr(call->inputs) + index;
}
static inline sl_tensor *sl_output(const sl_call *call, uint32_t index) {
    return (sl_tensor *)sl_ptr(call->outputs) + index;
}
static inline bool sl_connected(const sl_tensor *tensor) { return tensor->dtype != SL_NONE; }

/* The parameters as the guest's own struct, or NULL when the manifest packs another size. */
static inline const void *sl_params(const sl_call *call, uint32_t size) {
    return call->params_len == size ? sl_ptr(call->params) : NULL;
}

static inline uint32_t sl_dtype_size(uint32_t dtype) {
    static const uint8_t sizes[] = {0, 1, 1, 2, 2, 4, 8, 2, 4, 8, 1};
    return dtype < sizeof sizes ? sizes[dtype] : 0;
}

#endif
