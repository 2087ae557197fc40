#include "server/router.h"

#include "base/metrics.h"
#include "protocol/est_coap.h"

static const char health_name[] = "healthz";

/* Rows of one operation (with and without label) follow each other. */
enum bm_rc bm_route_count_operations(struct bm_error *e)
{
    const char *names[BM_METRIC_OPERATIONS_MAX] = { health_name };
    size_t n = 1;

    for (const struct bm_operation *op = bm_operations; op->name != NULL; op++) {
        if (strcmp(names[n - 1], op->name) == 0)
            continue;
        if (n == BM_COUNT(names))
            return bm_fail(e, BM_BUG, "more operations than metrics have room for");
        names[n++] = op->name;
    }
    for (const struct bm_coap_operation *op = bm_coap_operations; op->name != NULL; op++) {
        if (n == BM_COUNT(names))
            return bm_fail(e, BM_BUG, "more operations than metrics have room for");
        names[n++] = op->name;
    }
    return bm_metrics_operations(names, n, e);
}

unsigned bm_route_operation(const struct bm_exchange *x)
{
    return bm_metric_label_find(&bm_label_operation, x->op != NULL ? x->op->name : "");
}
