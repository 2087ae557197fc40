#include "server/serve_impl.h"

static void put_if(struct bm_buf *list, bool changed, const char *name)
{
    if (changed)
        bm_buf_printf(list, "%s%s", list->n != 0 ? ", " : "", name);
}

/* Processes hold on to these; whoever changes one and only reloads must not believe that it is in force. */
static void tell_what_waits(const struct bm_config *was, const struct bm_config *is)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf list = { .max = 256 };

    put_if(&list, strcmp(was->listen, is->listen) != 0, "listen");
    put_if(&list, strcmp(was->listen_http, is->listen_http) != 0, "listen_http");
    put_if(&list, strcmp(was->listen_metrics, is->listen_metrics) != 0, "listen_metrics");
    put_if(&list, strcmp(was->listen_api, is->listen_api) != 0, "listen_api");
    put_if(&list, strcmp(was->coap_listen, is->coap_listen) != 0, "coap_listen");
    put_if(&list, was->workers != is->workers, "workers");
    put_if(&list, strcmp(was->tls_hosts, is->tls_hosts) != 0, "tls_hosts");
    put_if(&list, strcmp(was->tls_cert_file, is->tls_cert_file) != 0, "tls_cert_file");
    put_if(&list, strcmp(was->tls_key_file, is->tls_key_file) != 0, "tls_key_file");
    put_if(&list, strcmp(was->journal, is->journal) != 0, "journal");
    put_if(&list, strcmp(was->secret_file, is->secret_file) != 0, "secret_file");
    put_if(&list, was->confine != is->confine, "confine");
    put_if(&list, strcmp(was->keeper_user, is->keeper_user) != 0, "keeper_user");
    put_if(&list, strcmp(was->dns_servers, is->dns_servers) != 0, "dns_servers");
    put_if(&list, strcmp(was->validation_networks, is->validation_networks) != 0, "validation_networks");
    put_if(&list, was->acme_http_port != is->acme_http_port, "acme_http_port");
    put_if(&list, was->acme_tls_port != is->acme_tls_port, "acme_tls_port");
    put_if(&list, strcmp(was->worker_user, is->worker_user) != 0, "worker_user");
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
