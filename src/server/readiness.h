/* Whether this server can do its work now, from what its processes say of themselves (base/metrics.h). */
#ifndef BM_SERVER_READINESS_H
#define BM_SERVER_READINESS_H

#include "base/bytes.h"

#define BM_SILENT_MS 10000 /* a process that has not been heard of for so long does not answer */

/* now_ms: bm_clock_steady_ms(); now: Unix seconds. Appends {"ready":true} or {"ready":false,"reasons":[{"code":...,"what":...}]} when ret_json is not
 * NULL. */
bool bm_ready(int64_t now_ms, int64_t now, struct bm_buf *ret_json);

#endif
