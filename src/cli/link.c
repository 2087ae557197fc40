#include "cli/link.h"

#include "base/config.h"
#include "base/frame.h"
#include "keeper/keeper.h"
#include "keeper/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINK_OUT_MAX ((size_t)BM_CLI_LINK_WINDOW * (BM_FRAME_MAX + 64))
#define LINK_TIMEOUT_MS 120000 /* a manifest block behind seven others on a slow disk */

struct answer {
    bool here;
    json_t *reply;
    struct bm_error e;
};

struct bm_cli_link {
    int fd; /* -1: fn answers */
    bm_cli_link_fn *fn;
    void *arg;
    void (*done)(void *arg);
    uint64_t asked, taken; /* ids go up by one; pending ones are taken < id <= asked */
    struct answer answers[BM_CLI_LINK_WINDOW];
    struct bm_buf out, in;
};

static struct answer *answer_of(struct bm_cli_link *l, uint64_t id)
{
    return &l->answers[id % BM_CLI_LINK_WINDOW];
}

size_t bm_cli_link_pending(const struct bm_cli_link *l)
{
    return (size_t)(l->asked - l->taken);
}

static enum bm_rc link_new(struct bm_cli_link **ret, struct bm_error *e)
{
    struct bm_cli_link *l = calloc(1, sizeof *l);

    if (l == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    l->fd = -1;
    l->out.max = LINK_OUT_MAX;
    l->in.max = LINK_OUT_MAX;
    *ret = l;
    return BM_OK;
}

void bm_cli_link_close(struct bm_cli_link *l)
{
    if (l == NULL)
        return;
    if (l->fd >= 0)
        close(l->fd);
    if (l->done != NULL)
        l->done(l->arg);
    for (size_t i = 0; i < BM_CLI_LINK_WINDOW; i++)
        json_decref(l->answers[i].reply);
    bm_buf_done(&l->out);
    bm_buf_done(&l->in);
    free(l);
}

void bm_cli_link_closep(struct bm_cli_link **l)
{
    bm_cli_link_close(*l);
}

enum bm_rc bm_cli_link_of(bm_cli_link_fn *fn, void *arg, void (*done)(void *arg), struct bm_cli_link **ret, struct bm_error *e)
{
    enum bm_rc rc = link_new(ret, e);

    if (rc != BM_OK)
        return rc;
    (*ret)->fn = fn;
    (*ret)->arg = arg;
    (*ret)->done = done;
    return BM_OK;
}

/* --- the keeper in this process ---------------------------------------------------------------------------------------------- */
struct here {
    struct bm_config config; /* the keeper borrows its texts */
    struct bm_keeper *keeper;
};

static enum bm_rc ask_here(void *arg, const json_t *request, struct bm_rd blob, json_t **ret, struct bm_error *e)
{
    struct here *h = arg;
    char actor[32];

    snprintf(actor, sizeof actor, "local:uid=%u", (unsigned)geteuid());
    return bm_keeper_admin(h->keeper, request, blob, actor, ret, e);
}

static void close_here(void *arg)
{
    struct here *h = arg;

    bm_keeper_close(h->keeper);
    free(h);
}

static const char *unless_empty(const char *s)
{
    return *s != '\0' ? s : NULL;
}

/* As the server would, by the same configuration. */
static enum bm_rc open_keeper(struct here *h, const char *data_dir, const char *secret_file, struct bm_error *e)
{
    struct bm_keeper_options o = { .data_dir = data_dir };
    enum bm_rc rc = bm_config_load(&h->config, data_dir, NULL, e);

    if (rc != BM_OK)
        return rc;
    o.secret_file = secret_file != NULL ? secret_file : unless_empty(h->config.secret_file);
    o.journal = unless_empty(h->config.journal);
    o.tls_cert_file = unless_empty(h->config.tls_cert_file);
    o.tls_key_file = unless_empty(h->config.tls_key_file);
    o.tls_hosts = unless_empty(h->config.tls_hosts);
    o.store = h->config.store;
    o.host = h->config.host;
    o.tokens = bm_keeper_tokens_of(&h->config);
    o.limits = bm_keeper_limits_of(&h->config);
    return bm_keeper_open(&o, &h->keeper, e);
}

static enum bm_rc open_here(const char *data_dir, const char *secret_file, struct bm_cli_link **ret, struct bm_error *e)
{
    struct here *h = calloc(1, sizeof *h);
    enum bm_rc rc;

    if (h == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    rc = open_keeper(h, data_dir, secret_file, e);
    if (rc == BM_OK)
        rc = bm_cli_link_of(ask_here, h, close_here, ret, e);
    if (rc != BM_OK)
        close_here(h);
    return rc;
}

/* --- the socket of a running server ------------------------------------------------------------------------------------------ */
static enum bm_rc connect_to(const char *path, int *ret_fd, struct bm_error *e)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd, why;

    if (strlen(path) >= sizeof to.sun_path)
        return bm_fail(e, BM_LIMIT, "%s: longer than the %zu characters a socket's path may have; choose a shorter --data", path,
                       sizeof to.sun_path - 1);
    memcpy(to.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return bm_fail(e, BM_IO, "socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0) {
        *ret_fd = fd;
        return BM_OK;
    }
    why = errno;
    close(fd);
    if (why == ENOENT || why == ECONNREFUSED || why == ENOTDIR)
        return BM_NOTFOUND; /* no server: the caller opens the registry itself */
    return bm_refuse(e, BM_IO, why == EACCES ? "permission" : "unreachable", "cannot reach the server at %s: %s", path,
                     strerror(why));
}

enum bm_rc bm_cli_link_server(const char *data_dir, struct bm_cli_link **ret, struct bm_error *e)
{
    char path[4096];
    enum bm_rc rc;
    int fd = -1;

    if ((size_t)snprintf(path, sizeof path, "%s/admin.sock", data_dir) >= sizeof path)
        return bm_fail(e, BM_LIMIT, "%s: path too long", data_dir);
    rc = connect_to(path, &fd, e);
    if (rc == BM_OK && (rc = link_new(ret, e)) == BM_OK)
        (*ret)->fd = fd;
    else if (fd >= 0)
        close(fd);
    return rc;
}

enum bm_rc bm_cli_link_open(const char *data_dir, const char *secret_file, struct bm_cli_link **ret, struct bm_error *e)
{
    enum bm_rc rc = bm_cli_link_server(data_dir, ret, e);

    return rc == BM_NOTFOUND ? open_here(data_dir, secret_file, ret, e) : rc;
}

static enum bm_rc gone(struct bm_error *e)
{
    return bm_refuse(e, BM_IO, "unreachable", "the server closed the connection before it answered");
}

/* What the server says to question f->id. An answer that fits no pending question ends the conversation. */
static enum bm_rc take_answer(struct bm_cli_link *l, const struct bm_frame *f, struct bm_error *e)
{
    struct answer *a = answer_of(l, f->id);
    struct bm_refused no;
    json_error_t why;

    if (f->id <= l->taken || f->id > l->asked || a->here)
        return bm_fail(e, BM_MALFORMED, "the server answered a question that was not asked");
    if (f->type == BM_REFUSAL) {
        if (bm_refused_parse(f->payload, &no, e) != BM_OK)
            return bm_wrap(e, BM_MALFORMED, "the server's refusal");
        a->e.rc = no.rc > BM_OK && no.rc <= BM_BUG ? (enum bm_rc)no.rc : BM_DENIED;
        snprintf(a->e.code, sizeof a->e.code, "%s", no.code);
        snprintf(a->e.what, sizeof a->e.what, "%s", no.what);
    } else if (f->type == (BM_CMD_ADMIN | BM_ANSWER)) {
        a->reply = json_loadb((const char *)f->payload.p, f->payload.n, JSON_REJECT_DUPLICATES, &why);
        a->e.rc = BM_OK;
        if (a->reply == NULL)
            return bm_fail(e, BM_MALFORMED, "the server's answer is not JSON: %s", why.text);
    } else {
        return bm_fail(e, BM_MALFORMED, "the server's answer has the unknown type %u", f->type);
    }
    a->here = true;
    return BM_OK;
}

static enum bm_rc read_some(struct bm_cli_link *l, struct bm_error *e)
{
    uint8_t *room = bm_buf_room(&l->in, 65536);
    struct bm_frame f;
    struct bm_rd rest;
    enum bm_rc rc;
    ssize_t n;

    if (room == NULL)
        return bm_buf_check(&l->in, e);
    n = recv(l->fd, room, 65536, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        return gone(e);
    l->in.n += n > 0 ? (size_t)n : 0;
    rest = bm_buf_rd(&l->in);
    while ((rc = bm_frame_read(&rest, BM_FRAME_MAX, &f, e)) == BM_OK) {
        rc = take_answer(l, &f, e);
        if (rc != BM_OK)
            return rc;
    }
    bm_buf_drop(&l->in, l->in.n - rest.n);
    return rc == BM_AGAIN ? BM_OK : rc;
}

static enum bm_rc write_some(struct bm_cli_link *l, struct bm_error *e)
{
    ssize_t n = send(l->fd, l->out.p, l->out.n, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return gone(e);
    if (n > 0)
        bm_buf_drop(&l->out, (size_t)n);
    return BM_OK;
}

/* Reads and writes what can be read and written; both at once, so that neither side waits for the other with full buffers. */
static enum bm_rc pump(struct bm_cli_link *l, int timeout_ms, struct bm_error *e)
{
    struct pollfd p = { l->fd, (short)(POLLIN | (l->out.n != 0 ? POLLOUT : 0)), 0 };
    enum bm_rc rc = BM_OK;
    int n = poll(&p, 1, timeout_ms);

    if (n < 0)
        return errno == EINTR ? BM_OK : bm_fail(e, BM_IO, "poll: %s", strerror(errno));
    if (n == 0)
        return timeout_ms == 0
                   ? BM_OK
                   : bm_refuse(e, BM_IO, "unreachable", "the server did not answer within %d seconds", timeout_ms / 1000);
    if ((p.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        rc = read_some(l, e);
    if (rc == BM_OK && (p.revents & POLLOUT) != 0)
        rc = write_some(l, e);
    return rc;
}

/* --- questions and answers --------------------------------------------------------------------------------------------------- */
static enum bm_rc send_frame(struct bm_cli_link *l, uint64_t id, const json_t *request, struct bm_rd blob, struct bm_error *e)
{
    char *text = json_dumps(request, JSON_COMPACT);
    size_t begin;

    if (text == NULL)
        return bm_fail(e, BM_NOMEM, "out of memory");
    begin = bm_frame_begin(&l->out, id, BM_CMD_ADMIN);
    bm_buf_vec(&l->out, bm_rd_str(text));
    bm_buf_put(&l->out, blob.p, blob.n);
    free(text);
    if (l->out.n - begin > BM_FRAME_MAX)
        return bm_fail(e, BM_LIMIT, "a request of %zu bytes is over the %d the server takes", l->out.n - begin, BM_FRAME_MAX);
    bm_frame_end(&l->out, begin);
    return bm_buf_check(&l->out, e);
}

enum bm_rc bm_cli_link_send(struct bm_cli_link *l, const json_t *request, struct bm_rd blob, struct bm_error *e)
{
    struct answer *a = answer_of(l, l->asked + 1);
    enum bm_rc rc;

    if (bm_cli_link_pending(l) == BM_CLI_LINK_WINDOW)
        return bm_fail(e, BM_BUG, "more than %d questions at once", BM_CLI_LINK_WINDOW);
    *a = (struct answer){ 0 };
    l->asked++;
    if (l->fd >= 0) {
        rc = send_frame(l, l->asked, request, blob, e);
        return rc == BM_OK ? pump(l, 0, e) : rc;
    }
    a->e.rc = l->fn(l->arg, request, blob, &a->reply, &a->e);
    a->here = true;
    return BM_OK;
}

enum bm_rc bm_cli_link_receive(struct bm_cli_link *l, json_t **ret, struct bm_error *e)
{
    struct answer *a = answer_of(l, l->taken + 1);
    enum bm_rc rc = BM_OK;

    if (bm_cli_link_pending(l) == 0)
        return bm_fail(e, BM_BUG, "no question is pending");
    while (!a->here && rc == BM_OK)
        rc = pump(l, LINK_TIMEOUT_MS, e);
    if (rc != BM_OK)
        return rc;
    l->taken++;
    if (a->e.rc != BM_OK) {
        if (e != NULL)
            *e = a->e;
        return a->e.rc;
    }
    *ret = BM_MOVE(a->reply);
    return BM_OK;
}

enum bm_rc bm_cli_link_ask(struct bm_cli_link *l, const json_t *request, struct bm_rd blob, json_t **ret, struct bm_error *e)
{
    enum bm_rc rc = bm_cli_link_send(l, request, blob, e);

    return rc == BM_OK ? bm_cli_link_receive(l, ret, e) : rc;
}
