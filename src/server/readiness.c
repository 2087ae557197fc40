#include "server/readiness.h"

#include "base/metrics.h"

static bool heard_of(size_t slot, int64_t now_ms)
{
    uint64_t at = bm_metric_get(slot, BM_M_HEARTBEAT, 0, 0);

    return at != 0 && now_ms - (int64_t)at < BM_SILENT_MS;
}

static bool keeper_is_silent(int64_t now_ms, int64_t now)
{
    (void)now;
    return !heard_of(BM_SLOT_KEEPER, now_ms);
}

static bool no_worker(int64_t now_ms, int64_t now)
{
    (void)now;
    for (size_t s = BM_SLOT_WORKER; s < bm_metrics_slots(); s++)
        if (heard_of(s, now_ms))
            return false;
    return true;
}

static bool not_said(enum bm_metric_id what)
{
    return bm_metric_get(BM_SLOT_KEEPER, what, 0, 0) == 0;
}

static bool not_writable(int64_t now_ms, int64_t now)
{
    (void)now_ms, (void)now;
    return not_said(BM_M_STORE_WRITABLE);
}

static bool clock_is_back(int64_t now_ms, int64_t now)
{
    (void)now_ms, (void)now;
    return not_said(BM_M_CLOCK_SANE);
}

static bool ca_is_out(int64_t now_ms, int64_t now)
{
    (void)now_ms, (void)now;
    return not_said(BM_M_CA_CAN_SIGN);
}

static bool token_is_away(int64_t now_ms, int64_t now)
{
    (void)now_ms, (void)now;
    return not_said(BM_M_TOKEN_UP);
}

static bool tls_is_over(int64_t now_ms, int64_t now)
{
    (void)now_ms;
    return (int64_t)bm_metric_get(BM_SLOT_KEEPER, BM_M_TLS_EXPIRES, 0, 0) <= now;
}

/* docs/metrics.md explains each. */
static const struct {
    bool (*holds)(int64_t now_ms, int64_t now);
    const char *code, *what;
} reasons[] = {
    { keeper_is_silent, "keeper-silent", "the keeper has not said for ten seconds that it lives" },
    { no_worker, "no-worker", "no worker has said for ten seconds that it lives" },
    { not_writable, "registry-not-writable", "the last attempt to write to the registry failed; the log says why" },
    { clock_is_back, "clock-went-back", "the clock is behind the newest entry of the audit log" },
    { ca_is_out, "ca-cannot-sign", "the default issuing CA has expired, is revoked, or its key cannot be opened" },
    { token_is_away, "token-unavailable", "a PKCS#11 token with keys of CAs does not answer" },
    { tls_is_over, "tls-certificate-expired", "the server's TLS certificate has expired" },
};

bool bm_ready(int64_t now_ms, int64_t now, struct bm_buf *ret_json)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf list = { .max = 2048 };

    for (size_t i = 0; i < BM_COUNT(reasons); i++)
        if (reasons[i].holds(now_ms, now))
            bm_buf_printf(&list, "%s{\"code\":\"%s\",\"what\":\"%s\"}", list.n != 0 ? "," : "", reasons[i].code, reasons[i].what);
    if (ret_json != NULL && list.n != 0)
        bm_buf_printf(ret_json, "{\"ready\":false,\"reasons\":[%.*s]}\n", (int)list.n, (const char *)list.p);
    else if (ret_json != NULL)
        bm_buf_str(ret_json, "{\"ready\":true}\n");
    return list.n == 0;
}
