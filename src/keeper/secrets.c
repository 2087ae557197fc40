#include "keeper/symmetric.h"

#include <stdlib.h>

enum bm_rc bm_secrets_get(struct bm_keeper *k, struct bm_secrets **ret, struct bm_error *e)
{
    if (k->secrets == NULL)
        k->secrets = calloc(1, sizeof *k->secrets);
    if (k->secrets == NULL)
        return bm_fail(e, BM_NOMEM, "no memory for keys");
    *ret = k->secrets;
    return BM_OK;
}

void bm_secrets_forget(struct bm_keeper *k)
{
    struct bm_secrets *s = k->secrets;

    if (s == NULL)
        return;
    for (size_t i = 0; i < BM_KEK_SLOTS; i++) {
        bm_kek_close(BM_MOVE(s->keks[i].kek));
        s->keks[i].id = 0;
    }
    bm_key_free(BM_MOVE(s->import_key));
    bm_buf_done(&s->decoy);
    s->decoy_kek = 0;
    s->looked = s->pending = false;
}

void bm_secrets_done(struct bm_keeper *k)
{
    bm_secrets_forget(k);
    free(BM_MOVE(k->secrets));
}
