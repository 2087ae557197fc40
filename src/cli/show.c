/* Verbs over administrator's acts that show or change more than the answer: export, why, product set. */
#include "cli/cli.h"

#include "base/file.h"
#include "pki/cert.h"

#include <string.h>

/* --- out to a file, or to standard output --------------------------------------------------------------------------------------- */
static enum bm_rc put_out(struct bm_cli *c, const struct bm_buf *out, struct bm_error *e)
{
    const char *path = bm_cli_text(c, "out");

    if (path != NULL && strcmp(path, "-") != 0)
        return bm_file_write(path, bm_buf_rd(out), 0644, e);
    fwrite(out->p, 1, out->n, c->out);
    return BM_OK;
}

/* --- ca export, cert export -------------------------------------------------------------------------------------------------- */
static enum bm_rc put_der(void *arg, struct bm_rd der, struct bm_error *e)
{
    bm_buf_put(arg, der.p, der.n);
    return bm_buf_check(arg, e);
}

static enum bm_rc add_certificate(struct bm_cli *c, const json_t *answer, struct bm_buf *out, struct bm_error *e)
{
    const char *pem = json_string_value(json_object_get(answer, "certificate"));

    if (pem == NULL)
        return bm_fail(e, BM_MALFORMED, "the answer holds no certificate");
    if (bm_cli_flag(c, "der"))
        return bm_pem_parse(bm_rd_str(pem), "CERTIFICATE", put_der, out, e);
    bm_buf_str(out, pem);
    return bm_buf_check(out, e);
}

static enum bm_rc add_parents(struct bm_cli *c, json_t *ca, struct bm_buf *out, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *at = json_incref(ca);
    const char *parent;
    enum bm_rc rc = BM_OK;

    for (int depth = 0; depth < 16 && (parent = json_string_value(json_object_get(at, "parent"))) != NULL && *parent != '\0';
         depth++) {
        json_t *next = NULL;

        rc = bm_cli_ask1(c, "ca.show", "name", parent, &next, e);
        if (rc == BM_OK)
            rc = add_certificate(c, next, out, e);
        json_decref(at);
        at = next;
        if (rc != BM_OK)
            return rc;
    }
    return BM_OK;
}

enum bm_rc bm_cli_export(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_copy(c->words), *answer = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 32 * BM_CERT_MAX };
    enum bm_rc rc;

    if (bm_cli_flag(c, "der") && bm_cli_flag(c, "chain"))
        return bm_fail(e, BM_USAGE, "--chain writes several certificates, which only PEM can hold: leave out --der");
    json_object_del(request, "out");
    json_object_del(request, "der");
    json_object_del(request, "chain");
    rc = bm_cli_ask(c, request, &answer, e);
    if (rc == BM_OK)
        rc = add_certificate(c, answer, &out, e);
    if (rc == BM_OK && bm_cli_flag(c, "chain"))
        rc = add_parents(c, answer, &out, e);
    if (rc != BM_OK)
        return rc;
    return put_out(c, &out, e);
}

enum bm_rc bm_cli_crl_export(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_copy(c->words), *answer = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 2 * BM_CRL_MAX };
    const char *pem;
    enum bm_rc rc;

    json_object_del(request, "out");
    json_object_del(request, "der");
    rc = bm_cli_ask(c, request, &answer, e);
    if (rc != BM_OK)
        return rc;
    pem = json_string_value(json_object_get(answer, "crl"));
    if (pem == NULL)
        return bm_fail(e, BM_MALFORMED, "the answer holds no revocation list");
    if (bm_cli_flag(c, "der"))
        rc = bm_pem_parse(bm_rd_str(pem), "X509 CRL", put_der, &out, e);
    else
        bm_buf_str(&out, pem);
    if (rc == BM_OK)
        rc = bm_buf_check(&out, e);
    return rc == BM_OK ? put_out(c, &out, e) : rc;
}

enum bm_rc bm_cli_trust_export(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_copy(c->words), *answer = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_FRAME_MAX };
    const char *jws;
    enum bm_rc rc;

    json_object_del(request, "out");
    rc = bm_cli_ask(c, request, &answer, e);
    if (rc != BM_OK)
        return rc;
    jws = json_string_value(json_object_get(answer, "jws"));
    if (jws == NULL)
        return bm_fail(e, BM_MALFORMED, "the answer holds no trust bundle");
    bm_buf_str(&out, jws);
    rc = bm_buf_check(&out, e);
    return rc == BM_OK ? put_out(c, &out, e) : rc;
}

enum bm_rc bm_cli_ca_request(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *request = json_copy(c->words), *answer = NULL;
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = 4 * BM_CSR_MAX };
    enum bm_rc rc;

    json_object_del(request, "out");
    rc = bm_cli_ask(c, request, &answer, e);
    if (rc != BM_OK)
        return rc;
    bm_buf_str(&out,
               json_string_value(json_object_get(answer, "csr")) != NULL ? json_string_value(json_object_get(answer, "csr")) : "");
    bm_cli_note(c, "Next, on the offline host: birthmark ceremony sign --csr FILE ...\n");
    return put_out(c, &out, e);
}

/* --- why --------------------------------------------------------------------------------------------------------------------- */
static const char *text_of(const json_t *o, const char *member)
{
    const char *s = json_string_value(json_object_get(o, member));

    return s != NULL ? s : "";
}

static void print_event(struct bm_cli *c, const json_t *event, int width)
{
    fprintf(c->out, "  %-20.32s", text_of(event, "at")); /* the state it is in now has no time */
    fputs(c->colour ? "  \033[1m" : "  ", c->out);
    bm_cli_print_text(c->out, text_of(event, "event"));
    fputs(c->colour ? "\033[0m" : "", c->out);
    fprintf(c->out, "%*s", width - (int)strlen(text_of(event, "event")) + 2, "");
    bm_cli_print_text(c->out, text_of(event, "text"));
    fputc('\n', c->out);
}

static void print_story(struct bm_cli *c, const json_t *answer)
{
    const json_t *story = json_object_get(answer, "story"), *event;
    int width = 0;
    size_t i;

    bm_cli_print_text(c->out, text_of(answer, "what"));
    fputc(' ', c->out);
    bm_cli_print_text(c->out, text_of(answer, "id"));
    fputc('\n', c->out);
    json_array_foreach (story, i, event) {
        int n = (int)strlen(text_of(event, "event"));

        width = n > width ? n : width;
    }
    json_array_foreach (story, i, event) {
        print_event(c, event, width);
    }
    if (json_array_size(story) == 0)
        fputs("  nothing is recorded about it\n", c->out);
}

enum bm_rc bm_cli_why(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    enum bm_rc rc = bm_cli_ask(c, c->words, &answer, e);

    if (rc == BM_OK && c->json)
        bm_cli_print_json(c, answer);
    else if (rc == BM_OK)
        print_story(c, answer);
    return rc;
}

/* --- profile show: what profile set takes ------------------------------------------------------------------------------------ */
enum bm_rc bm_cli_profile_show(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    enum bm_rc rc = bm_cli_ask(c, c->words, &answer, e);

    if (rc == BM_OK)
        bm_cli_print_json(c, c->json ? answer : json_object_get(answer, "profile"));
    return rc;
}

/* --- status ------------------------------------------------------------------------------------------------------------------ */
enum bm_rc bm_cli_status(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *answer = NULL;
    BM_CLEANUP(bm_cli_unref) json_t *warnings = NULL;
    const json_t *w;
    size_t i;
    enum bm_rc rc = bm_cli_ask(c, c->words, &answer, e);

    if (rc != BM_OK)
        return rc;
    if (c->json) {
        bm_cli_print_json(c, answer);
        return BM_OK;
    }
    warnings = json_incref(json_object_get(answer, "warnings"));
    json_object_del(answer, "warnings");
    bm_cli_print_record(c, answer);
    json_array_foreach (warnings, i, w) {
        fputs(i == 0 ? "\nTo be seen to\n  " : "  ", c->out);
        bm_cli_print_text(c->out, json_string_value(w) != NULL ? json_string_value(w) : "");
        fputc('\n', c->out);
    }
    return BM_OK;
}

/* --- product create, product set: --policy is a whole policy, the other options change it, or the one that is there ---------- */
static enum bm_rc policy_to_change(struct bm_cli *c, json_t **ret, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *product = NULL;
    const json_t *there = json_object_get(c->words, "policy");
    enum bm_rc rc = BM_OK;

    if (there == NULL && strcmp(c->verb->verb, "set") == 0) {
        rc = bm_cli_ask1(c, "product.show", "name", bm_cli_text(c, "name"), &product, e);
        there = json_object_get(product, "policy");
    }
    if (rc != BM_OK)
        return rc;
    *ret = json_is_object(there) ? json_deep_copy(there) : json_object();
    return *ret != NULL ? BM_OK : bm_fail(e, BM_NOMEM, "out of memory");
}

enum bm_rc bm_cli_merge_policy(struct bm_cli *c, struct bm_error *e)
{
    BM_CLEANUP(bm_cli_unref) json_t *policy = NULL, *change = json_incref(json_object_get(c->words, "change"));
    enum bm_rc rc;

    if (change == NULL)
        return BM_OK;
    json_object_del(c->words, "change");
    rc = policy_to_change(c, &policy, e);
    if (rc != BM_OK)
        return rc;
    if (json_object_update(policy, change) != 0 || json_object_set(c->words, "policy", policy) != 0)
        return bm_fail(e, BM_NOMEM, "out of memory");
    return BM_OK;
}
