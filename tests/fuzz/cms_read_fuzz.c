/* targets: bm_cms_certs_parse and what an answer of an upstream CA over EST goes through */
#include "keeper/upstream.h"
#include "pki/cms_read.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd certs[BM_UPSTREAM_CERTS_MAX];
    struct bm_upstream_got got = { .room = { .max = BM_TASK_ANSWER_MAX } };
    struct bm_upstream_job job = { .now = 1795243853 };
    struct bm_task_answer a = { .status = 200, .body = { p, n } };
    size_t count = 0;

    if (bm_cms_certs_parse(bm_rd_of(p, n), certs, BM_UPSTREAM_CERTS_MAX, &count, NULL) == BM_OK) {
        struct bm_buf again = { .max = 1 << 20 };

        for (size_t i = 0; i < count; i++)
            if (certs[i].p < p || certs[i].p + certs[i].n > p + n)
                abort();
        if (bm_cms_certs(certs, count, &again, NULL) != BM_OK)
            abort();
        bm_buf_done(&again);
    }
    if (bm_upstream_est.read(&job, &a, &got, NULL) == BM_OK) {
        struct bm_cert c;

        for (size_t i = 0; i < got.n; i++)
            if (bm_cert_parse(got.certs[i], &c, NULL) == BM_OK && c.whole.n != got.certs[i].n)
                abort();
    }
    bm_buf_done(&got.room);
    return 0;
}
