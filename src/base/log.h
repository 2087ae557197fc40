/* Structured log lines on standard error: time (milliseconds, UTC), level, program, event, key=value ... ; only programs call it.
 * Never pass a secret; peers' text goes through bm_text_escape() first. */
#ifndef BM_BASE_LOG_H
#define BM_BASE_LOG_H

#include "base/error.h"

#include <stdbool.h>

enum bm_log_level { BM_LOG_ERROR, BM_LOG_WARN, BM_LOG_INFO, BM_LOG_DEBUG };

/* program: shown in each line ("worker-1"); static storage. */
void bm_log_init(const char *program, enum bm_log_level level);
bool bm_log_level_parse(const char *word, enum bm_log_level *ret);
const char *bm_log_level_word(enum bm_log_level level);
bool bm_log_on(enum bm_log_level level); /* are lines of this level written? */
BM_PRINTF(3) void bm_log(enum bm_log_level level, const char *event, const char *fmt, ...);

#endif
