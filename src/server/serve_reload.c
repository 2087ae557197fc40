#include "server/serve_impl.h"

/* Processes hold on to these; whoever changes one and only reloads must not believe that it is in force. */
static void tell_what_waits(const struct bm_config *was, const struct bm_config *is)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf list = { .max = 2048 };

    bm_config_waiting(was, is, &list);
    if (list.n != 0 && !list.bad)
        bm_log(BM_LOG_WARN, "reload", "%.*s: in force only after a restart", (int)list.n, (const char *)list.p);
}

void bm_serve_reload(struct server *s)
{
    struct bm_worker_order o = { .act = BM_WORKER_SETTINGS };
    struct bm_config was = s->config;
    struct bm_error e;

    if (bm_config_reload(&s->config, &e) != BM_OK) {
        bm_log(BM_LOG_ERROR, "reload", "nothing changed: %s", e.what);
        return;
    }
    bm_log_init("supervisor", s->config.log_level);
    bm_log(BM_LOG_INFO, "reload", "configuration read again");
    tell_what_waits(&was, &s->config);
    s->config.confine = was.confine; /* also for workers that are started anew */
    o.settings = bm_serve_settings(&s->config);
    bm_serve_order(s, &o);
}
