/* The revocation list of a CA whose key is elsewhere: a root on an offline host (docs/ceremony.md), or another organisation's. It is brought here, checked,
 * published as if it had been made here, and what is on it counts here: such a CA issues nothing more. */
#include "keeper/job.h"
#include "keeper/revocation.h"
#include "pki/crl_read.h"
#include "pki/etag.h"
#include "store/held_crl.h"

#include "base/text.h"

#include <stdlib.h>

enum { CA_COMPROMISE = 2, KEY_COMPROMISE = 1, NUMBER_SHOWN = 8 }; /* RFC 5280 section 5.3.1 */

/* --- what was brought ----------------------------------------------------------------------------------------------------------------- */
/* As a number, where it is one of the size that everybody counts in; the largest otherwise. */
static int64_t number_of(const uint8_t number[BM_CRL_NUMBER_LEN])
{
    uint64_t n = 0;

    for (size_t i = 0; i < BM_CRL_NUMBER_LEN; i++) {
        if (i < BM_CRL_NUMBER_LEN - NUMBER_SHOWN && number[i] != 0)
            return INT64_MAX;
        n = n << 8 | number[i];
    }
    return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

enum bm_rc bm_ca_crl_load(struct bm_keeper *k, const struct bm_authority *a, struct bm_crl_list *ret, struct bm_error *e)
{
    BM_CLEANUP(bm_held_crl_done) struct bm_held_crl h = { 0 };
    enum bm_rc rc = bm_held_crl_of_ca(k->store, a->ca_id, &h, e);

    if (rc == BM_NOTFOUND)
        return bm_refuse(e, rc, "crl-missing",
                         "the key of '%s' is elsewhere, and no revocation list of it has been brought: birthmark ca import %s FILE",
                         a->name, a->name);
    if (rc != BM_OK)
        return rc;
    ret->row = (struct bm_crl_row){
        .ca_id = a->ca_id, .number = number_of(h.number), .this_update = h.this_update, .next_update = h.next_update
    };
    ret->base = 0;
    ret->full.der = h.der;
    ret->full.entries = (size_t)h.entries;
    h.der = (struct bm_buf){ 0 };
    bm_etag_of(bm_buf_rd(&ret->full.der), ret->full.etag);
    return BM_OK;
}

enum bm_rc bm_ca_crl_check(struct bm_keeper *k, int64_t ca_id, struct bm_rd serial, struct bm_error *e)
{
    BM_CLEANUP(bm_held_crl_done) struct bm_held_crl h = { 0 };
    struct bm_crl_entry entry;
    struct bm_crl crl;
    enum bm_rc rc = bm_held_crl_of_ca(k->store, ca_id, &h, e);

    if (rc == BM_NOTFOUND)
        return BM_OK;
    if (rc == BM_OK)
        rc = bm_crl_parse(bm_buf_rd(&h.der), &crl, e);
    while (rc == BM_OK && bm_crl_next(&crl.entries, &entry))
        if (bm_rd_eq(entry.serial, serial))
            rc = bm_refuse(e, BM_DENIED, "ca-revoked", "this certificate is on its root's revocation list; request another");
    return rc;
}

/* --- taking one in -------------------------------------------------------------------------------------------------------------------- */
struct import {
    struct bm_keeper *k;
    struct bm_ca ca;
    struct bm_held_crl held;
    struct bm_crl crl;
    struct bm_crl_index index;
    int64_t now;
    json_t *found, *revoked, *out; /* found: ids */
};

static void import_done(struct import *i)
{
    bm_ca_done(&i->ca);
    bm_held_crl_done(&i->held);
    bm_crl_index_done(&i->index);
    json_decref(i->found);
    json_decref(i->revoked);
}

static enum bm_rc check_ca(struct import *i, const char *name, struct bm_error *e)
{
    struct bm_cert cert;
    enum bm_rc rc = bm_ca_get(i->k->store, name, &i->ca, e);

    if (rc != BM_OK)
        return rc;
    if (strncmp(i->ca.key_uri, "external:", 9) != 0)
        return bm_refuse(e, BM_CONFLICT, "crl-made-here",
                         "the key of '%s' is here, and so its revocation list is made here: birthmark ca revoke", name);
    rc = bm_cert_parse(bm_buf_rd(&i->ca.cert), &cert, e);
    if (rc == BM_OK)
        rc = bm_crl_check(&i->crl, &cert, e);
    if (rc == BM_OK && i->crl.users_only)
        return bm_refuse(e, BM_DENIED, "bad-crl", "the revocation list says nothing about CAs (onlyContainsUserCerts)");
    return rc == BM_OK ? bm_crl_check_dates(&i->crl, i->now, e) : rc;
}

/* Never back: an older list would call good again what a newer one has revoked. The same one once more is fine. */
static enum bm_rc check_newer(struct import *i, bool *ret_same, struct bm_error *e)
{
    enum bm_rc rc = bm_held_crl_of_ca(i->k->store, i->ca.id, &i->held, e);

    *ret_same = false;
    if (rc == BM_NOTFOUND)
        return BM_OK;
    if (rc != BM_OK)
        return rc;
    *ret_same = bm_rd_eq(bm_buf_rd(&i->held.der), i->crl.whole);
    if (*ret_same)
        return BM_OK;
    if (memcmp(i->crl.number, i->held.number, sizeof i->held.number) <= 0 || i->crl.this_update < i->held.this_update)
        return bm_refuse(e, BM_CONFLICT, "crl-old",
                         "number %lld is here already; the revocation list brought has %lld, or an earlier time",
                         (long long)number_of(i->held.number), (long long)number_of(i->crl.number));
    return BM_OK;
}

static enum bm_rc put_list(struct import *i, struct bm_error *e)
{
    struct bm_held_crl *h = &i->held;

    h->ca_id = i->ca.id;
    memcpy(h->number, i->crl.number, sizeof h->number);
    h->this_update = i->crl.this_update;
    h->next_update = i->crl.next_update;
    h->entries = (int64_t)i->crl.n;
    bm_buf_done(&h->der);
    h->der.max = BM_CRL_MAX;
    bm_buf_put(&h->der, i->crl.whole.p, i->crl.whole.n);
    return bm_buf_check(&h->der, e) == BM_OK ? bm_held_crl_put(i->k->store, h, e) : BM_NOMEM;
}

/* As `ca compromise` does it: what it issued goes as well. */
static enum bm_rc revoke_below(struct import *i, const struct bm_ca *ca, struct bm_error *e)
{
    BM_CLEANUP(bm_keeper_jsonp) json_t *request = json_pack("{s:s}", "ca", ca->name);

    return request != NULL ? bm_job_start(i->k, BM_JOB_CA, request, i->now, i->out, e) : bm_fail(e, BM_NOMEM, "no memory");
}

static enum bm_rc put_out_of_use(struct import *i, const struct bm_ca *ca, const struct bm_crl_entry *entry, struct bm_error *e)
{
    bool compromised = entry->reason == CA_COMPROMISE || entry->reason == KEY_COMPROMISE;
    enum bm_rc rc;

    if (bm_ca_carries_default(i->k, ca->id))
        return bm_refuse(
            e, BM_CONFLICT, "ca-default",
            "'%s' is on the list, and new certificates and the server's own hang on it; name the one to take its place: "
            "--default NAME",
            ca->name);
    rc = bm_revoke_ca(i->k, ca->id, compromised ? CA_COMPROMISE : entry->reason,
                      entry->revoked_at < i->now ? entry->revoked_at : i->now, e);
    if (rc == BM_OK && json_array_append_new(i->revoked, json_string(ca->name)) != 0)
        rc = bm_fail(e, BM_NOMEM, "no memory");
    return rc == BM_OK && compromised ? revoke_below(i, ca, e) : rc;
}

static bool is_on_it(const struct import *i, const struct bm_ca *ca, struct bm_crl_entry *ret)
{
    struct bm_cert cert;

    return ca->parent_id == i->ca.id && strcmp(ca->state, "active") == 0 &&
           bm_cert_parse(bm_buf_rd(&ca->cert), &cert, NULL) == BM_OK && bm_crl_index_find(&i->index, &i->crl, cert.serial, ret);
}

static enum bm_rc see_ca(void *arg, const struct bm_ca *ca, struct bm_error *e)
{
    struct import *i = arg;
    struct bm_crl_entry entry;

    return !is_on_it(i, ca, &entry) || json_array_append_new(i->found, json_integer(ca->id)) == 0
               ? BM_OK
               : bm_fail(e, BM_NOMEM, "no memory");
}

static enum bm_rc revoke_found(struct import *i, struct bm_error *e)
{
    const json_t *id;
    size_t n;
    enum bm_rc rc = BM_OK;

    json_array_foreach (i->found, n, id) {
        BM_CLEANUP(bm_ca_done) struct bm_ca ca = { 0 };
        struct bm_crl_entry entry;

        rc = rc == BM_OK ? bm_ca_by_id(i->k->store, json_integer_value(id), &ca, e) : rc;
        if (rc == BM_OK && is_on_it(i, &ca, &entry))
            rc = put_out_of_use(i, &ca, &entry, e);
    }
    return rc;
}

static enum bm_rc act_on_it(struct import *i, const char *next_default, struct bm_error *e)
{
    enum bm_rc rc = bm_crl_index_make(&i->crl, &i->index, e);

    if (rc == BM_OK && next_default != NULL)
        rc = bm_ca_set_default(i->k, next_default, NULL, e);
    if (rc == BM_OK)
        rc = bm_ca_each(i->k->store, see_ca, i, e);
    if (rc == BM_OK)
        rc = revoke_found(i, e);
    bm_revocation_outdated(i->k);
    i->k->host.touched = true;
    return rc;
}

static enum bm_rc tell(struct import *i, struct bm_error *e)
{
    char until[24];
    BM_CLEANUP(bm_keeper_jsonp)
    json_t *fields =
        json_pack("{s:s, s:I, s:I, s:s, s:O}", "name", i->ca.name, "number", (json_int_t)number_of(i->crl.number), "entries",
                  (json_int_t)i->crl.n, "next_update", bm_time_text(i->crl.next_update, until), "revoked", i->revoked);

    if (fields == NULL || json_object_update(i->out, fields) != 0)
        return bm_fail(e, BM_NOMEM, "no memory");
    return bm_record(i->k, i->now, "crl.imported", fields, e);
}

enum bm_rc bm_ca_crl_import(struct bm_keeper *k, const char *name, struct bm_rd der, const char *next_default, int64_t now,
                            json_t *out, struct bm_error *e)
{
    BM_CLEANUP(import_done) struct import i = { .k = k, .now = now, .out = out, .found = json_array(), .revoked = json_array() };
    bool same;
    enum bm_rc rc = bm_crl_parse(der, &i.crl, e);

    if (rc == BM_OK)
        rc = check_ca(&i, name, e);
    if (rc == BM_OK)
        rc = check_newer(&i, &same, e);
    if (rc == BM_OK && !same)
        rc = put_list(&i, e);
    if (rc == BM_OK)
        rc = act_on_it(&i, next_default, e);
    return rc == BM_OK ? tell(&i, e) : rc;
}
