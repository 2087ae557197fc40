#include "keeper/cloud.h"

#include "base/text.h"

#include <stdlib.h>

json_t *bm_cloud_json(struct bm_rd body)
{
    json_t *v = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES, NULL);

    if (json_is_object(v))
        return v;
    json_decref(v);
    return NULL;
}

const char *bm_cloud_text(const json_t *object, const char *member)
{
    const json_t *v = json_object_get(object, member);
    const char *s = json_string_value(v);

    if (s == NULL || json_string_length(v) == 0)
        return NULL;
    for (size_t i = 0; i < json_string_length(v); i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return NULL;
    return s;
}

const char *bm_cloud_words(const json_t *object, const char *member)
{
    return json_string_value(json_object_get(object, member));
}

bool bm_cloud_option(const struct bm_upstream *u, const char *name, char *ret, size_t size)
{
    bm_upstream_option(u, name, ret, size);
    return ret[0] != '\0';
}

bool bm_cloud_is_later(uint16_t status)
{
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

void bm_cloud_login(const struct bm_upstream_secret *s, struct bm_rd *ret_user, struct bm_rd *ret_password)
{
    *ret_password = bm_buf_rd(&s->login);
    *ret_user = bm_rd_cut(ret_password, ':');
}

enum bm_rc bm_cloud_want_login(const struct bm_upstream_secret *s, const char *what, struct bm_error *e)
{
    struct bm_rd user, password;

    bm_cloud_login(s, &user, &password);
    if (user.n == 0 || password.n == 0)
        return bm_fail(e, BM_USAGE, "--login: a file with one line, %s", what);
    return BM_OK;
}

struct bm_rd bm_cloud_host(const char *url)
{
    struct bm_rd r = bm_rd_str(url), gone;

    if (!bm_rd_take(&r, strlen("https://"), &gone))
        return bm_rd_of(NULL, 0);
    return bm_rd_cut(&r, '/');
}

/* --- outcomes --------------------------------------------------------------------------------------------------------------------- */
enum bm_rc bm_cloud_no(const struct bm_upstream_job *j, const struct bm_task_answer *a, bool later, const char *code,
                       const char *words, struct bm_upstream_got *ret, struct bm_error *e)
{
    char said[130], kind[64] = "";

    bm_text_escape(words != NULL ? bm_rd_str(words) : a->body, said, sizeof said);
    if (code != NULL)
        bm_text_escape(bm_rd_str(code), kind, sizeof kind);
    if (later && ret->wait_s == 0)
        ret->wait_s = bm_upstream_retry_after(a, j->now);
    return bm_refuse(e, later ? BM_AGAIN : BM_DENIED, later ? "upstream-waits" : "upstream-refused",
                     "the upstream CA answers %u%s%s: %s", a->status, kind[0] != '\0' ? " " : "", kind, said);
}

enum bm_rc bm_cloud_garbage(const char *what, struct bm_error *e)
{
    return bm_refuse(e, BM_DENIED, "upstream-refused", "the upstream CA's answer is not understood: %s", what);
}

enum bm_rc bm_cloud_next(const json_t *state, struct bm_upstream_got *ret, struct bm_error *e)
{
    char *text = json_dumps(state, JSON_COMPACT);

    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "no memory");
    ret->state.n = 0;
    bm_buf_str(&ret->state, text);
    free(text);
    if (ret->state.bad)
        return bm_cloud_garbage("what has to be remembered of it is too long", e);
    return bm_refuse(e, BM_AGAIN, "upstream-waits", "the upstream CA is asked step by step");
}

/* --- PEM ---------------------------------------------------------------------------------------------------------------------------- */
struct pile {
    struct bm_upstream_got *to;
    size_t sizes[BM_UPSTREAM_CERTS_MAX];
};

static enum bm_rc add(void *arg, struct bm_rd der, struct bm_error *e)
{
    struct pile *p = arg;

    if (p->to->n == BM_UPSTREAM_CERTS_MAX)
        return bm_fail(e, BM_LIMIT, "more than %d certificates", BM_UPSTREAM_CERTS_MAX);
    p->sizes[p->to->n++] = der.n;
    bm_buf_put(&p->to->room, der.p, der.n);
    return bm_buf_check(&p->to->room, e);
}

enum bm_rc bm_cloud_pem(struct bm_rd text, struct bm_upstream_got *ret, struct bm_error *e)
{
    struct pile p = { .to = ret };
    struct bm_rd all;
    enum bm_rc rc;

    ret->room.n = ret->n = 0;
    rc = bm_pem_parse(text, "CERTIFICATE", add, &p, e);
    all = bm_buf_rd(&ret->room);
    for (size_t i = 0; rc == BM_OK && i < ret->n; i++) /* only now: the room may have moved as it grew */
        if (!bm_rd_take(&all, p.sizes[i], &ret->certs[i]))
            rc = bm_fail(e, BM_BUG, "certificates do not fit themselves");
    if (rc == BM_OK && ret->n != 0)
        return BM_OK;
    ret->n = 0;
    return bm_cloud_garbage("it holds no certificates in PEM", e);
}
