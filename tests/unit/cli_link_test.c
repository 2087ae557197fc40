/* The conversation with a running server, whose part a child process plays by a script. */
#include "base/frame.h"
#include "cli/link.h"
#include "keeper/wire.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum act { ANSWER, BACKWARDS, REFUSE, WRONG_ID, TWICE, WRONG_TYPE, NO_JSON, BAD_REFUSAL, TOO_LONG, HANG_UP };

static char top[] = "/tmp/birthmark-link-XXXXXX";
static pid_t child;

static int make_top(void **state)
{
    (void)state;
    return mkdtemp(top) == NULL;
}

static int drop_top(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/admin.sock", top);
    unlink(path);
    return rmdir(top);
}

/* --- the server's part ------------------------------------------------------------------------------------------------------- */
static void put_answer(struct bm_buf *out, uint64_t id, uint8_t type, const char *text)
{
    size_t at = bm_frame_begin(out, id, type);

    bm_buf_str(out, text);
    bm_frame_end(out, at);
}

/* Tells how many bytes of JSON and blob it was given. */
static void put_echo(struct bm_buf *out, const struct bm_frame *f)
{
    struct bm_rd rest = f->payload, json;
    char text[96];

    if (f->type != BM_CMD_ADMIN || !bm_rd_vec(&rest, BM_FRAME_MAX, &json))
        _exit(2);
    snprintf(text, sizeof text, "{\"id\":%d,\"blob\":%zu}", (int)f->id, rest.n);
    put_answer(out, f->id, BM_CMD_ADMIN | BM_ANSWER, text);
}

static void put_refusal(struct bm_buf *out, uint64_t id)
{
    struct bm_error e = { BM_CONFLICT, "in-the-way", "something is in the way" };
    size_t at = bm_frame_begin(out, id, BM_REFUSAL);

    bm_refused_write(out, &e, 0);
    bm_frame_end(out, at);
}

static void put_act(struct bm_buf *out, enum act act, const struct bm_frame *f)
{
    if (act == ANSWER)
        put_echo(out, f);
    else if (act == REFUSE)
        put_refusal(out, f->id);
    else if (act == WRONG_ID)
        put_answer(out, f->id + 1, BM_CMD_ADMIN | BM_ANSWER, "{}");
    else if (act == TWICE)
        put_echo(out, f), put_echo(out, f);
    else if (act == WRONG_TYPE)
        put_answer(out, f->id, BM_CMD_VIEW | BM_ANSWER, "{}");
    else if (act == NO_JSON)
        put_answer(out, f->id, BM_CMD_ADMIN | BM_ANSWER, "{");
    else if (act == BAD_REFUSAL)
        put_answer(out, f->id, BM_REFUSAL, "xx");
    else if (act == TOO_LONG)
        bm_buf_uint(out, 4, 0xffffffff);
}

static void send_all(int fd, struct bm_buf *out)
{
    for (size_t at = 0; at < out->n;) {
        ssize_t n = send(fd, out->p + at, out->n - at, MSG_NOSIGNAL);

        if (n <= 0)
            _exit(0);
        at += (size_t)n;
    }
    out->n = 0;
}

/* Reads n_first questions before it answers any of them, backwards or in order; then one by one. */
static void serve(int fd, enum act act, size_t n_first)
{
    struct bm_buf in = { .max = 64 << 20 }, out = { .max = 1 << 20 };
    struct bm_frame first[BM_CLI_LINK_WINDOW], f;
    struct bm_rd rest;
    size_t n_held = 0;
    ssize_t n;

    while ((n = recv(fd, bm_buf_room(&in, 65536), 65536, 0)) > 0) {
        in.n += (size_t)n;
        rest = bm_buf_rd(&in);
        n_held = 0;
        while (n_held < n_first && bm_frame_read(&rest, BM_FRAME_MAX, &f, NULL) == BM_OK)
            first[n_held++] = f;
        if (n_held < n_first)
            continue;
        if (act == HANG_UP)
            break;
        for (size_t i = 0; i < n_held; i++)
            put_act(&out, act == BACKWARDS ? ANSWER : act, &first[act == BACKWARDS ? n_held - 1 - i : i]);
        bm_buf_drop(&in, in.n - rest.n);
        n_first = 1;
        send_all(fd, &out);
    }
    _exit(0);
}

static void start(enum act act, size_t n_first)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), on;

    snprintf(at.sun_path, sizeof at.sun_path, "%s/admin.sock", top);
    unlink(at.sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    child = fork();
    if (child == 0) {
        on = accept(fd, NULL, NULL);
        serve(on, act, n_first);
    }
    close(fd);
}

static void stop(struct bm_cli_link *l)
{
    bm_cli_link_close(l);
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
}

static struct bm_cli_link *connected(enum act act, size_t n_first)
{
    struct bm_cli_link *l = NULL;
    struct bm_error e;

    start(act, n_first);
    assert_int_equal(bm_cli_link_open(top, NULL, &l, &e), BM_OK);
    return l;
}

/* --- good -------------------------------------------------------------------------------------------------------------------- */
static json_t *question(void)
{
    return json_pack("{ss}", "op", "status");
}

static void asks(void **state)
{
    struct bm_cli_link *l = connected(ANSWER, 1);
    json_t *q = question(), *a = NULL;
    struct bm_error e;

    (void)state;
    for (int i = 1; i <= 20; i++) {
        assert_int_equal(bm_cli_link_ask(l, q, bm_rd_str("blob"), &a, &e), BM_OK);
        assert_int_equal(json_integer_value(json_object_get(a, "id")), i);
        assert_int_equal(json_integer_value(json_object_get(a, "blob")), 4);
        json_decref(a);
    }
    json_decref(q);
    stop(l);
}

/* Full blocks of the largest size, more than any socket buffer holds, answered last first: still told in order. */
static void pipelines(void **state)
{
    static uint8_t blob[4 << 20];
    struct bm_cli_link *l = connected(BACKWARDS, BM_CLI_LINK_WINDOW);
    json_t *q = question(), *a = NULL;
    struct bm_error e;

    (void)state;
    for (size_t i = 0; i < BM_CLI_LINK_WINDOW; i++)
        assert_int_equal(bm_cli_link_send(l, q, bm_rd_of(blob, sizeof blob - i), &e), BM_OK);
    assert_int_equal(bm_cli_link_pending(l), BM_CLI_LINK_WINDOW);
    assert_int_equal(bm_cli_link_send(l, q, bm_rd_of(NULL, 0), &e), BM_BUG);
    for (size_t i = 0; i < BM_CLI_LINK_WINDOW; i++) {
        assert_int_equal(bm_cli_link_receive(l, &a, &e), BM_OK);
        assert_int_equal(json_integer_value(json_object_get(a, "blob")), sizeof blob - i);
        json_decref(a);
    }
    assert_int_equal(bm_cli_link_pending(l), 0);
    assert_int_equal(bm_cli_link_receive(l, &a, &e), BM_BUG);
    json_decref(q);
    stop(l);
}

static void refusal_arrives_whole(void **state)
{
    struct bm_cli_link *l = connected(REFUSE, 1);
    json_t *q = question(), *a = NULL;
    struct bm_error e = { 0 };

    (void)state;
    assert_int_equal(bm_cli_link_ask(l, q, bm_rd_of(NULL, 0), &a, &e), BM_CONFLICT);
    assert_string_equal(e.code, "in-the-way");
    assert_string_equal(e.what, "something is in the way");
    assert_null(a);
    json_decref(q);
    stop(l);
}

/* --- a server that makes no sense -------------------------------------------------------------------------------------------- */
static void nonsense(void **state)
{
    static const struct {
        enum act act;
        enum bm_rc want;
    } cases[] = {
        { WRONG_ID, BM_MALFORMED },    { TWICE, BM_MALFORMED }, { WRONG_TYPE, BM_MALFORMED }, { NO_JSON, BM_MALFORMED },
        { BAD_REFUSAL, BM_MALFORMED }, { TOO_LONG, BM_LIMIT },  { HANG_UP, BM_IO },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        struct bm_cli_link *l = connected(cases[i].act, 2);
        json_t *q = question(), *a = NULL;
        struct bm_error e = { 0 };
        enum bm_rc rc = bm_cli_link_send(l, q, bm_rd_of(NULL, 0), &e);

        print_message("act %d\n", cases[i].act);
        for (int k = 0; k < 2 && rc == BM_OK; k++) {
            rc = k == 0 ? bm_cli_link_send(l, q, bm_rd_of(NULL, 0), &e) : BM_OK;
            rc = rc == BM_OK ? bm_cli_link_receive(l, &a, &e) : rc;
            json_decref(a);
            a = NULL;
        }
        assert_int_equal(rc, cases[i].want);
        assert_string_not_equal(e.what, "");
        json_decref(q);
        stop(l);
    }
}

static void no_server_and_no_registry(void **state)
{
    struct bm_cli_link *l = NULL;
    struct bm_error e = { 0 };
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/admin.sock", top); /* left behind by a server that was killed */
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(bm_cli_link_open(top, NULL, &l, &e), BM_NOTFOUND);
    assert_string_equal(e.code, "no-registry");
    assert_int_equal(bm_cli_link_open("/nonexistent/birthmark", NULL, &l, &e), BM_NOTFOUND);
    assert_string_equal(e.code, "no-registry");
    assert_null(l);
}

static void path_too_long(void **state)
{
    struct bm_cli_link *l = NULL;
    struct bm_error e = { 0 };
    char path[256];

    (void)state;
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    assert_int_equal(bm_cli_link_open(path, NULL, &l, &e), BM_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks),
        cmocka_unit_test(pipelines),
        cmocka_unit_test(refusal_arrives_whole),
        cmocka_unit_test(nonsense),
        cmocka_unit_test(no_server_and_no_registry),
        cmocka_unit_test(path_too_long),
    };

    return cmocka_run_group_tests(tests, make_top, drop_top);
}
