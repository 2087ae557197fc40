#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const char *log_program = "birthmark";
static enum bm_log_level log_level = BM_LOG_INFO;

void bm_log_init(const char *program, enum bm_log_level level)
{
    log_program = program;
    log_level = level;
}

bool bm_log_level_parse(const char *word, enum bm_log_level *ret)
{
    for (size_t i = 0; i < BM_COUNT(level_names); i++) {
        if (strcmp(word, level_names[i]) == 0) {
            *ret = (enum bm_log_level)i;
            return true;
        }
    }
    return false;
}

const char *bm_log_level_word(enum bm_log_level level)
{
    return (size_t)level < BM_COUNT(level_names) ? level_names[level] : "?";
}

bool bm_log_on(enum bm_log_level level)
{
    return level <= log_level;
}

/* RFC 3339 with milliseconds: so long after another is what somebody asks who follows a request through it. */
static const char *now_text(char ret[28])
{
    int64_t ms = bm_clock_ms();

    bm_time_text(ms / 1000, ret);
    snprintf(ret + strlen(ret) - 1, 6, ".%03uZ", (unsigned)(ms % 1000) % 1000); /* over its Z */
    return ret;
}

/* One write per line, so that lines of several processes never mix. */
void bm_log(enum bm_log_level level, const char *event, const char *fmt, ...)
{
    char at[28], line[1024];
    va_list ap;
    int n, m;

    if (!bm_log_on(level))
        return;
    n = snprintf(line, sizeof line, "%s %s %s[%ld] %s ", now_text(at), level_names[level], log_program, (long)getpid(), event);
    va_start(ap, fmt);
    m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    va_end(ap);
    n = m < 0 ? n : n + m;
    n = n > (int)sizeof line - 2 ? (int)sizeof line - 2 : n;
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return; /* nowhere left to complain */
}
