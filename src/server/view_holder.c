#include "server/view_holder.h"

#include "base/log.h"

#include <stdlib.h>

static void drop(struct bm_buf *bytes, struct bm_view *view)
{
    bm_buf_done(bytes);
    free(view);
}

void bm_view_drop(struct bm_view_holder *h)
{
    drop(&h->bytes, BM_MOVE(h->view));
}

/* Takes over bytes and view on BM_OK. */
static enum bm_rc use(struct bm_view_holder *h, struct bm_buf *bytes, struct bm_view *view, struct bm_error *e)
{
    enum bm_rc rc = bm_view_parse(bm_buf_rd(bytes), view, e);

    if (rc == BM_OK)
        rc = h->use(h->arg, view, e);
    if (rc != BM_OK)
        return rc;
    bm_wipe(bytes->p + (view->tls_key.p - bytes->p), view->tls_key.n); /* OpenSSL has the key now; ours goes */
    view->tls_key = bm_rd_of(NULL, 0);
    drop(&h->bytes, h->view);
    h->bytes = *bytes;
    h->view = view;
    return BM_OK;
}

static enum bm_rc read_answer(struct bm_view_holder *h, uint8_t type, struct bm_rd payload, struct bm_error *e)
{
    struct bm_buf bytes = { .max = BM_FRAME_MAX };
    struct bm_view *view = calloc(1, sizeof *view);
    struct bm_refused refused = { 0 };
    enum bm_rc rc;

    bm_buf_put(&bytes, payload.p, payload.n);
    if (view == NULL || bytes.bad)
        rc = bm_fail(e, BM_NOMEM, "out of memory");
    else if (type == (BM_CMD_VIEW | BM_ANSWER))
        rc = use(h, &bytes, view, e);
    else if (type == BM_REFUSAL && bm_refused_parse(payload, &refused, e) == BM_OK)
        rc = bm_refuse(e, BM_IO, refused.code, "%s", refused.what);
    else
        rc = bm_fail(e, BM_IO, "the keeper gave no view");
    if (rc != BM_OK)
        drop(&bytes, view);
    return rc;
}

static void failed(struct bm_view_holder *h, const struct bm_error *e)
{
    bm_log(BM_LOG_ERROR, "view", "code=%s reason=\"%s\"", bm_error_code(e), e->what);
    if (h->view == NULL) /* with an old one we go on serving */
        h->none(h->arg);
}

static void on_answer(void *arg, uint8_t type, struct bm_rd payload)
{
    struct bm_view_holder *h = arg;
    struct bm_error e = { 0 };

    h->asked = false;
    if (type == 0) /* the link has ended, and with it this process */
        return;
    if (read_answer(h, type, payload, &e) != BM_OK) {
        failed(h, &e);
        return;
    }
    h->used(h->arg);
    if (h->again)
        bm_view_ask(h);
}

void bm_view_ask(struct bm_view_holder *h)
{
    struct bm_error e;

    h->again = h->asked;
    if (h->asked)
        return;
    if (bm_link_send(h->link, BM_CMD_VIEW, bm_rd_of(NULL, 0), on_answer, h, NULL, &e) == BM_OK)
        h->asked = true;
    else
        failed(h, &e);
}
