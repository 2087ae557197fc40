/* targets: bm_ber_to_der bm_scep_message_parse bm_scep_envelope_parse bm_scep_self_made bm_scep_issuer_and_subject bm_scep_issuer_and_serial
 * bm_scep_same_name bm_scep_query bm_scep_told_parse bm_hook_answer */
#include "keeper/scep_hook.h"
#include "pki/ber.h"
#include "pki/der.h"
#include "pki/scep.h"
#include "protocol/scep.h"

#include <stdlib.h>

static void must(bool ok)
{
    if (!ok)
        abort();
}

static bool inside(struct bm_rd part, struct bm_rd whole)
{
    return part.n == 0 || (part.p >= whole.p && part.n <= whole.n && (size_t)(part.p - whole.p) <= whole.n - part.n);
}

static void as_query(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf message = { .max = BM_HTTP_QUERY_MAX };
    struct bm_rd operation;
    struct bm_error e;

    if (bm_scep_query(in, &operation, &message, &e) == BM_OK)
        must(inside(operation, in) && operation.n != 0 && message.n <= in.n);
}

static void as_message(struct bm_rd in)
{
    struct bm_scep_message m;
    struct bm_error e;

    if (bm_scep_message_parse(in, &m, &e) != BM_OK) {
        must(e.rc == BM_MALFORMED || e.rc == BM_LIMIT);
        return;
    }
    must(m.n_certs <= BM_SCEP_CERTS_MAX && inside(m.content, in) && inside(m.attributes, in) && inside(m.signature, in) &&
         inside(m.transaction_id, m.attributes) && inside(m.sender_nonce, m.attributes) && inside(m.message_digest, m.attributes) &&
         m.transaction_id.n <= BM_SCEP_TRANSACTION_MAX && m.type >= -1 && m.type <= 99);
    for (size_t i = 0; i < m.n_certs; i++)
        must(inside(m.certs[i], in));
}

static void as_envelope(struct bm_rd in)
{
    struct bm_scep_envelope v;
    struct bm_error e;

    if (bm_scep_envelope_parse(in, &v, &e) != BM_OK)
        return;
    must(v.n >= 1 && v.n <= BM_SCEP_RECIPIENTS_MAX && inside(v.sealed, in) && inside(v.iv, in));
    for (size_t i = 0; i < v.n; i++)
        must(inside(v.to[i].key, in) && inside(v.to[i].who.issuer, in));
}

static void as_names(struct bm_rd in)
{
    struct bm_rd a, b;
    struct bm_cert c;

    if (bm_scep_issuer_and_subject(in, &a, &b))
        must(inside(a, in) && inside(b, in) && bm_scep_same_name(a, a) && bm_scep_same_name(a, b) == bm_scep_same_name(b, a));
    if (bm_scep_issuer_and_serial(in, &a, &b))
        must(inside(a, in) && inside(b, in) && b.n != 0);
    if (bm_scep_self_made(in, &c))
        must(inside(c.spki, in) && inside(c.subject, in) && bm_rd_eq(c.subject, c.issuer));
}

/* What comes out is read by the DER reader as one element, and comes out of a second pass as it is. */
static void as_ber(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf once = { .max = BM_SCEP_MESSAGE_MAX }, twice = { .max = BM_SCEP_MESSAGE_MAX };
    struct bm_rd all;
    struct bm_error e;

    if (bm_ber_to_der(in, &once, &e) != BM_OK)
        return;
    all = bm_buf_rd(&once);
    must(all.n <= in.n && bm_der_any(&all, NULL, NULL, NULL) && all.n == 0);
    must(bm_ber_to_der(bm_buf_rd(&once), &twice, &e) == BM_OK && bm_rd_eq(bm_buf_rd(&once), bm_buf_rd(&twice)));
    as_message(bm_buf_rd(&once));
    as_envelope(bm_buf_rd(&once));
}

static void as_told(struct bm_rd in)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf again = { .max = BM_FRAME_MAX };
    struct bm_scep_told t;

    if (bm_scep_told_parse(in, &t, NULL) != BM_OK)
        return;
    bm_scep_told_write(&again, &t);
    must(bm_rd_eq(bm_buf_rd(&again), in));
}

static void as_answer(struct bm_rd in)
{
    char reason[BM_HOOK_REASON_LEN];
    bool allow;

    if (bm_hook_answer(in, &allow, reason, NULL) != BM_OK)
        return;
    must(memmem(in.p, in.n, allow ? "true" : "false", allow ? 4 : 5) != NULL && strlen(reason) < sizeof reason);
    for (const char *p = reason; *p != '\0'; p++)
        must(*p >= ' ' && *p < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct bm_rd in = bm_rd_of(p, n);

    as_query(in);
    as_told(in);
    as_message(in);
    as_envelope(in);
    as_names(in);
    as_ber(in);
    as_answer(in);
    return 0;
}
