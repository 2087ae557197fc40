/* targets: bm_onboard_enrol_prepare bm_onboard_status_prepare bm_onboard_challenge_prepare bm_form_json bm_form_cbor, and the renders */
#include "protocol/onboard.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

typedef enum bm_rc prepare_fn(const struct bm_request *q, struct bm_buf *payload, struct bm_error *e);
typedef enum bm_rc render_fn(const struct bm_request *q, const struct bm_view *v, struct bm_rd answer, struct bm_response *r,
                             struct bm_error *e);

/* What is prepared is a command that the keeper can read. */
static void prepare(prepare_fn *fn, const struct bm_request *q, bool is_command)
{
    struct bm_buf payload = { .max = BM_COMMAND_MAX };
    struct bm_error e = { .rc = BM_OK };
    struct bm_enrol c;
    enum bm_rc rc = fn(q, &payload, &e);

    must(rc == BM_OK || rc == BM_MALFORMED || rc == BM_LIMIT);
    must(rc == BM_OK || (rc == e.rc && e.what[0] != '\0'));
    if (rc == BM_OK && is_command)
        must(bm_enrol_parse(bm_buf_rd(&payload), &c, NULL) == BM_OK && c.claimed_udid.n == BM_UDID_LEN);
    bm_buf_done(&payload);
}

static void render(render_fn *fn, const struct bm_request *q)
{
    static const struct bm_view v;
    struct bm_response r = { .body.max = BM_FRAME_MAX };
    struct bm_error e = { .rc = BM_OK };

    if (fn(q, &v, q->body, &r, &e) != BM_OK) {
        r.body.n = 0;
        bm_onboard_refuse(q, &e, 1, &r);
    }
    must(r.status != 0 && r.content_type != NULL && r.body.n != 0);
    bm_buf_done(&r.body);
}

/* The first byte chooses the form, the call, and whether TLS brought a certificate. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_request q = { .method = BM_POST, .correlation = "0123456789abcdef", .peer = "192.0.2.1" };
    uint8_t how;

    if (n == 0)
        return 0;
    how = p[0];
    q.body = bm_rd_of(p + 1, n - 1);
    q.content_type = bm_rd_str((how & 1) != 0 ? "application/cbor" : "application/json");
    if ((how & 2) != 0)
        q.client_cert = bm_rd_str("certificate");
    switch (how >> 2 & 7) {
    case 0:
    case 1:
        prepare(bm_onboard_enrol_prepare, &q, true);
        break;
    case 2:
        prepare(bm_onboard_status_prepare, &q, true);
        break;
    case 3:
        prepare(bm_onboard_challenge_prepare, &q, false);
        break;
    case 4:
    case 5:
        render(bm_onboard_enrol_render, &q);
        break;
    case 6:
        render(bm_onboard_status_render, &q);
        break;
    default:
        render(bm_onboard_challenge_render, &q);
    }
    return 0;
}
