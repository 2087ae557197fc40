/* What workers serve without asking: CA certificates, EST labels with their CSR attributes, the TLS identity. */
#include "keeper/internal.h"

#include <stdlib.h>

struct making {
    struct bm_keeper *k;
    struct bm_view view;
    struct bm_buf cas[BM_VIEW_CAS_MAX];
    struct bm_buf csrattrs[BM_VIEW_LABELS_MAX];
    char labels[BM_VIEW_LABELS_MAX][BM_NAME_LEN];
};

static void making_freep(struct making **m)
{
    if (*m == NULL)
        return;
    for (size_t i = 0; i < BM_VIEW_CAS_MAX; i++)
        bm_buf_done(&(*m)->cas[i]);
    for (size_t i = 0; i < BM_VIEW_LABELS_MAX; i++)
        bm_buf_done(&(*m)->csrattrs[i]);
    free(*m);
}

static enum bm_rc add_ca(void *arg, const struct bm_ca *c, struct bm_error *e)
{
    struct making *m = arg;
    struct bm_view *v = &m->view;

    (void)e;
    if (strcmp(c->state, "active") != 0 || v->n_cas == BM_VIEW_CAS_MAX)
        return BM_OK;
    m->cas[v->n_cas].max = BM_CERT_MAX;
    bm_buf_put(&m->cas[v->n_cas], c->cert.p, c->cert.n);
    v->cas[v->n_cas] = bm_buf_rd(&m->cas[v->n_cas]);
    v->n_cas++;
    return BM_OK;
}

static enum bm_rc add_label(struct making *m, const char *label, const char *profile_name, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *profile = NULL;
    struct bm_view *v = &m->view;
    enum bm_rc rc;

    if (v->n_labels == BM_VIEW_LABELS_MAX)
        return BM_OK;
    rc = bm_profile_open(m->k, profile_name, &profile, e);
    m->csrattrs[v->n_labels].max = 1024;
    if (rc == BM_OK)
        rc = bm_profile_csrattrs(profile, &m->csrattrs[v->n_labels], e);
    if (rc != BM_OK)
        return rc;
    snprintf(m->labels[v->n_labels], BM_NAME_LEN, "%s", label);
    v->labels[v->n_labels].label = bm_rd_str(m->labels[v->n_labels]);
    v->labels[v->n_labels].csrattrs = bm_buf_rd(&m->csrattrs[v->n_labels]);
    v->n_labels++;
    return BM_OK;
}

/* The service list goes through the generic listing: this is no hot path. */
static enum bm_rc add_service(void *arg, int64_t id, const char *json, struct bm_error *e)
{
    struct making *m = arg;
    struct bm_service s;
    enum bm_rc rc = bm_service_by_id(m->k->store, id, &s, e);

    (void)json;
    return rc == BM_OK ? add_label(m, s.name, s.profile[0] != '\0' ? s.profile : "ldevid", e) : rc;
}

enum bm_rc bm_run_view(struct bm_keeper *k, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    static const char *const no_filter[] = { NULL };
    BM_CLEANUP(making_freep) struct making *m = calloc(1, sizeof *m);
    BM_CLEANUP(bm_buf_done) struct bm_buf chain_pem = { .max = BM_COMMAND_MAX }, key = { .max = BM_CERT_MAX };
    int64_t tokens = 0;
    uint8_t nonce[BM_HANDSHAKE_NONCE_LEN];
    enum bm_rc rc;

    if (m == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a view");
    m->k = k;
    rc = bm_tls_identity(k, now, &chain_pem, &key, e);
    if (rc == BM_OK)
        rc = bm_ca_each(k->store, add_ca, m, e);
    if (rc == BM_OK)
        rc = add_label(m, "", "ldevid", e);
    if (rc == BM_OK)
        rc = bm_store_list(k->store, "service", no_filter, 0, BM_VIEW_LABELS_MAX, add_service, m, e);
    if (rc != BM_OK)
        return rc;
    bm_observe_tls(bm_buf_rd(&chain_pem));
    rc = bm_token_count_good(k->store, now, &tokens, e);
    if (rc != BM_OK)
        return rc;
    m->view.api = tokens != 0;
    m->view.version = k->view_version;
    m->view.tls_chain_pem = bm_buf_rd(&chain_pem);
    m->view.tls_key = bm_buf_rd(&key);
    bm_keeper_nonce(k, nonce);
    m->view.nonce = bm_rd_of(nonce, sizeof nonce);
    bm_view_write(out, &m->view);
    return bm_buf_check(out, e);
}
