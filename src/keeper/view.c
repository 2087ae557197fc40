/* What workers serve without asking: CA certificates, EST labels with their CSR attributes, the TLS identity. */
#include "keeper/upstream.h"

#include "store/ca_rotate.h"

#include <stdlib.h>

_Static_assert(BM_VIEW_CAS_MAX <= 64, "a label names its CAs by bits");

struct making {
    struct bm_keeper *k;
    int64_t now;
    struct bm_view view;
    struct bm_buf cas[BM_VIEW_CAS_MAX];
    struct {
        int64_t id, parent_id; /* 0, 0: a link between roots */
    } ca[BM_VIEW_CAS_MAX];
    struct bm_buf csrattrs[BM_VIEW_LABELS_MAX];
    char labels[BM_VIEW_LABELS_MAX][BM_NAME_LEN];
    bool any_linked; /* some product wants requests that name their connection; then also one without a service may */
    size_t n_linked;
    char linked[BM_VIEW_LABELS_MAX][BM_NAME_LEN]; /* services of such products */
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

/* --- CA certificates --------------------------------------------------------------------------------------------------------------- */
static void add_cert(struct making *m, int64_t id, int64_t parent_id, struct bm_rd der)
{
    struct bm_view *v = &m->view;
    struct bm_buf *to = &m->cas[v->n_cas];

    if (v->n_cas == BM_VIEW_CAS_MAX)
        return;
    to->max = BM_CERT_MAX;
    bm_buf_put(to, der.p, der.n);
    m->ca[v->n_cas].id = id;
    m->ca[v->n_cas].parent_id = parent_id;
    v->cas[v->n_cas] = bm_buf_rd(to);
    v->n_cas++;
}

static enum bm_rc add_ca(void *arg, const struct bm_ca *c, struct bm_error *e)
{
    (void)e;
    if (strcmp(c->state, "active") == 0)
        add_cert(arg, c->id, c->parent_id, bm_buf_rd(&c->cert));
    return BM_OK;
}

/* RFC 7030 section 4.1.3: as long as they are of use. */
static enum bm_rc add_link(void *arg, const struct bm_ca_link *l, struct bm_error *e)
{
    struct making *m = arg;
    struct bm_cert cert;
    enum bm_rc rc = bm_cert_parse(bm_buf_rd(&l->cert), &cert, e);

    if (rc == BM_OK && cert.not_after > m->now)
        add_cert(m, 0, 0, bm_buf_rd(&l->cert));
    return rc;
}

static uint64_t everything(const struct making *m)
{
    return m->view.n_cas == 64 ? UINT64_MAX : ((uint64_t)1 << m->view.n_cas) - 1;
}

/* The CA that a label issues under and those above it; and every root and link, because devices must be able to follow a new root key,
 * and to know this server by its certificate. */
/* --- which of them a label tells of ------------------------------------------------------------------------------------------------ */
static bool is_active(const struct making *m, int64_t ca_id)
{
    for (size_t i = 0; i < m->view.n_cas; i++)
        if (m->ca[i].id == ca_id)
            return true;
    return false;
}

static uint64_t chain_of(const struct making *m, int64_t ca_id)
{
    uint64_t mask = 0;

    for (size_t i = m->view.n_cas; i-- > 0;) { /* parents come first */
        bool wanted = m->ca[i].parent_id == 0 || m->ca[i].id == ca_id;

        if (m->ca[i].id == ca_id)
            ca_id = m->ca[i].parent_id;
        mask |= (uint64_t)wanted << i;
    }
    return mask;
}

/* Those that come after it, too: a device may be told before they issue. */
static uint64_t chains_of(struct making *m, int64_t ca_id)
{
    struct bm_ca_successor s;
    uint64_t mask = 0;

    for (size_t i = 0; ca_id != 0 && i <= BM_VIEW_CAS_MAX; i++) {
        if (is_active(m, ca_id))
            mask |= chain_of(m, ca_id);
        ca_id = bm_ca_successor_get(m->k->store, ca_id, &s, NULL) == BM_OK ? s.successor_id : 0;
    }
    return mask != 0 ? mask : everything(m);
}

/* --- labels -------------------------------------------------------------------------------------------------------------------------- */
static enum bm_rc note_linked(void *arg, int64_t id, const char *json, struct bm_error *e)
{
    struct making *m = arg;
    struct bm_product product;
    struct bm_policy p = { 0 };
    enum bm_rc rc = bm_product_by_id(m->k->store, id, &product, e);

    (void)json;
    if (rc == BM_OK)
        rc = bm_policy_parse(bm_rd_str(product.policy), &p, e);
    if (rc != BM_OK || !p.pop_linked)
        return rc;
    m->any_linked = true;
    for (size_t i = 0; i < p.n_services && m->n_linked < BM_VIEW_LABELS_MAX; i++)
        memcpy(m->linked[m->n_linked++], p.services[i], BM_NAME_LEN);
    return BM_OK;
}

static bool is_linked(const struct making *m, const char *label)
{
    for (size_t i = 0; i < m->n_linked; i++)
        if (strcmp(m->linked[i], label) == 0)
            return true;
    return label[0] == '\0' && m->any_linked;
}

static enum bm_rc add_label(struct making *m, const char *label, const char *profile_name, int64_t ca_id, struct bm_error *e)
{
    BM_CLEANUP(bm_profile_freep) struct bm_profile *profile = NULL;
    struct bm_view *v = &m->view;
    struct bm_view_label *to = &v->labels[v->n_labels];
    enum bm_rc rc;

    if (v->n_labels == BM_VIEW_LABELS_MAX)
        return BM_OK;
    rc = bm_profile_open(m->k, profile_name, &profile, e);
    m->csrattrs[v->n_labels].max = BM_CSRATTRS_MAX;
    if (rc == BM_OK)
        rc = bm_profile_csrattrs(profile, is_linked(m, label), &m->csrattrs[v->n_labels], e);
    if (rc != BM_OK)
        return rc;
    snprintf(m->labels[v->n_labels], BM_NAME_LEN, "%s", label);
    to->label = bm_rd_str(m->labels[v->n_labels]);
    to->csrattrs = bm_buf_rd(&m->csrattrs[v->n_labels]);
    to->cas = chains_of(m, ca_id);
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
    return rc == BM_OK ? add_label(m, s.name, s.profile[0] != '\0' ? s.profile : "ldevid", s.ca_id, e) : rc;
}

static enum bm_rc add_est(struct making *m, struct bm_error *e)
{
    static const char *const no_filter[] = { NULL };
    struct bm_store *s = m->k->store;
    enum bm_rc rc = bm_ca_each(s, add_ca, m, e);

    if (rc == BM_OK)
        rc = bm_ca_link_each(s, add_link, m, e);
    if (rc == BM_OK)
        rc = bm_store_list(s, "product", no_filter, 0, INT32_MAX, note_linked, m, e);
    if (rc == BM_OK)
        rc = add_label(m, "", "ldevid", 0, e);
    return rc == BM_OK ? bm_store_list(s, "service", no_filter, 0, BM_VIEW_LABELS_MAX, add_service, m, e) : rc;
}

enum bm_rc bm_run_view(struct bm_keeper *k, int64_t now, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(making_freep) struct making *m = calloc(1, sizeof *m);
    BM_CLEANUP(bm_buf_done) struct bm_buf chain_pem = { .max = BM_COMMAND_MAX }, key = { .max = BM_CERT_MAX };
    int64_t tokens = 0;
    uint8_t nonce[BM_HANDSHAKE_NONCE_LEN];
    char thumbprint[BM_ACME_THUMBPRINT_LEN];
    enum bm_rc rc;

    if (m == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for a view");
    m->k = k;
    m->now = now;
    rc = bm_tls_identity(k, now, &chain_pem, &key, e);
    if (rc == BM_OK)
        rc = add_est(m, e);
    if (rc != BM_OK)
        return rc;
    bm_observe_tls(bm_buf_rd(&chain_pem));
    rc = bm_token_count_good(k->store, now, &tokens, e);
    if (rc == BM_OK)
        rc = bm_upstream_thumbprint(k, thumbprint, e);
    if (rc != BM_OK)
        return rc;
    m->view.api = tokens != 0;
    m->view.version = k->view_version;
    m->view.tls_chain_pem = bm_buf_rd(&chain_pem);
    m->view.tls_key = bm_buf_rd(&key);
    m->view.acme_thumbprint = bm_rd_str(thumbprint);
    bm_keeper_nonce(k, nonce);
    m->view.nonce = bm_rd_of(nonce, sizeof nonce);
    bm_view_write(out, &m->view);
    return bm_buf_check(out, e);
}
