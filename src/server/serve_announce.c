#include "server/serve_impl.h"

#include "base/file.h"
#include "server/notify.h"

#include <stdio.h>

bool bm_serve_path(const struct server *s, char *ret, size_t ret_len)
{
    return bm_path_join(s->config.data_dir, "serving", ret, ret_len, NULL) == BM_OK;
}

static const char *scheme(const struct bm_listener *l)
{
    return l->door == BM_DOOR_PLAIN ? "http" : l->door == BM_DOOR_COAP ? "coaps" : "https";
}

/* DATA/serving: one URL per line, for the commands that talk to a running server. */
static void write_serving(const struct server *s)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = 4096 };
    char path[BM_CONFIG_PATH_MAX + 16];
    struct bm_error e;

    for (size_t i = 0; i < s->listeners.n; i++)
        bm_buf_printf(&text, "%s://%s\n", scheme(&s->listeners.at[i]), s->listeners.at[i].text);
    for (size_t i = 0; i < s->coap.n; i++)
        bm_buf_printf(&text, "%s://%s\n", scheme(&s->coap.at[i]), s->coap.at[i].text);
    if (bm_serve_path(s, path, sizeof path) && bm_file_write(path, bm_buf_rd(&text), 0644, &e) != BM_OK)
        bm_log(BM_LOG_WARN, "serving", "%s", e.what);
}

void bm_serve_announce(struct server *s)
{
    for (size_t i = 0; i < s->n_slots; i++) {
        if (!s->slots[i].ready)
            return;
    }
    s->announced = true;
    write_serving(s);
    printf("birthmark: serving ");
    for (size_t i = 0; i < s->listeners.n; i++)
        printf("%s%s://%s", i == 0 ? "" : ", ", scheme(&s->listeners.at[i]), s->listeners.at[i].text);
    for (size_t i = 0; i < s->coap.n; i++)
        printf(", %s://%s", scheme(&s->coap.at[i]), s->coap.at[i].text);
    for (size_t i = 0; i < s->metrics.n; i++)
        printf(", metrics on http://%s/metrics", s->metrics.at[i].text);
    printf(" (%zu worker%s)\n", s->n_workers, s->n_workers == 1 ? "" : "s");
    fflush(stdout);
    bm_notify("READY=1");
}
