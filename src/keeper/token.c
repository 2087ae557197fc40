/* The keeper's side of keys in tokens (pki/pkcs11.h): opening the module, keys that were made for a CA that then did not come to be, and how the
 * tokens are. */
#include "keeper/internal.h"

#include "base/config.h"
#include "base/log.h"
#include "base/metrics.h"
#include "pki/pkcs11.h"

#include <stdio.h>
#include <stdlib.h>

enum { ASK_MS = 10000, ASK_AWAY_MS = 2000 };

static const char *or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

struct bm_keeper_tokens bm_keeper_tokens_of(const struct bm_config *c)
{
    return (struct bm_keeper_tokens){ .module = or_null(c->pkcs11_module),
                                      .pin_file = or_null(c->pkcs11_pin_file),
                                      .paths = or_null(c->pkcs11_paths),
                                      .sockets = c->pkcs11_sockets != 0 };
}

enum bm_rc bm_keeper_open_tokens(struct bm_keeper *k, const struct bm_keeper_tokens *t, struct bm_error *e)
{
    return or_null(t->module) == NULL ? BM_OK : bm_pkcs11_open(t->module, or_null(t->pin_file), &k->ring.pkcs11, e);
}

/* What modules load when they are first used has to be there before we lock ourselves in. A token that is away keeps nobody from starting: it
 * may come back. */
void bm_keeper_warm_tokens(struct bm_keeper *k)
{
    struct bm_issuer *i;
    struct bm_error e;
    enum bm_rc rc = k->ring.pkcs11 != NULL ? bm_issuer_default(k, &i, &e) : BM_OK;

    if (k->ring.pkcs11 != NULL && rc == BM_OK)
        rc = bm_issuer_key(k, i, &e);
    if (rc != BM_OK)
        bm_log(BM_LOG_WARN, "token", "%s (%s)", e.what, bm_error_code(&e));
}

size_t bm_keeper_token_paths(const struct bm_keeper_tokens *t, char room[BM_TOKEN_PATHS_LEN], struct bm_confine_path *ret,
                             size_t ret_room)
{
    size_t n = 0;
    char *rest = room, *one;

    snprintf(room, BM_TOKEN_PATHS_LEN, "%s", t->paths != NULL ? t->paths : "");
    while (n < ret_room && (one = strsep(&rest, ",")) != NULL) {
        one += strspn(one, " ");
        if (*one != '\0')
            ret[n++] = (struct bm_confine_path){ one, true };
    }
    return n;
}

/* --- keys made ------------------------------------------------------------------------------------------------------------------------ */
enum bm_rc bm_token_key_make(struct bm_keeper *k, const char *uri, const char *alg, struct bm_error *e)
{
    char *slot = k->n_token_keys < BM_COUNT(k->token_keys) ? k->token_keys[k->n_token_keys] : NULL;
    enum bm_rc rc;

    if (slot == NULL)
        return bm_fail(e, BM_BUG, "too many keys at once");
    rc = bm_key_generate(&k->ring, uri, alg, e);
    if (rc == BM_CONFLICT)
        return bm_refuse(e, rc, "token-key-exists",
                         "the token has a key of that name already; take another name, or use it as it is: "
                         "--existing-key");
    if (rc != BM_OK)
        return rc;
    snprintf(slot, sizeof k->token_keys[0], "%s", uri);
    k->n_token_keys++;
    return BM_OK;
}

void bm_token_keys_settled(struct bm_keeper *k, bool undo)
{
    struct bm_error e;

    for (size_t i = 0; undo && i < k->n_token_keys; i++)
        if (bm_key_destroy(&k->ring, k->token_keys[i], &e) != BM_OK)
            bm_log(BM_LOG_WARN, "token", "a key that was made for nothing stays in its token: %s: %s", k->token_keys[i], e.what);
    k->n_token_keys = 0;
    if (undo)
        bm_pkcs11_forget(k->ring.pkcs11);
}

/* --- how they are --------------------------------------------------------------------------------------------------------------------- */
void bm_observe_tokens(struct bm_keeper *k, int64_t now_ms)
{
    bool was = bm_pkcs11_well(k->ring.pkcs11), well;

    if (k->ring.pkcs11 != NULL && now_ms - k->watch.token_ms >= (was ? ASK_MS : ASK_AWAY_MS)) {
        k->watch.token_ms = now_ms;
        bm_pkcs11_probe(k->ring.pkcs11);
    }
    well = bm_pkcs11_well(k->ring.pkcs11);
    if (well == k->watch.token_away)
        bm_log(well ? BM_LOG_INFO : BM_LOG_ERROR, "token",
               well ? "the tokens answer" : "a token with keys does not answer; what needs them is refused until it does");
    k->watch.token_away = !well;
    bm_metric_set(BM_M_TOKEN_UP, 0, 0, well);
    bm_metric_set(BM_M_TOKEN_REOPENED, 0, 0, bm_pkcs11_reopened(k->ring.pkcs11));
}
