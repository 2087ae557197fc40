/* The only readers of time. Everything below the programs gets `now` as a parameter. */
#ifndef BM_BASE_CLOCK_H
#define BM_BASE_CLOCK_H

#include <stdint.h>

int64_t bm_clock_s(void);         /* Unix seconds */
int64_t bm_clock_ms(void);        /* Unix milliseconds */
int64_t bm_clock_steady_ms(void); /* never jumps; for deadlines */
int64_t bm_clock_steady_us(void); /* the same, finer; for measurements */
int64_t bm_clock_cpu_us(void);    /* CPU time of this process, for measurements */

#endif
