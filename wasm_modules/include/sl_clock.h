/* sl_clock.h: the time between frames, for guests that remember.
 *
 * Frames may be dropped before they reach a guest, so their number says little about how much time
 * has gone by; captured_ns does. It may be wrong: the same again, or earlier than before. Such a
 * frame counts as one thirtieth of a second later, the pace of a common camera.
 */
#ifndef SL_CLOCK_H
#define SL_CLOCK_H

#include "sanderling.h"

#define SL_MS ((int64_t)1000000)
#define SL_FRAME_NS ((int64_t)33333333)

typedef struct sl_clock {
    bool running; /* there was a frame before; false to begin anew */
    int64_t last_ns;
} sl_clock;

/* Nanoseconds since the frame before, 1 to most_ns; 0 for the first frame. */
static inline int64_t sl_clock_step(sl_clock *clock, int64_t captured_ns, int64_t most_ns) {
    bool first = !clock->running, later = captured_ns > clock->last_ns;
    uint64_t gone = (uint64_t)captured_ns - (uint64_t)clock->last_ns; /* more than an int64 may hold */
    if (!later) gone = SL_FRAME_NS;
    clock->running = true;
    clock->last_ns = captured_ns;
    return first ? 0 : gone < (uint64_t)most_ns ? (int64_t)gone : most_ns;
}

#endif
