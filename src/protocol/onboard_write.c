/* Onboard answers and refusals: JSON or CBOR, in the form of the request. */
#include "protocol/form.h"
#include "protocol/onboard.h"

#include <jansson.h>
#include <stdio.h>

/* A tree under construction; `ok` falls once and stays down. */
struct writing {
    const struct bm_form *f;
    void *root;
    bool ok;
};

static void writing_done(struct writing *w)
{
    if (w->root != NULL)
        w->f->free(w->root);
}

static void set(struct writing *w, void *map, const char *key, void *take)
{
    w->ok &= w->f->set(map, key, take);
}

static void set_text(struct writing *w, void *map, const char *key, const char *s)
{
    set(w, map, key, w->f->text(bm_rd_str(s)));
}

static void set_list(struct writing *w, void *map, const char *key, const struct bm_rd *items, size_t n)
{
    void *a = w->f->array(n);

    for (size_t i = 0; i < n; i++)
        w->ok &= w->f->append(a, w->f->bytes(items[i]));
    set(w, map, key, a);
}

static struct writing begin(const struct bm_request *q, size_t n)
{
    const struct bm_form *f = bm_form_of(q->content_type);
    struct writing w = { .f = f != NULL ? f : &bm_form_json };

    w.root = w.f->map(n);
    w.ok = w.root != NULL;
    return w;
}

static enum bm_rc finish(struct writing *w, struct bm_response *r, struct bm_error *e)
{
    if (!w->ok || !w->f->store(w->root, &r->body))
        return bm_fail(e, BM_NOMEM, "no memory for an answer");
    r->status = 200;
    r->content_type = w->f->content_type;
    return BM_OK;
}

BM_RENDER(bm_onboard_challenge_render)
{
    BM_CLEANUP(writing_done) struct writing w = begin(q, 2);

    (void)v;
    if (answer.n != BM_CHALLENGE_LEN)
        return bm_fail(e, BM_BUG, "a challenge of %zu bytes", answer.n);
    set(&w, w.root, "challenge", w.f->bytes(answer));
    set(&w, w.root, "expires_in", w.f->integer(BM_CHALLENGE_TTL_S));
    return finish(&w, r, e);
}

/* The endpoints come as the JSON array that the operator set. */
static void set_endpoints(struct writing *w, void *map, struct bm_rd json)
{
    json_t *list = json_loadb((const char *)json.p, json.n, 0, NULL), *one;
    void *a = w->f->array(json_array_size(list));
    size_t i;

    json_array_foreach (list, i, one)
        w->ok &= w->f->append(a, w->f->text(bm_rd_of(json_string_value(one), json_string_length(one))));
    json_decref(list);
    set(w, map, "endpoints", a);
}

static void *credential(struct writing *w, const struct bm_enrolled_credential *c)
{
    void *m = w->f->map(6);

    set(w, m, "service", w->f->text(c->service));
    set(w, m, "certificate", w->f->bytes(c->cert));
    set_list(w, m, "chain", c->chain, c->n_chain - 1); /* the root goes into anchors */
    set(w, m, "not_after", w->f->integer(c->not_after));
    set(w, m, "renew_after", w->f->integer(c->renew_after));
    set_endpoints(w, m, c->endpoints);
    return m;
}

static size_t gather_anchors(const struct bm_enrolled *a, struct bm_rd *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n_credentials; i++) {
        struct bm_rd root = a->credentials[i].chain[a->credentials[i].n_chain - 1];
        size_t seen = 0;

        while (seen < n && !bm_rd_eq(ret[seen], root))
            seen++;
        if (seen == n)
            ret[n++] = root;
    }
    return n;
}

BM_RENDER(bm_onboard_enrol_render)
{
    BM_CLEANUP(writing_done) struct writing w = begin(q, 4);
    struct bm_rd anchors[BM_SERVICES_MAX];
    struct bm_enrolled a;
    void *list;
    enum bm_rc rc = bm_enrolled_parse(answer, &a, e);

    (void)v;
    if (rc != BM_OK)
        return rc;
    for (size_t i = 0; i < a.n_credentials; i++)
        if (a.credentials[i].n_chain == 0)
            return bm_fail(e, BM_BUG, "a certificate without its chain");
    set(&w, w.root, "udid", w.f->bytes(bm_rd_of(a.udid, sizeof a.udid)));
    list = w.f->array(a.n_credentials);
    for (size_t i = 0; i < a.n_credentials; i++)
        w.ok &= w.f->append(list, credential(&w, &a.credentials[i]));
    set(&w, w.root, "credentials", list);
    set_list(&w, w.root, "anchors", anchors, gather_anchors(&a, anchors));
    set_text(&w, w.root, "correlation", q->correlation);
    return finish(&w, r, e);
}

static void *status_credential(struct writing *w, const struct bm_status_credential *c)
{
    void *m = w->f->map(5);

    set_text(w, m, "service", c->service);
    set(w, m, "serial", w->f->bytes(bm_rd_of(c->serial, sizeof c->serial)));
    set_text(w, m, "status", c->status);
    set(w, m, "not_after", w->f->integer(c->not_after));
    set(w, m, "renew_after", w->f->integer(c->renew_after));
    return m;
}

BM_RENDER(bm_onboard_status_render)
{
    BM_CLEANUP(writing_done) struct writing w = begin(q, 8);
    struct bm_status s;
    void *list;
    enum bm_rc rc = bm_status_parse(answer, &s, e);

    (void)v;
    if (rc != BM_OK)
        return rc;
    set(&w, w.root, "udid", w.f->bytes(bm_rd_of(s.udid, sizeof s.udid)));
    set_text(&w, w.root, "status", s.status);
    set_text(&w, w.root, "state", s.state);
    set_text(&w, w.root, "product", s.product);
    set_text(&w, w.root, "batch", s.batch);
    set_text(&w, w.root, "owner", s.owner);
    list = w.f->array(s.n_credentials);
    for (size_t i = 0; i < s.n_credentials; i++)
        w.ok &= w.f->append(list, status_credential(&w, &s.credentials[i]));
    set(&w, w.root, "credentials", list);
    set_text(&w, w.root, "correlation", q->correlation);
    return finish(&w, r, e);
}

/* RFC 9457 problem details, with the members of docs/onboard.md. */
void bm_onboard_refuse(const struct bm_request *q, const struct bm_error *e, uint32_t retry_after_s, struct bm_response *r)
{
    BM_CLEANUP(writing_done) struct writing w = begin(q, retry_after_s != 0 ? 6 : 5);
    char type[80];
    struct bm_error lost;

    snprintf(type, sizeof type, "urn:birthmark:refusal:%s", bm_error_code(e));
    set_text(&w, w.root, "type", type);
    set_text(&w, w.root, "title", e->what);
    set(&w, w.root, "status", w.f->integer(bm_http_status(e)));
    set_text(&w, w.root, "code", bm_error_code(e));
    set_text(&w, w.root, "correlation", q->correlation);
    if (retry_after_s != 0)
        set(&w, w.root, "retry_after", w.f->integer(retry_after_s));
    if (finish(&w, r, &lost) != BM_OK) {
        r->body.n = 0;
        bm_refuse_text(q, e, retry_after_s, r);
        return;
    }
    r->status = bm_http_status(e);
    r->retry_after_s = retry_after_s;
    r->content_type = w.f->problem_type;
}
