/* The metrics of all processes as text: the exposition format 0.0.4 of Prometheus
 * (https://prometheus.io/docs/instrumenting/exposition_formats/), or OpenMetrics 1.0, which differs in little. What the slots hold may be an enemy's:
 * numbers are taken as they are, words are checked (base/metrics.h). */
#ifndef BM_SERVER_METRICS_TEXT_H
#define BM_SERVER_METRICS_TEXT_H

#include "base/bytes.h"

/* Appends; out->bad when it does not fit. ready: for birthmark_ready. now_ms: bm_clock_steady_ms(). */
void bm_metrics_text(struct bm_buf *out, bool open_metrics, bool ready, int64_t now_ms);

#endif
