/* targets: bmd_http_feed bmd_client_input */
#include "core/client.h"

#include <stdlib.h>

/* The same answer in one piece and in pieces must come out the same. */
static enum bmd_rc feed(struct bmd_http *h, uint8_t *body, size_t cap, const uint8_t *p, size_t n, size_t step)
{
    enum bmd_rc rc = BMD_BUSY;

    bmd_http_init(h, body, cap);
    for (size_t at = 0; at < n && rc == BMD_BUSY; at += step)
        rc = bmd_http_feed(h, p + at, n - at < step ? n - at : step);
    return rc == BMD_BUSY ? bmd_http_feed(h, NULL, 0) : rc;
}

static void client(const uint8_t *p, size_t n)
{
    static uint8_t tx[4096], rx[4096];
    static struct bmd_client c;
    static const uint8_t udid[BMD_UDID_LEN];
    const struct bmd_onboard_request request = { { NULL, 0 }, bmd_rd_str("not a request") };
    const struct bmd_client_config cfg = {
        .op = n % 2 != 0 ? BMD_OP_ONBOARD_ENROL : BMD_OP_EST_CACERTS,
        .host = "h",
        .udid = bmd_rd_of(udid, sizeof udid),
        .requests = &request,
        .n_requests = 1,
        .tx = tx,
        .rx = rx,
        .tx_cap = sizeof tx,
        .rx_cap = sizeof rx,
    };

    if (bmd_client_init(&c, &cfg) != BMD_OK)
        abort();
    bmd_client_sent(&c);
    if (bmd_client_input(&c, p, n) == BMD_STEP_RECV && bmd_client_input(&c, NULL, 0) == BMD_STEP_RECV)
        abort(); /* the end of the connection ends the exchange */
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t one[512], two[512];
    struct bmd_http a, b;
    size_t step = n != 0 ? p[0] % 7 + 1 : 1;

    client(p, n);
    if (feed(&a, one, sizeof one, p, n, n != 0 ? n : 1) != BMD_OK)
        return 0;
    if (feed(&b, two, sizeof two, p, n, step) != BMD_OK || a.status != b.status || a.body_len != b.body_len ||
        memcmp(one, two, a.body_len) != 0)
        abort();
    return 0;
}
