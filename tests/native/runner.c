/* runner.c: a guest compiled for this machine, driven over a pipe. tests/guestkit.py is the driver.
 *
 * It stands where wasmtime stands otherwise: it owns the memory, hands out addresses and makes the
 * calls. Every case runs in a forked child with an arena of its own, so no case sees what another
 * left behind, and a sanitizer that ends the child does not end the runner.
 *
 * A request is {u32 op, a, b}, after OP_WRITE followed by b bytes. A reply is {u32 alive; i32 value;
 * u64 extra}, after OP_READ and OP_ERROR followed by `extra` bytes; `alive` is 0 when the child died.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sanderling.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define __asan_poison_memory_region(start, size) ((void)(start), (void)(size))
#define __asan_unpoison_memory_region(start, size) ((void)(start), (void)(size))
#endif

enum op {
    OP_BEGIN = 1,  /* a: bytes of the arena */
    OP_ALLOC = 2,  /* a: bytes */
    OP_WRITE = 3,  /* a: address, b: bytes */
    OP_READ = 4,   /* a: address, b: bytes */
    OP_FILL = 5,   /* a: address, b: bytes; with 0xCD */
    OP_SETUP = 6,  /* a: call */
    OP_RUN = 7,    /* a: call, b: how often; extra: nanoseconds in all */
    OP_RESET = 8,
    OP_ERROR = 9,
    OP_FREEZE = 10, /* no sl_alloc from here on */
    OP_END = 11,
};

enum { GUARD = 256, PAGE = 4096 };

const char *sl_host_message(void);
__attribute__((weak)) int32_t sl_reset(void);

unsigned char *sl_host_arena;
static uint64_t arena_size, arena_top, arena_open;
static bool frozen;

/* What is not handed out is poisoned up to the end of its page and without access behind that. */
static bool open_up_to(uint64_t end) {
    uint64_t wanted = (end + PAGE - 1) / PAGE * PAGE;
    if (wanted > arena_size) return false;
    if (wanted <= arena_open) return true;
    if (mprotect(sl_host_arena + arena_open, wanted - arena_open, PROT_READ | PROT_WRITE)) return false;
    __asan_poison_memory_region(sl_host_arena + arena_open, wanted - arena_open);
    arena_open = wanted;
    return true;
}

sl_addr sl_alloc(uint32_t size) {
    uint64_t start = (arena_top + GUARD + SL_ALIGN - 1) / SL_ALIGN * SL_ALIGN;
    if (frozen || !open_up_to(start + size + GUARD)) return 0;
    __asan_unpoison_memory_region(sl_host_arena + start, size);
    arena_top = start + size;
    return (sl_addr)start;
}

static void receive(void *target, size_t size) {
    unsigned char *at = target;
    while (size) {
        ssize_t got = read(STDIN_FILENO, at, size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) _exit(got == 0 ? 0 : 3);
        at += got;
        size -= (size_t)got;
    }
}

static void send_all(const void *source, size_t size) {
    const unsigned char *at = source;
    while (size) {
        ssize_t put = write(STDOUT_FILENO, at, size);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) _exit(3);
        at += put;
        size -= (size_t)put;
    }
}

static void reply(uint32_t alive, int32_t value, uint64_t extra) {
    struct {
        uint32_t alive;
        int32_t value;
        uint64_t extra;
    } message = {alive, value, extra};
    send_all(&message, sizeof message);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void run(sl_addr call, uint32_t times) {
    int32_t status = SL_OK;
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < times && status == SL_OK; i++) status = sl_run(call);
    reply(1, status, now_ns() - start);
}

/* One case, in the child. */
static void serve(uint32_t size) {
    arena_size = (uint64_t)size / PAGE * PAGE;
    sl_host_arena = mmap(NULL, arena_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (sl_host_arena == MAP_FAILED) _exit(3);
    reply(1, sl_abi_version(), 0);
    for (;;) {
        uint32_t request[3];
        receive(request, sizeof request);
        uint32_t a = request[1], b = request[2];
        switch (request[0]) {
        case OP_ALLOC: reply(1, (int32_t)sl_alloc(a), 0); break;
        case OP_WRITE: receive(sl_ptr(a), b); reply(1, 0, 0); break;
        case OP_READ: reply(1, 0, b); send_all(sl_ptr(a), b); break;
        case OP_FILL: memset(sl_ptr(a), 0xCD, b); reply(1, 0, 0); break;
        case OP_SETUP: reply(1, sl_setup(a), 0); break;
        case OP_RUN: run(a, b); break;
        case OP_RESET: reply(1, sl_reset ? sl_reset() : 0, 0); break;
        case OP_FREEZE: frozen = true; reply(1, 0, 0); break;
        case OP_ERROR: {
            const char *message = sl_host_message();
            size_t length = message ? strlen(message) : 0;
            reply(1, 0, length);
            if (length) send_all(message, length);
            break;
        }
        case OP_END: reply(1, 0, 0); _exit(0);
        default: _exit(4);
        }
    }
}

int main(void) {
    for (;;) {
        uint32_t request[3];
        receive(request, sizeof request);
        if (request[0] != OP_BEGIN) return 4;
        pid_t child = fork();
        if (child < 0) return 5;
        if (child == 0) serve(request[1]);
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) reply(0, status, 0);
    }
}
