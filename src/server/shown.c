#include "server/shown.h"

void bm_shown_fill(const struct bm_tls_peer *p, struct bm_request *q)
{
    size_t at = 0;

    q->handshake = bm_buf_rd(&p->transcript);
    q->verify = bm_buf_rd(&p->verify);
    if (p->raw_key)
        q->client_key = bm_buf_rd(&p->der);
    for (size_t i = 0; i < p->n; i++) {
        struct bm_rd cert = bm_rd_of(p->der.p + at, p->end[i] - at);

        at = p->end[i];
        if (i == 0)
            q->client_cert = cert;
        else
            q->client_chain[q->n_client_chain++] = cert;
    }
}

bool bm_shown_any(const struct bm_request *q)
{
    return q->client_cert.n != 0 || q->client_key.n != 0;
}
