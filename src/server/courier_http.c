/* HTTP requests, through libcurl's multi interface on the courier's loop. curl neither resolves names nor follows redirects here: both go through
 * the rules for addresses first, and what is connected to is the very address that was judged. */
#include "server/courier_impl.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { HEADER_BYTES_MAX = 32 * 1024, URL_MAX = BM_TASK_TEXT_MAX + 1 };

struct bm_fetcher {
    struct bm_courier *of;
    CURLM *multi;
    struct event *timer;
};

struct bm_trip_http {
    struct bm_trip *job;
    CURL *easy;
    struct curl_slist *fields, *connect_to;
    char url[URL_MAX];
    unsigned hops;
    bool secure, too_long;
    size_t header_bytes;
    struct bm_buf body, content_type, retry_after, location, nonce;
    char why[CURL_ERROR_SIZE];
};

static void free_curl(struct bm_trip_http *h)
{
    struct bm_buf *const parts[] = { &h->body, &h->content_type, &h->retry_after, &h->location, &h->nonce };

    if (h->easy != NULL) {
        curl_multi_remove_handle(h->job->of->fetcher->multi, h->easy);
        curl_easy_cleanup(h->easy);
    }
    curl_slist_free_all(h->fields);
    curl_slist_free_all(h->connect_to);
    h->easy = NULL;
    h->fields = h->connect_to = NULL;
    for (size_t i = 0; i < BM_COUNT(parts); i++)
        bm_buf_done(parts[i]);
}

void bm_trip_http_free(struct bm_trip *j)
{
    if (j->http == NULL)
        return;
    free_curl(j->http);
    free(BM_MOVE(j->http));
}

/* --- what comes back ------------------------------------------------------------------------------------------------------------- */
static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct bm_trip_http *h = arg;

    bm_buf_put(&h->body, p, size * n);
    h->too_long = h->body.bad;
    return h->too_long ? 0 : size * n; /* another number than came ends the transfer */
}

static void keep(struct bm_buf *to, struct bm_rd value)
{
    while (value.n != 0 && (value.p[0] == ' ' || value.p[0] == '\t'))
        value = bm_rd_of(value.p + 1, value.n - 1);
    while (value.n != 0 && strchr(" \t\r\n", value.p[value.n - 1]) != NULL)
        value.n--;
    bm_buf_done(to);
    to->max = BM_TASK_TEXT_MAX;
    bm_buf_put(to, value.p, value.n);
    if (to->bad)
        bm_buf_done(to);
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct bm_trip_http *h = arg;
    const struct {
        const char *name;
        struct bm_buf *to;
    } wanted[] = { { "content-type:", &h->content_type },
                   { "retry-after:", &h->retry_after },
                   { "location:", &h->location },
                   { "replay-nonce:", &h->nonce } };

    n *= size;
    h->header_bytes += n;
    h->too_long = h->header_bytes > HEADER_BYTES_MAX;
    for (size_t i = 0; i < BM_COUNT(wanted); i++) {
        size_t len = strlen(wanted[i].name);

        if (n > len && strncasecmp(p, wanted[i].name, len) == 0)
            keep(wanted[i].to, bm_rd_of(p + len, n - len));
    }
    return h->too_long ? 0 : n;
}

/* The second lock: whatever curl thinks it connects to. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    const struct bm_trip_http *h = arg;

    (void)purpose;
    if (!bm_trip_may(h->job, &a->addr))
        return CURL_SOCKET_BAD;
    return socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
}

/* --- a request ------------------------------------------------------------------------------------------------------------------- */
static bool blob(CURL *easy, CURLoption option, struct bm_rd pem)
{
    struct curl_blob b = { .data = (void *)(uintptr_t)pem.p, .len = pem.n, .flags = CURL_BLOB_NOCOPY };

    return pem.n == 0 || curl_easy_setopt(easy, option, &b) == CURLE_OK;
}

static bool set_tls(struct bm_trip_http *h)
{
    const struct bm_task *t = &h->job->task;
    bool unverified = t->unverified && t->foreign;

    return curl_easy_setopt(h->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
           curl_easy_setopt(h->easy, CURLOPT_SSL_VERIFYPEER, unverified ? 0L : 1L) == CURLE_OK &&
           curl_easy_setopt(h->easy, CURLOPT_SSL_VERIFYHOST, unverified ? 0L : 2L) == CURLE_OK &&
           curl_easy_setopt(h->easy, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK &&
           (t->trust.n == 0 || curl_easy_setopt(h->easy, CURLOPT_CAPATH, NULL) == CURLE_OK) &&
           blob(h->easy, CURLOPT_CAINFO_BLOB, t->trust) && curl_easy_setopt(h->easy, CURLOPT_SSLCERTTYPE, "PEM") == CURLE_OK &&
           curl_easy_setopt(h->easy, CURLOPT_SSLKEYTYPE, "PEM") == CURLE_OK &&
           blob(h->easy, CURLOPT_SSLCERT_BLOB, t->client_cert) && blob(h->easy, CURLOPT_SSLKEY_BLOB, t->client_key);
}

static bool add_field(struct curl_slist **list, const char *text)
{
    struct curl_slist *more = curl_slist_append(*list, text);

    *list = more != NULL ? more : *list;
    return more != NULL;
}

static bool set_fields(struct bm_trip_http *h)
{
    const struct bm_task *t = &h->job->task;
    char line[BM_TASK_TEXT_MAX + 160];

    for (size_t i = 0; i < t->n_fields; i++) {
        snprintf(line, sizeof line, "%.*s: %.*s", (int)t->fields[i].name.n, (const char *)t->fields[i].name.p,
                 (int)t->fields[i].value.n, t->fields[i].value.n != 0 ? (const char *)t->fields[i].value.p : "");
        if (!add_field(&h->fields, line))
            return false;
    }
    return add_field(&h->fields, "Expect:") && curl_easy_setopt(h->easy, CURLOPT_HTTPHEADER, h->fields) == CURLE_OK;
}

static bool set_method(struct bm_trip_http *h)
{
    const struct bm_task *t = &h->job->task;
    char method[17];

    if (bm_rd_eq(t->method, bm_rd_str("GET")))
        return curl_easy_setopt(h->easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    if (bm_rd_eq(t->method, bm_rd_str("HEAD")))
        return curl_easy_setopt(h->easy, CURLOPT_NOBODY, 1L) == CURLE_OK;
    snprintf(method, sizeof method, "%.*s", (int)t->method.n, (const char *)t->method.p);
    return curl_easy_setopt(h->easy, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE, (long)t->body.n) == CURLE_OK &&
           curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, t->body.n != 0 ? (const char *)t->body.p : "") == CURLE_OK &&
           curl_easy_setopt(h->easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
}

/* No proxy, no netrc, no cookies, no connection kept: nothing of the surroundings or of another task. */
static bool set_limits(struct bm_trip_http *h)
{
    CURL *c = h->easy;

    return curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK && curl_easy_setopt(c, CURLOPT_NOPROXY, "*") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 16384L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_USERAGENT, "birthmark") == CURLE_OK;
}

static bool set_callbacks(struct bm_trip_http *h)
{
    CURL *c = h->easy;

    return curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEDATA, h) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HEADERDATA, h) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_open) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, h) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_ERRORBUFFER, h->why) == CURLE_OK && curl_easy_setopt(c, CURLOPT_PRIVATE, h->job) == CURLE_OK;
}

/* "::ADDRESS:PORT": for whatever host and port the URL has, that address. */
static bool set_address(struct bm_trip_http *h, const struct bm_trip_address *a)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->at;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->at;
    bool is_v4 = a->at.ss_family == AF_INET;
    char text[INET6_ADDRSTRLEN], line[96];

    if (inet_ntop(a->at.ss_family, is_v4 ? (const void *)&v4->sin_addr : &v6->sin6_addr, text, sizeof text) == NULL)
        return false;
    snprintf(line, sizeof line, is_v4 ? "::%s:%u" : "::[%s]:%u", text, h->job->port);
    return add_field(&h->connect_to, line) && curl_easy_setopt(h->easy, CURLOPT_CONNECT_TO, h->connect_to) == CURLE_OK;
}

/* One address after the other, until one takes the connection. */
static void attempt(struct bm_trip *j)
{
    struct bm_trip_http *h = j->http;

    free_curl(h);
    h->easy = curl_easy_init();
    h->body.max = j->task.answer_max != 0 ? j->task.answer_max : 1;
    h->too_long = false;
    h->header_bytes = 0;
    h->why[0] = '\0';
    if (h->easy == NULL || !set_limits(h) || !set_callbacks(h) || !set_tls(h) || !set_fields(h) || !set_method(h) ||
        !set_address(h, &j->addresses[j->next_address++]) || curl_easy_setopt(h->easy, CURLOPT_URL, h->url) != CURLE_OK ||
        curl_multi_add_handle(j->of->fetcher->multi, h->easy) != CURLM_OK)
        bm_trip_fail(j, true, "outbound-memory", "the courier cannot make the request");
}

/* --- addresses of requests ------------------------------------------------------------------------------------------------------- */
struct parts {
    CURLU *u;
    char *scheme, *host, *port, *user, *password;
};

static void parts_done(struct parts *p)
{
    char *const all[] = { p->scheme, p->host, p->port, p->user, p->password };

    for (size_t i = 0; i < BM_COUNT(all); i++)
        curl_free(all[i]);
    curl_url_cleanup(p->u);
}

/* Where the URL leads; a redirect of a stranger's may go to the ports of the web, or stay on the one it came from. */
static bool read_url(struct bm_trip *j, struct parts *p, unsigned *ret_port)
{
    struct bm_trip_http *h = j->http;
    unsigned long port;

    p->u = curl_url();
    if (p->u == NULL || curl_url_set(p->u, CURLUPART_URL, h->url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(p->u, CURLUPART_SCHEME, &p->scheme, 0) != CURLUE_OK ||
        curl_url_get(p->u, CURLUPART_HOST, &p->host, 0) != CURLUE_OK)
        return false;
    if (strcmp(p->scheme, "http") != 0 && strcmp(p->scheme, "https") != 0)
        return false;
    if (curl_url_get(p->u, CURLUPART_PORT, &p->port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
        curl_url_get(p->u, CURLUPART_USER, &p->user, 0) == CURLUE_OK ||
        curl_url_get(p->u, CURLUPART_PASSWORD, &p->password, 0) == CURLUE_OK)
        return false;
    port = strtoul(p->port, NULL, 10);
    *ret_port = (unsigned)port;
    return port != 0 && port <= 65535 && (h->hops == 0 || !j->task.foreign || port == 80 || port == 443 || port == j->port);
}

static void go(struct bm_trip *j)
{
    struct bm_trip_http *h = j->http;
    struct parts p = { 0 };
    size_t n;
    unsigned port = 0;

    if (!read_url(j, &p, &port)) {
        parts_done(&p);
        bm_trip_fail(j, false, h->hops != 0 ? "outbound-redirect" : "outbound-url", "'%.120s' is no place to go to", h->url);
        return;
    }
    n = strlen(p.host);
    if (p.host[0] == '[' && n > 2) /* an IPv6 address */
        snprintf(j->host, sizeof j->host, "%.*s", (int)(n - 2), p.host + 1);
    else
        snprintf(j->host, sizeof j->host, "%s", n < sizeof j->host ? p.host : "");
    h->secure = strcmp(p.scheme, "https") == 0;
    j->port = (uint16_t)port;
    parts_done(&p);
    bm_trip_resolve(j, attempt);
}

void bm_trip_fetch(struct bm_trip *j)
{
    struct bm_trip_http *h = j->http = calloc(1, sizeof *h);

    if (h == NULL) {
        bm_trip_fail(j, true, "outbound-memory", "the courier is out of memory");
        return;
    }
    h->job = j;
    snprintf(h->url, sizeof h->url, "%.*s", (int)j->task.url.n, (const char *)j->task.url.p);
    go(j);
}

/* --- ends ------------------------------------------------------------------------------------------------------------------------ */
static bool is_redirect(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* True: on its way to another address. A POST is never repeated elsewhere: it carries what is meant for one. */
static bool follow(struct bm_trip *j, long status)
{
    struct bm_trip_http *h = j->http;
    char *to = NULL;

    if (!is_redirect(status) || j->task.redirects == 0 || !bm_rd_eq(j->task.method, bm_rd_str("GET")))
        return false;
    if (curl_easy_getinfo(h->easy, CURLINFO_REDIRECT_URL, &to) != CURLE_OK || to == NULL || strlen(to) >= sizeof h->url)
        return false;
    if (h->hops++ == j->task.redirects) {
        bm_trip_fail(j, false, "outbound-redirect", "more than %u redirects", j->task.redirects);
        return true;
    }
    snprintf(h->url, sizeof h->url, "%s", to);
    free_curl(h);
    go(j);
    return true;
}

static void answered(struct bm_trip *j)
{
    struct bm_trip_http *h = j->http;
    struct bm_task_answer a = { 0 };
    long status = 0;

    (void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
    if (follow(j, status))
        return;
    a.status = (uint16_t)status;
    a.content_type = bm_buf_rd(&h->content_type);
    a.retry_after = bm_buf_rd(&h->retry_after);
    a.location = bm_buf_rd(&h->location);
    a.nonce = bm_buf_rd(&h->nonce);
    a.body = bm_buf_rd(&h->body);
    bm_trip_answer(j, &a);
}

static const struct {
    CURLcode rc;
    bool retry;
    const char *code;
} failures[] = {
    { CURLE_COULDNT_CONNECT, true, "outbound-unreachable" },
    { CURLE_OPERATION_TIMEDOUT, true, "outbound-timeout" },
    { CURLE_PEER_FAILED_VERIFICATION, true, "outbound-untrusted" }, /* it may be given a good certificate */
    { CURLE_SSL_CACERT_BADFILE, false, "outbound-trust" },
    { CURLE_SSL_CERTPROBLEM, false, "outbound-client-cert" },
    { CURLE_SSL_CONNECT_ERROR, true, "outbound-tls" },
};

static void failed(struct bm_trip *j, CURLcode rc)
{
    struct bm_trip_http *h = j->http;
    const char *code = "outbound-http", *why = h->why[0] != '\0' ? h->why : curl_easy_strerror(rc);
    bool retry = true;

    if (h->too_long) {
        bm_trip_fail(j, false, "outbound-too-long", "the answer is longer than %u bytes", j->task.answer_max);
        return;
    }
    if (rc == CURLE_COULDNT_CONNECT && j->next_address < j->n_addresses) {
        attempt(j);
        return;
    }
    for (size_t i = 0; i < BM_COUNT(failures); i++) {
        if (failures[i].rc == rc) {
            code = failures[i].code;
            retry = failures[i].retry;
        }
    }
    bm_trip_fail(j, retry, code, "%.80s: %.100s", j->host, why);
}

/* Ends are taken one by one here, outside of curl's callbacks: a job may be freed with its handle. */
static void take_ends(struct bm_fetcher *f)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(f->multi, &left)) != NULL) {
        struct bm_trip *j = NULL;
        CURLcode rc = m->data.result;

        if (m->msg != CURLMSG_DONE || curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &j) != CURLE_OK || j == NULL)
            continue;
        if (rc == CURLE_OK)
            answered(j);
        else
            failed(j, rc);
    }
}

/* --- the loop -------------------------------------------------------------------------------------------------------------------- */
static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct bm_fetcher *f = arg;
    int running, how = ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0);

    (void)curl_multi_socket_action(f->multi, fd, how, &running);
    take_ends(f);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct bm_fetcher *f = arg;
    int running;

    (void)fd;
    (void)what;
    (void)curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    take_ends(f);
}

static int on_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_data)
{
    struct bm_fetcher *f = arg;
    struct event *ev = socket_data;
    short events = (short)(EV_PERSIST | ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) | ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0));

    (void)easy;
    if (ev != NULL)
        event_free(ev);
    ev = what != CURL_POLL_REMOVE ? event_new(f->of->base, fd, events, on_socket, f) : NULL;
    if (ev != NULL)
        (void)event_add(ev, NULL);
    (void)curl_multi_assign(f->multi, fd, ev);
    return 0;
}

static int on_timeout(CURLM *multi, long ms, void *arg)
{
    struct bm_fetcher *f = arg;
    const struct timeval wait = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

    (void)multi;
    if (ms < 0)
        return event_del(f->timer) == 0 ? 0 : -1;
    return event_add(f->timer, &wait) == 0 ? 0 : -1;
}

enum bm_rc bm_fetcher_new(struct bm_courier *c, struct bm_fetcher **ret, struct bm_error *e)
{
    struct bm_fetcher *f = calloc(1, sizeof *f);

    if (f == NULL)
        return bm_fail(e, BM_NOMEM, "HTTP: out of memory");
    f->of = c;
    f->timer = event_new(c->base, -1, 0, on_timer, f);
    f->multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
    if (f->timer == NULL || f->multi == NULL || curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_watch) != CURLM_OK ||
        curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f) != CURLM_OK ||
        curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timeout) != CURLM_OK ||
        curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f) != CURLM_OK) {
        bm_fetcher_free(f);
        return bm_fail(e, BM_NOMEM, "HTTP: libcurl does not start");
    }
    *ret = f;
    return BM_OK;
}

void bm_fetcher_free(struct bm_fetcher *f)
{
    if (f == NULL)
        return;
    if (f->multi != NULL)
        curl_multi_cleanup(f->multi);
    if (f->timer != NULL)
        event_free(f->timer);
    curl_global_cleanup();
    free(f);
}
