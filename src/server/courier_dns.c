/* Names and TXT records, through c-ares on the courier's loop. */
#include "server/courier_impl.h"

#include <arpa/nameser.h>
#include <netinet/in.h>
#include <stdlib.h>

enum { SOCKETS_MAX = 32, LOOKUP_TRY_MS = 3000, LOOKUP_TRIES = 2, LABEL_MAX = 253 };

struct lookup;

struct bm_resolver {
    struct bm_courier *of;
    ares_channel channel;
    bool open;
    struct event *timer;
    struct {
        ares_socket_t fd;
        struct event *ev; /* NULL: free */
    } sockets[SOCKETS_MAX];
    LIST_HEAD(lookups, lookup) lookups;
};

/* What c-ares calls back with; it may outlive its job. */
struct lookup {
    LIST_ENTRY(lookup) link;
    struct bm_trip *job; /* NULL: nobody waits any more */
};

/* --- the loop -------------------------------------------------------------------------------------------------------------------- */
static void rearm(struct bm_resolver *r)
{
    struct timeval room, *next = ares_timeout(r->channel, NULL, &room);

    if (next != NULL)
        (void)event_add(r->timer, next);
    else
        (void)event_del(r->timer);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct bm_resolver *r = arg;

    (void)fd;
    (void)what;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    rearm(r);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct bm_resolver *r = arg;

    ares_process_fd(r->channel, (what & EV_READ) != 0 ? fd : ARES_SOCKET_BAD, (what & EV_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
    rearm(r);
}

/* c-ares says which sockets it has and what it waits for. */
static void on_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct bm_resolver *r = arg;
    size_t at = SOCKETS_MAX;

    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        if (r->sockets[i].ev != NULL && r->sockets[i].fd == fd) {
            event_free(r->sockets[i].ev);
            r->sockets[i].ev = NULL;
        }
        at = r->sockets[i].ev == NULL ? i : at;
    }
    if ((readable == 0 && writable == 0) || at == SOCKETS_MAX)
        return; /* without an event it runs into its time-out */
    r->sockets[at].fd = fd;
    r->sockets[at].ev = event_new(
        r->of->base, fd, (short)(EV_PERSIST | (readable != 0 ? EV_READ : 0) | (writable != 0 ? EV_WRITE : 0)), on_socket, r);
    if (r->sockets[at].ev != NULL)
        (void)event_add(r->sockets[at].ev, NULL);
}

/* --- start and end --------------------------------------------------------------------------------------------------------------- */
static enum bm_rc open_channel(struct bm_resolver *r, const char *servers, struct bm_error *e)
{
    struct ares_options o = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_STAYOPEN,
        .timeout = LOOKUP_TRY_MS,
        .tries = LOOKUP_TRIES,
        .sock_state_cb = on_state,
        .sock_state_cb_data = r,
    };
    int rc = ares_init_options(&r->channel, &o, ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);

    r->open = rc == ARES_SUCCESS;
    if (r->open && servers[0] != '\0')
        rc = ares_set_servers_ports_csv(r->channel, servers);
    if (rc != ARES_SUCCESS)
        return bm_fail(e, r->open ? BM_USAGE : BM_NOMEM, "name resolution%s%s: %s", r->open ? ", dns_servers = " : "",
                       r->open ? servers : "", ares_strerror(rc));
    return BM_OK;
}

enum bm_rc bm_resolver_new(struct bm_courier *c, struct bm_resolver **ret, struct bm_error *e)
{
    struct bm_resolver *r = calloc(1, sizeof *r);
    enum bm_rc rc;

    if (r == NULL || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        free(r);
        return bm_fail(e, BM_NOMEM, "name resolution: out of memory");
    }
    r->of = c;
    LIST_INIT(&r->lookups);
    r->timer = event_new(c->base, -1, 0, on_timer, r);
    rc = r->timer != NULL ? open_channel(r, c->setup->dns_servers, e) : bm_fail(e, BM_NOMEM, "event loop: out of memory");
    if (rc != BM_OK) {
        bm_resolver_free(r);
        return rc;
    }
    *ret = r;
    return BM_OK;
}

void bm_resolver_free(struct bm_resolver *r)
{
    if (r == NULL)
        return;
    if (r->open)
        ares_destroy(r->channel); /* calls every lookup back */
    for (size_t i = 0; i < SOCKETS_MAX; i++)
        if (r->sockets[i].ev != NULL)
            event_free(r->sockets[i].ev);
    if (r->timer != NULL)
        event_free(r->timer);
    ares_library_cleanup();
    free(r);
}

void bm_resolver_forget(struct bm_resolver *r, const struct bm_trip *j)
{
    if (r == NULL || !j->looking)
        return;
    for (struct lookup *l = LIST_FIRST(&r->lookups); l != NULL; l = LIST_NEXT(l, link))
        if (l->job == j)
            l->job = NULL;
}

static struct lookup *look_up(struct bm_trip *j)
{
    struct lookup *l = calloc(1, sizeof *l);

    if (l == NULL) {
        bm_trip_fail(j, true, "outbound-memory", "the courier is out of memory");
        return NULL;
    }
    l->job = j;
    j->looking = true;
    LIST_INSERT_HEAD(&j->of->resolver->lookups, l, link);
    return l;
}

/* Whose it was, or NULL. */
static struct bm_trip *looked_up(struct lookup *l)
{
    struct bm_trip *j = l->job;

    LIST_REMOVE(l, link);
    free(l);
    if (j != NULL)
        j->looking = false;
    return j;
}

static void fail_lookup(struct bm_trip *j, const char *name, int rc)
{
    bool none = rc == ARES_ENOTFOUND || rc == ARES_ENODATA || rc == ARES_EBADNAME;

    bm_trip_fail(j, true, none ? "outbound-no-name" : "outbound-dns", "'%.100s': %s", name, ares_strerror(rc));
}

/* --- addresses ------------------------------------------------------------------------------------------------------------------- */
static void set_port(struct bm_trip_address *a, uint16_t port)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a->at;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a->at;

    if (a->at.ss_family == AF_INET)
        v4->sin_port = htons(port);
    else
        v6->sin6_port = htons(port);
}

static size_t keep_allowed(struct bm_trip *j, const struct ares_addrinfo *found)
{
    size_t seen = 0;

    j->n_addresses = j->next_address = 0;
    for (const struct ares_addrinfo_node *n = found->nodes; n != NULL; n = n->ai_next) {
        struct bm_trip_address *a = &j->addresses[j->n_addresses];

        if (n->ai_addrlen > sizeof a->at || (n->ai_family != AF_INET && n->ai_family != AF_INET6))
            continue;
        seen++;
        if (!bm_trip_may(j, n->ai_addr) || j->n_addresses == BM_TRIP_ADDRESSES_MAX - 1)
            continue;
        memcpy(&a->at, n->ai_addr, n->ai_addrlen);
        a->n = (socklen_t)n->ai_addrlen;
        set_port(a, j->port);
        j->n_addresses++;
    }
    return seen;
}

static void on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
    struct bm_trip *j = looked_up(arg);
    size_t seen = 0;

    (void)timeouts;
    if (j != NULL && status == ARES_SUCCESS)
        seen = keep_allowed(j, found);
    if (found != NULL)
        ares_freeaddrinfo(found);
    if (j == NULL)
        return;
    if (status != ARES_SUCCESS)
        fail_lookup(j, j->host, status);
    else if (j->n_addresses != 0)
        j->found(j);
    else if (seen != 0)
        bm_trip_fail(j, false, "outbound-private", "'%.100s' has only addresses that are not public; see validation_networks",
                     j->host);
    else
        fail_lookup(j, j->host, ARES_ENODATA);
}

void bm_trip_resolve(struct bm_trip *j, void (*found)(struct bm_trip *j))
{
    const struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT };
    struct lookup *l;

    if (j->host[0] == '\0' || strlen(j->host) > LABEL_MAX) {
        bm_trip_fail(j, false, "outbound-no-name", "'%.100s' is no name of a host", j->host);
        return;
    }
    l = look_up(j);
    if (l == NULL)
        return;
    j->found = found;
    ares_getaddrinfo(j->of->resolver->channel, j->host, NULL, &hints, on_addresses, l);
    rearm(j->of->resolver);
}

/* --- TXT records ----------------------------------------------------------------------------------------------------------------- */
/* A record may come in pieces of 255 bytes: they are one text (RFC 8555 section 8.4). */
static size_t join(const struct ares_txt_ext *found, struct bm_buf *out, struct bm_rd ret[BM_TASK_TEXTS_MAX])
{
    size_t ends[BM_TASK_TEXTS_MAX + 1] = { 0 }, n = 0;

    for (const struct ares_txt_ext *t = found; t != NULL; t = t->next) {
        if (t->record_start != 0 && n == BM_TASK_TEXTS_MAX)
            break;
        n += t->record_start != 0 || n == 0;
        bm_buf_put(out, t->txt, t->length);
        ends[n] = out->n;
    }
    for (size_t i = 0; i < n; i++)
        ret[i] = bm_rd_of(out->p + ends[i], ends[i + 1] - ends[i]);
    return out->bad ? 0 : n;
}

static void on_txt(void *arg, int status, int timeouts, unsigned char *bytes, int n)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf texts = { .max = BM_TASK_ANSWER_MAX };
    struct bm_trip *j = looked_up(arg);
    struct bm_task_answer a = { 0 };
    struct ares_txt_ext *found = NULL;
    char name[256];

    (void)timeouts;
    if (j == NULL)
        return;
    snprintf(name, sizeof name, "%.*s", (int)j->task.host.n, (const char *)j->task.host.p);
    if (status == ARES_SUCCESS)
        status = ares_parse_txt_reply_ext(bytes, n, &found);
    if (status == ARES_SUCCESS) {
        a.n_texts = join(found, &texts, a.texts);
        bm_trip_answer(j, &a);
    } else {
        fail_lookup(j, name, status);
    }
    if (found != NULL)
        ares_free_data(found);
}

void bm_trip_lookup_txt(struct bm_trip *j)
{
    char name[256];
    struct lookup *l = look_up(j);

    if (l == NULL)
        return;
    snprintf(name, sizeof name, "%.*s", (int)j->task.host.n, (const char *)j->task.host.p);
    ares_query(j->of->resolver->channel, name, ns_c_in, ns_t_txt, on_txt, l);
    rearm(j->of->resolver);
}
