/* sl_guest.h: what a guest in C needs besides the layout: an allocator, an error message, the
 * version export. Include it once, in the one source file of a guest, after which sl_setup and
 * sl_run are all that is left to write.
 */
#ifndef SL_GUEST_H
#define SL_GUEST_H

#include "sanderling.h"

SL_EXPORT(sl_abi_version) int32_t sl_abi_version(void) {
    return SL_ABI_MAJOR << 16 | SL_ABI_MINOR;
}

static const char *sl_message;

SL_EXPORT(sl_error) sl_addr sl_error(void) {
#if defined(__wasm__)
    return sl_address(sl_message);
#else
    return 0;
#endif
}

/* Remember what went wrong in words and return the status: `return sl_fail(SL_E_ARGUMENT, "...")`. */
static inline int32_t sl_fail(int32_t status, const char *message) {
    sl_message = message;
    return status;
}

/* Give an output its dtype and greatest shape; done in sl_setup. */
static inline void sl_declare(sl_tensor *output, uint32_t dtype, uint32_t rank,
                              const uint32_t *dims) {
    output->dtype = (uint8_t)dtype;
    output->rank = (uint8_t)rank;
    for (uint32_t i = 0; i < SL_MAX_RANK; i++) output->dims[i] = i < rank ? dims[i] : 0;
}

#if defined(__wasm__)

/* A bump allocator from the end of the data: buffers live as long as the plan, nothing is freed. */
extern unsigned char __heap_base;
static uint32_t sl_heap_top;

SL_EXPORT(sl_alloc) sl_addr sl_alloc(uint32_t size) {
    uint64_t start = sl_heap_top ? sl_heap_top : (uint32_t)(uintptr_t)&__heap_base;
    start = (start + SL_ALIGN - 1) & ~(uint64_t)(SL_ALIGN - 1);
    uint64_t end = start + size;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > UINT32_MAX) return 0;
    if (end > have) {
        uint32_t pages = (uint32_t)((end - have + 0xffff) >> 16);
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) return 0;
    }
    sl_heap_top = (uint32_t)end;
    return (sl_addr)start;
}

/* There is no libc here, and the compiler may call these for the copies and loops it recognises.
 * With bulk memory each is one instruction. */
void *memcpy(void *restrict target, const void *restrict source, size_t size) {
    return __builtin_memcpy(target, source, size);
}
void *memmove(void *target, const void *source, size_t size) {
    return __builtin_memmove(target, source, size);
}
void *memset(void *target, int byte, size_t size) {
    return __builtin_memset(target, byte, size);
}

#else

#include <string.h>

sl_addr sl_alloc(uint32_t size); /* the host-side runner has it, with guarded gaps in between */

/* A native literal lies outside the arena, so sl_error cannot name it: the runner reads it here. */
const char *sl_host_message(void) { return sl_message; }

#endif

#endif
