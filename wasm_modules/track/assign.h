/* assign.h: the best one-to-one assignment of rows to columns, by shortest augmenting paths (Kuhn and
 * Munkres; Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear
 * assignment problems", Computing 38, 1987).
 *
 * "Best" is the greatest sum of weights. A weight of 0 stands for a pair that must not be. In whole
 * numbers: equal sums are then equal, and which of them is taken is the same everywhere.
 */
#ifndef ASSIGN_H
#define ASSIGN_H

#include <stdbool.h>
#include <stdint.h>

enum { ASSIGN_MOST = 256 }; /* rows or columns; sums of as many weights fit 32 bits */

static int32_t assign_weights[ASSIGN_MOST][ASSIGN_MOST];

/* Of the search: potentials, whom a far element is matched with, the path to it. From 1; 0 is none. */
static struct {
    int32_t near_potential[ASSIGN_MOST + 1], far_potential[ASSIGN_MOST + 1];
    int32_t slack[ASSIGN_MOST + 1];
    uint16_t owner[ASSIGN_MOST + 1], before[ASSIGN_MOST + 1];
    bool reached[ASSIGN_MOST + 1];
} assigning;

/* One step: from far element `at` to the nearest that is not reached, among n. */
static inline uint32_t assign_step(uint32_t at, uint32_t n, bool turned) {
    uint32_t i = assigning.owner[at], next = 0;
    int32_t least = INT32_MAX;
    assigning.reached[at] = true;
    for (uint32_t j = 1; j <= n; j++) {
        if (assigning.reached[j]) continue;
        int32_t weight = turned ? assign_weights[j - 1][i - 1] : assign_weights[i - 1][j - 1];
        int32_t slack = -weight - assigning.near_potential[i] - assigning.far_potential[j];
        if (slack < assigning.slack[j]) {
            assigning.slack[j] = slack;
            assigning.before[j] = (uint16_t)at;
        }
        if (assigning.slack[j] < least) {
            least = assigning.slack[j];
            next = j;
        }
    }
    for (uint32_t j = 0; j <= n; j++) {
        if (assigning.reached[j]) {
            assigning.near_potential[assigning.owner[j]] += least;
            assigning.far_potential[j] -= least;
        } else {
            assigning.slack[j] -= least;
        }
    }
    return next;
}

/* Of each row the column it is assigned, or -1. Weights are 0 to 2^21. */
static void assign(uint32_t rows, uint32_t columns, int32_t *column_of) {
    bool turned = rows > columns; /* the fewer are the near side, so that each of them finds one */
    uint32_t few = turned ? columns : rows, many = turned ? rows : columns;
    __builtin_memset(&assigning, 0, sizeof assigning);
    for (uint32_t i = 1; i <= few; i++) {
        uint32_t at = 0;
        assigning.owner[0] = (uint16_t)i;
        for (uint32_t j = 0; j <= many; j++) {
            assigning.slack[j] = INT32_MAX;
            assigning.reached[j] = false;
        }
        do at = assign_step(at, many, turned);
        while (assigning.owner[at]);
        for (uint32_t previous; at; at = previous) {
            previous = assigning.before[at];
            assigning.owner[at] = assigning.owner[previous];
        }
    }
    for (uint32_t row = 0; row < rows; row++) column_of[row] = -1;
    for (uint32_t j = 1; j <= many; j++) {
        if (!assigning.owner[j]) continue;
        uint32_t row = (turned ? j : assigning.owner[j]) - 1;
        uint32_t column = (turned ? assigning.owner[j] : j) - 1;
        if (assign_weights[row][column] > 0) column_of[row] = (int32_t)column;
    }
}

#endif
