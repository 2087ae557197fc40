/* targets: bm_http_feed bm_http_path_get0 bm_http_next bm_response_write */
#include "server/http.h"
#include "server/response.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

struct seen {
    enum bm_rc rc;
    char code[32];
    unsigned requests;
    size_t body_n, target_n;
};

/* One connection's bytes in pieces; all requests of it. */
static struct seen feed(const uint8_t *p, size_t n, size_t step)
{
    struct seen s = { 0 };
    struct bm_error e = { 0 };
    struct bm_http h;

    bm_http_init(&h);
    for (size_t at = 0; at < n && s.rc == BM_OK; at += step) {
        struct bm_rd in = bm_rd_of(p + at, n - at < step ? n - at : step), path;
        enum bm_http_event event = BM_HTTP_MORE;

        while (in.n != 0 && s.rc == BM_OK) {
            s.rc = bm_http_feed(&h, &in, &event, &e);
            if (s.rc == BM_OK && event == BM_HTTP_HEAD) {
                h.body.max = 512;
                must(h.target_n <= BM_HTTP_QUERY_MAX && h.text.n <= BM_HTTP_HEADER_MAX);
                must(!bm_http_path_get0(&h, &path) || path.n <= h.target_n);
            } else if (s.rc == BM_OK && event == BM_HTTP_DONE) {
                must(h.body.n <= 512);
                s.requests++;
                s.body_n += h.body.n;
                s.target_n += h.target_n;
                bm_http_next(&h);
            }
        }
    }
    memcpy(s.code, e.code, sizeof s.code);
    bm_http_done(&h);
    return s;
}

/* Whatever an operation answers, the head ends where it should. */
static void respond(struct bm_rd body)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = body.n + 1024 };
    struct bm_response r = { .status = body.n != 0 ? body.p[0] * 3 : 200, .content_type = "text/plain", .body = { .max = body.n } };
    struct bm_response_head h = { .correlation = "0123456789abcdef",
                                  .keep_alive = (body.n & 1) != 0,
                                  .head_only = (body.n & 2) != 0 };

    bm_buf_put(&r.body, body.p, body.n);
    bm_response_write(&out, &r, &h);
    must(!out.bad && out.n > 9 && memcmp(out.p, "HTTP/1.1 ", 9) == 0);
    must(h.head_only ? memcmp(out.p + out.n - 4, "\r\n\r\n", 4) == 0
                     : body.n == 0 || memcmp(out.p + out.n - body.n, body.p, body.n) == 0);
    bm_buf_done(&r.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    /* How the bytes were cut into pieces must not matter, but for which of two faults is seen first. */
    struct seen whole = feed(p, n, n != 0 ? n : 1), single = feed(p, n, 1);

    must((whole.rc == BM_OK) == (single.rc == BM_OK) && (whole.code[0] == '\0') == (single.code[0] == '\0'));
    must(whole.requests == single.requests && whole.body_n == single.body_n && whole.target_n == single.target_n);
    respond(bm_rd_of(p, n));
    return 0;
}
