/* kalman.h: where a box will be: a Kalman filter of constant velocity for its centre and its size.
 *
 * As in SORT (Bewley 2016) and ByteTrack (Zhang 2022), with width and height instead of area or
 * height and aspect (Aharon 2022, "BoT-SORT"). The noise of each of the four numbers is independent of
 * the others and grows with the size of the box, so the filter of eight states is exactly four filters
 * of two, and no matrix is inverted. Time is in frames of a thirtieth of a second, for which the noise
 * was chosen; the process noise grows with it. In double: a box of float32 squared fits it.
 */
#ifndef KALMAN_H
#define KALMAN_H

#include "sl_clock.h"

/* Standard deviations as shares of the size: of a place in a frame, of a velocity in a frame. */
#define KALMAN_PLACE (1.0 / 20)
#define KALMAN_SPEED (1.0 / 160)

enum { CENTRE_X, CENTRE_Y, WIDTH, HEIGHT, N_AXES };

typedef struct axis {
    double value, speed;
    double p00, p01, p11; /* covariance: value and value, value and speed, speed and speed */
} axis;

typedef struct motion {
    axis axes[N_AXES];
} motion;

static inline double kalman_size(const motion *m, uint32_t which) {
    double size = m->axes[which % 2 ? HEIGHT : WIDTH].value;
    return size > 1e-6 ? size : 1e-6; /* a filtered size may pass through 0 */
}

static inline void kalman_measure(const float *box, double *measured) {
    measured[CENTRE_X] = ((double)box[0] + (double)box[2]) / 2;
    measured[CENTRE_Y] = ((double)box[1] + (double)box[3]) / 2;
    measured[WIDTH] = (double)box[2] - (double)box[0];
    measured[HEIGHT] = (double)box[3] - (double)box[1];
}

static inline void kalman_begin(motion *m, const float *box) {
    double measured[N_AXES];
    kalman_measure(box, measured);
    for (uint32_t i = 0; i < N_AXES; i++) m->axes[i] = (axis){.value = measured[i]};
    for (uint32_t i = 0; i < N_AXES; i++) {
        double place = 2 * KALMAN_PLACE * kalman_size(m, i);
        double speed = 10 * KALMAN_SPEED * kalman_size(m, i);
        m->axes[i].p00 = place * place;
        m->axes[i].p11 = speed * speed;
    }
}

/* Args:
 *     frames: the time gone by.
 *     seen: false for a box that was not there the last time: its size is kept.
 */
static inline void kalman_predict(motion *m, double frames, bool seen) {
    double place[N_AXES], speed[N_AXES];
    for (uint32_t i = 0; i < N_AXES; i++) {
        place[i] = KALMAN_PLACE * kalman_size(m, i);
        speed[i] = KALMAN_SPEED * kalman_size(m, i);
    }
    for (uint32_t i = 0; i < N_AXES; i++) {
        axis *a = &m->axes[i];
        if (!seen && i >= WIDTH) a->speed = 0;
        a->value += frames * a->speed;
        a->p00 += frames * (2 * a->p01 + frames * a->p11) + frames * (place[i] * place[i]);
        a->p01 += frames * a->p11;
        a->p11 += frames * (speed[i] * speed[i]);
    }
}

static inline void kalman_update(motion *m, const float *box) {
    double measured[N_AXES], noise[N_AXES];
    kalman_measure(box, measured);
    for (uint32_t i = 0; i < N_AXES; i++) noise[i] = KALMAN_PLACE * kalman_size(m, i);
    for (uint32_t i = 0; i < N_AXES; i++) {
        axis *a = &m->axes[i];
        double all = a->p00 + noise[i] * noise[i];
        double gain = a->p00 / all, speed_gain = a->p01 / all, apart = measured[i] - a->value;
        a->value += gain * apart;
        a->speed += speed_gain * apart;
        a->p11 -= speed_gain * a->p01;
        a->p01 -= gain * a->p01;
        a->p00 -= gain * a->p00;
    }
}

/* x1, y1, x2, y2. */
static inline void kalman_box(const motion *m, double *box) {
    for (uint32_t i = 0; i < 2; i++) {
        double half = m->axes[WIDTH + i].value / 2;
        box[i] = m->axes[i].value - half;
        box[2 + i] = m->axes[i].value + half;
    }
}

#endif
