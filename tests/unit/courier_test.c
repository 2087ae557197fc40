/* The courier as a process, locked in as in service, with the test as its keeper and, on the other side, as the servers it is sent to: each row is
 * one task and what must come back. What breaks here: a stranger leads it where it must not go, or a hostile server keeps or floods it. */
#include "base/frame.h"
#include "keeper/task.h"
#include "keeper/wire.h"
#include "server/courier.h"
#include "server/worker.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 20000
#define ALPN "acme-tls/1"

static struct bm_error err;
static pid_t courier, web, names, secure;
static unsigned web_port, names_port, secure_port;
static int keeper_fd, control_fd;
static struct bm_buf in; /* what the courier has said */
static uint64_t asked;   /* the question that waits for its answer */

/* --- servers --------------------------------------------------------------------------------------------------------------------- */
static int listen_on(int type, unsigned *ret_port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, type, 0);

    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    assert_true(type == SOCK_DGRAM || listen(fd, 32) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static void out(int fd, const char *text)
{
    (void)!write(fd, text, strlen(text));
}

static void redirect(int fd, const char *to)
{
    char text[400];

    snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", to);
    out(fd, text);
}

static void flood(int fd, const char *head, const char *line)
{
    out(fd, head);
    for (int i = 0; i < 20000; i++)
        out(fd, line);
}

static void echo(int fd, const char *request)
{
    char text[4500];

    snprintf(
        text, sizeof text,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nReplay-Nonce:  n-1 \r\nRetry-After: 7\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(request), request);
    out(fd, text);
}

static const struct {
    const char *path, *to;
} redirects[] = {
    { "/file", "file:///etc/passwd" },
    { "/gopher", "gopher://127.0.0.1/1" },
    { "/neighbour", "http://127.0.0.2/ok" },
    { "/metadata", "http://169.254.169.254/latest/meta-data/" },
    { "/mapped", "http://[::ffff:10.0.0.1]/" },
    { "/inner-name", "http://inner.test/" },
    { "/port", "http://127.0.0.1:22/" },
    { "/user", "http://me:secret@127.0.0.1/ok" },
    { "/loop", "/loop" },
    { "/hop", "/ok" },
};

static void serve(int fd)
{
    char request[4096], path[100] = "";
    ssize_t n = read(fd, request, sizeof request - 1);

    if (n <= 0)
        return;
    request[n] = '\0';
    (void)sscanf(request, "%*s %99s", path);
    for (size_t i = 0; i < BM_COUNT(redirects); i++)
        if (strcmp(path, redirects[i].path) == 0)
            redirect(fd, redirects[i].to);
    if (strcmp(path, "/ok") == 0)
        out(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    else if (strcmp(path, "/echo") == 0)
        echo(fd, request);
    else if (strcmp(path, "/missing") == 0)
        out(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
    else if (strcmp(path, "/big") == 0)
        flood(fd, "HTTP/1.1 200 OK\r\n\r\n", "0123456789012345678901234567890123456789");
    else if (strcmp(path, "/headers") == 0)
        flood(fd, "HTTP/1.1 200 OK\r\n", "X-Filler: 0123456789012345678901234567890123456789\r\n");
    else if (strcmp(path, "/slow") == 0)
        (void)poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 30000); /* until it has had enough */
    else if (strcmp(path, "/garbage") == 0)
        out(fd, "\x01\x02nothing of the kind\r\n\r\n");
}

static _Noreturn void web_child(int listener)
{
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fork() == 0) {
            serve(fd);
            _exit(0);
        }
        close(fd);
    }
}

/* --- names ----------------------------------------------------------------------------------------------------------------------- */
enum { A = 1, TXT = 16 };
static const struct {
    const char *name;
    int type;
    const char *data; /* as in the record */
    size_t n;
} zone[] = {
    { "inner.test", A, "\x0a\x00\x00\x01", 4 },
    { "local.test", A, "\x7f\x00\x00\x01", 4 },
    { "text.test", TXT,
      "\x03"
      "abc"
      "\x03"
      "def",
      8 },
    { "text.test", TXT,
      "\x01"
      "x",
      2 },
};

/* RFC 1035 section 4.1: the question as it came, and a pointer to its name before each record. */
static size_t name_answer(const uint8_t *q, size_t n, uint8_t *ret)
{
    struct bm_wr w = bm_wr_of(ret, 512);
    char name[256] = "";
    size_t at = 12, found = 0, known = 0;
    int type;

    while (at < n && q[at] != 0 && strlen(name) + q[at] + 1 < sizeof name) {
        snprintf(name + strlen(name), sizeof name - strlen(name), "%s%.*s", name[0] != '\0' ? "." : "", q[at],
                 (const char *)q + at + 1);
        at += q[at] + 1U;
    }
    type = q[at + 1] << 8 | q[at + 2];
    for (size_t i = 0; i < BM_COUNT(zone); i++) {
        known += strcmp(name, zone[i].name) == 0;
        found += strcmp(name, zone[i].name) == 0 && zone[i].type == type;
    }
    if (strcmp(name, "silent.test") == 0)
        return 0;
    bm_wr_put(&w, q, 2);
    bm_wr_uint(&w, 2, known != 0 ? 0x8180 : 0x8183); /* NXDOMAIN */
    bm_wr_uint(&w, 2, 1);
    bm_wr_uint(&w, 2, found);
    bm_wr_uint(&w, 4, 0);
    bm_wr_put(&w, q + 12, at + 5 - 12);
    for (size_t i = 0; i < BM_COUNT(zone); i++) {
        if (strcmp(name, zone[i].name) != 0 || zone[i].type != type)
            continue;
        bm_wr_uint(&w, 2, 0xc00c);
        bm_wr_uint(&w, 2, (unsigned)type);
        bm_wr_uint(&w, 2, 1);
        bm_wr_uint(&w, 4, 60);
        bm_wr_uint(&w, 2, zone[i].n);
        bm_wr_put(&w, zone[i].data, zone[i].n);
    }
    return w.n;
}

static _Noreturn void names_child(int fd)
{
    for (;;) {
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        uint8_t q[512], a[512];
        ssize_t n = recvfrom(fd, q, sizeof q, 0, (struct sockaddr *)&from, &len);
        size_t an = n > 16 ? name_answer(q, (size_t)n, a) : 0;

        if (an != 0)
            (void)sendto(fd, a, an, 0, (struct sockaddr *)&from, len);
    }
}

/* --- TLS ------------------------------------------------------------------------------------------------------------------------- */
static struct bm_buf cert_der, cert_pem;
static EVP_PKEY *cert_key;

static void make_cert(void)
{
    X509 *x = X509_new();
    BIO *b = BIO_new(BIO_s_mem());
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1,DNS:local.test");
    uint8_t *der = NULL;
    char *text;
    int n;

    cert_key = EVP_EC_gen("P-256");
    assert_true(x != NULL && b != NULL && san != NULL && X509_set_version(x, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const uint8_t *)"test", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, cert_key);
    X509_add_ext(x, san, -1);
    assert_true(X509_sign(x, cert_key, EVP_sha256()) > 0);
    n = i2d_X509(x, &der);
    cert_der.max = cert_pem.max = BM_CERT_MAX;
    bm_buf_put(&cert_der, der, (size_t)n);
    assert_int_equal(PEM_write_bio_X509(b, x), 1);
    n = (int)BIO_get_mem_data(b, &text);
    bm_buf_put(&cert_pem, text, (size_t)n);
    X509_EXTENSION_free(san);
    OPENSSL_free(der);
    BIO_free(b);
    X509_free(x);
}

static int choose(SSL *ssl, const unsigned char **ret, unsigned char *ret_len, const unsigned char *offered, unsigned n, void *arg)
{
    (void)ssl;
    (void)arg;
    if (n != sizeof ALPN || memcmp(offered + 1, ALPN, sizeof ALPN - 1) != 0)
        return SSL_TLSEXT_ERR_NOACK;
    *ret = offered + 1;
    *ret_len = sizeof ALPN - 1;
    return SSL_TLSEXT_ERR_OK;
}

static _Noreturn void secure_child(int listener)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    const unsigned char *p = cert_der.p;
    X509 *x = d2i_X509(NULL, &p, (long)cert_der.n);

    signal(SIGPIPE, SIG_IGN);
    if (SSL_CTX_use_certificate(ctx, x) != 1 || SSL_CTX_use_PrivateKey(ctx, cert_key) != 1)
        _exit(1);
    SSL_CTX_set_alpn_select_cb(ctx, choose, NULL);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        SSL *ssl = SSL_new(ctx);
        char request[1000];

        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1 && SSL_read(ssl, request, sizeof request) > 0)
            SSL_write(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecure", 44);
        SSL_free(ssl);
        close(fd);
    }
}

/* --- the keeper ------------------------------------------------------------------------------------------------------------------ */
/* The courier's next word; false after WAIT_MS. */
static bool next_ask(struct bm_errand_ask *a)
{
    for (;;) {
        struct bm_rd r = bm_buf_rd(&in);
        struct pollfd p = { .fd = keeper_fd, .events = POLLIN };
        struct bm_frame f;
        uint8_t *to;
        ssize_t n;

        if (bm_frame_read(&r, BM_ERRAND_COMMAND_MAX, &f, NULL) == BM_OK) {
            assert_int_equal(f.type, BM_CMD_ERRAND);
            asked = f.id;
            return bm_errand_ask_parse(f.payload, a, &err) == BM_OK;
        }
        to = bm_buf_room(&in, 65536);
        assert_non_null(to);
        if (poll(&p, 1, WAIT_MS) != 1 || (n = recv(keeper_fd, to, 65536, 0)) <= 0)
            return false;
        in.n += (size_t)n;
    }
}

static void say(uint64_t id, uint8_t type, const struct bm_errand_given *g)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = BM_FRAME_MAX };
    size_t at = bm_frame_begin(&b, id, type);

    if (g != NULL)
        bm_errand_given_write(&b, g);
    bm_frame_end(&b, at);
    assert_int_equal(send(keeper_fd, b.p, b.n, MSG_NOSIGNAL), b.n);
}

static void answer(const struct bm_errand_given *g)
{
    bm_buf_done(&in);
    in.max = BM_FRAME_MAX;
    say(asked, BM_CMD_ERRAND | BM_ANSWER, g);
}

/* Hands one task out and gives what comes back, which stays in `in`. */
static void carry_out(const struct bm_task *t, struct bm_task_answer *ret)
{
    static int64_t ids;
    BM_CLEANUP(bm_buf_done) struct bm_buf b = { .max = BM_TASK_MAX };
    struct bm_errand_given g = { .n = 1 };
    struct bm_errand_ask a;

    bm_task_write(&b, t);
    g.work[0] = (struct bm_errand_work){ .id = ++ids, .token = 77, .task = bm_buf_rd(&b) };
    answer(&g);
    do {
        assert_true(next_ask(&a));
        if (a.n == 0)
            answer(&(struct bm_errand_given){ 0 });
    } while (a.n == 0);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.reports[0].id, ids);
    assert_int_equal(a.reports[0].token, 77);
    assert_int_equal(bm_task_answer_parse(a.reports[0].answer, ret, &err), BM_OK);
    if (ret->failed)
        print_message("  %s: %s\n", ret->code, ret->what);
}

/* The keeper says that it has the report; the courier has nothing to ask until it is woken. */
static void settled(void)
{
    struct bm_errand_ask a;

    answer(&(struct bm_errand_given){ 0 });
    say(0, BM_CMD_CHANGED, NULL);
    assert_true(next_ask(&a));
    assert_false(a.fresh);
    assert_int_equal(a.n, 0);
    assert_int_equal(a.room, BM_ERRANDS_AT_ONCE);
}

/* --- HTTP ------------------------------------------------------------------------------------------------------------------------ */
static const struct {
    const char *url; /* '#': the port */
    const char *code;
    unsigned status;
    const char *body;
    bool trusted; /* not foreign: the operator chose it */
    bool final;   /* no use in trying again */
} fetches[] = {
    { "http://127.0.0.1:#/ok", "", 200, "hello", false, false },
    { "http://127.0.0.1:#/hop", "", 200, "hello", false, false },
    { "http://local.test:#/ok", "", 200, "hello", false, false },
    { "http://127.0.0.1:#/missing", "", 404, "no", false, false },
    { "http://127.0.0.1:#/file", "outbound-redirect", 0, "", false, true },
    { "http://127.0.0.1:#/gopher", "outbound-redirect", 0, "", false, true },
    { "http://127.0.0.1:#/port", "outbound-redirect", 0, "", false, true },
    { "http://127.0.0.1:#/user", "outbound-redirect", 0, "", false, true },
    { "http://127.0.0.1:#/loop", "outbound-redirect", 0, "", false, true },
    { "http://127.0.0.1:#/neighbour", "outbound-private", 0, "", false, true },
    { "http://127.0.0.1:#/metadata", "outbound-private", 0, "", false, true },
    { "http://127.0.0.1:#/mapped", "outbound-private", 0, "", false, true },
    { "http://127.0.0.1:#/inner-name", "outbound-private", 0, "", false, true },
    { "http://127.0.0.2:#/ok", "outbound-private", 0, "", false, true },
    { "http://0x7f.2:#/ok", "outbound-private", 0, "", false, true }, /* 127.0.0.2, written so that nobody sees it */
    { "http://[::1]:#/ok", "outbound-private", 0, "", false, true },
    { "http://localhost:#/ok", "", 200, "hello", true, false },
    { "http://inner.test:#/ok", "outbound-private", 0, "", false, true },
    { "http://none.test:#/ok", "outbound-no-name", 0, "", false, false },
    { "http://127.0.0.1:1/ok", "outbound-unreachable", 0, "", true, false },
    { "http://127.0.0.1:#/big", "outbound-too-long", 0, "", true, true },
    { "http://127.0.0.1:#/headers", "outbound-too-long", 0, "", true, true },
    { "http://127.0.0.1:#/garbage", "outbound-http", 0, "", true, false },
    { "http://127.0.0.1:#/close", "outbound-http", 0, "", true, false },
    { "http://127.0.0.1:#/slow", "outbound-timeout", 0, "", true, false },
    { "file:///etc/passwd", "outbound-url", 0, "", true, true },
    { "gopher://127.0.0.1:#/", "outbound-url", 0, "", true, true },
    { "127.0.0.1/ok", "outbound-url", 0, "", true, true },
    { "http://me@127.0.0.1:#/ok", "outbound-url", 0, "", true, true },
    { "http://", "outbound-url", 0, "", true, true },
};

static void put_port(const char *text, char *ret, size_t ret_len)
{
    const char *at = strchr(text, '#');

    if (at == NULL)
        snprintf(ret, ret_len, "%s", text);
    else
        snprintf(ret, ret_len, "%.*s%u%s", (int)(at - text), text, web_port, at + 1);
}

static void each_fetch(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(fetches); i++) {
        struct bm_task t = {
            .kind = BM_TASK_HTTP, .timeout_ms = 1500, .foreign = !fetches[i].trusted, .redirects = 3, .answer_max = 4096
        };
        struct bm_task_answer a;
        char url[200];

        put_port(fetches[i].url, url, sizeof url);
        t.method = bm_rd_str("GET");
        t.url = bm_rd_str(url);
        carry_out(&t, &a);
        if (strcmp(a.code, fetches[i].code) != 0 || a.status != fetches[i].status ||
            !bm_rd_eq(a.body, bm_rd_str(fetches[i].body)) || (a.failed && a.retry == fetches[i].final)) {
            print_error("%s: %s (%s), status %u, retry %d\n", url, a.code, a.what, a.status, a.retry);
            wrong++;
        }
        settled();
    }
    assert_int_equal(wrong, 0);
}

/* What the keeper wrote goes out as it is, once; what it wants to know of the answer comes back. */
static void a_post(void **state)
{
    struct bm_task t = { .kind = BM_TASK_HTTP, .timeout_ms = 5000, .redirects = 3, .answer_max = 4096, .n_fields = 1 };
    struct bm_task_answer a;
    char url[100], text[4096];

    (void)state;
    snprintf(url, sizeof url, "http://127.0.0.1:%u/echo", web_port);
    t.method = bm_rd_str("POST");
    t.url = bm_rd_str(url);
    t.fields[0].name = bm_rd_str("X-Signature");
    t.fields[0].value = bm_rd_str("abc");
    t.body = bm_rd_str("{\"a\":1}");
    carry_out(&t, &a);
    assert_int_equal(a.status, 200);
    snprintf(text, sizeof text, "%.*s", (int)a.body.n, (const char *)a.body.p);
    assert_non_null(strstr(text, "POST /echo HTTP/1.1\r\n"));
    assert_non_null(strstr(text, "X-Signature: abc\r\n"));
    assert_non_null(strstr(text, "\r\n\r\n{\"a\":1}"));
    assert_null(strstr(text, "Expect"));
    assert_null(strstr(text, "Cookie"));
    assert_true(bm_rd_eq(a.nonce, bm_rd_str("n-1")));
    assert_true(bm_rd_eq(a.retry_after, bm_rd_str("7")));
    settled();
    snprintf(url, sizeof url, "http://127.0.0.1:%u/hop", web_port);
    t.url = bm_rd_str(url);
    carry_out(&t, &a); /* it carries what is meant for one server, so it is not repeated at another */
    assert_int_equal(a.status, 302);
    assert_true(bm_rd_eq(a.location, bm_rd_str("/ok")));
    settled();
}

static void https(void **state)
{
    struct bm_task t = { .kind = BM_TASK_HTTP, .timeout_ms = 5000, .answer_max = 100 };
    struct bm_task_answer a;
    char url[100];

    (void)state;
    snprintf(url, sizeof url, "https://127.0.0.1:%u/", secure_port);
    t.method = bm_rd_str("GET");
    t.url = bm_rd_str(url);
    carry_out(&t, &a); /* the system's CAs know nothing of it */
    assert_string_equal(a.code, "outbound-untrusted");
    settled();
    t.trust = bm_buf_rd(&cert_pem);
    carry_out(&t, &a);
    assert_true(bm_rd_eq(a.body, bm_rd_str("secure")));
    settled();
    t.trust = bm_rd_str("no certificate");
    carry_out(&t, &a);
    assert_true(a.failed);
    settled();
    t.trust = bm_rd_str("");
    t.unverified = true; /* for redirects of strangers only */
    carry_out(&t, &a);
    assert_string_equal(a.code, "outbound-untrusted");
    settled();
    t.foreign = true;
    carry_out(&t, &a);
    assert_int_equal(a.status, 200);
    settled();
}

/* --- the others ------------------------------------------------------------------------------------------------------------------ */
static void texts(void **state)
{
    struct bm_task t = { .kind = BM_TASK_DNS_TXT, .timeout_ms = 1000, .foreign = true };
    struct bm_task_answer a;

    (void)state;
    t.host = bm_rd_str("text.test");
    carry_out(&t, &a);
    assert_int_equal(a.n_texts, 2);
    assert_true(bm_rd_eq(a.texts[0], bm_rd_str("abcdef"))); /* one record, two strings */
    assert_true(bm_rd_eq(a.texts[1], bm_rd_str("x")));
    settled();
    t.host = bm_rd_str("none.test");
    carry_out(&t, &a);
    assert_string_equal(a.code, "outbound-no-name");
    settled();
    t.host = bm_rd_str("local.test"); /* it is there, with no text */
    carry_out(&t, &a);
    assert_true(a.failed && a.retry);
    settled();
    t.host = bm_rd_str("silent.test");
    t.timeout_ms = 200; /* c-ares waits longer: newer ones for as long as this server has taken before, but 250 ms at least */
    carry_out(&t, &a);
    assert_string_equal(a.code, "outbound-timeout");
    settled();
}

static void certificates(void **state)
{
    struct bm_task t = { .kind = BM_TASK_TLS, .timeout_ms = 5000, .foreign = true };
    struct bm_task_answer a;

    (void)state;
    t.host = bm_rd_str("local.test");
    t.port = (uint16_t)secure_port;
    t.alpn = bm_rd_str(ALPN);
    carry_out(&t, &a);
    assert_true(bm_rd_eq(a.cert, bm_buf_rd(&cert_der)));
    assert_true(bm_rd_eq(a.alpn, bm_rd_str(ALPN)));
    settled();
    t.alpn = bm_rd_str("h2");
    carry_out(&t, &a); /* the server takes none of what we offer, and says so by saying nothing */
    assert_int_equal(a.alpn.n, 0);
    settled();
    t.host = bm_rd_str("inner.test");
    carry_out(&t, &a);
    assert_string_equal(a.code, "outbound-private");
    settled();
    t.host = bm_rd_str("127.0.0.1");
    t.port = (uint16_t)web_port; /* no TLS there */
    carry_out(&t, &a);
    assert_string_equal(a.code, "outbound-tls");
    settled();
    t.port = 1;
    carry_out(&t, &a);
    assert_string_equal(a.code, "outbound-unreachable");
    settled();
}

/* A task that makes no sense is answered, and many at a time do not get into each other's way. */
static void many_and_nonsense(void **state)
{
    static struct bm_buf bytes[BM_ERRANDS_AT_ONCE];
    struct bm_errand_given g = { .n = BM_ERRANDS_AT_ONCE };
    bool seen[BM_ERRANDS_AT_ONCE] = { false };
    struct bm_errand_ask ask;
    size_t n = 0;
    char url[100];

    (void)state;
    snprintf(url, sizeof url, "http://127.0.0.1:%u/ok", web_port);
    for (size_t i = 0; i < g.n; i++) {
        struct bm_task t = { .kind = BM_TASK_HTTP, .timeout_ms = 20000, .answer_max = 100 };

        t.method = bm_rd_str("GET");
        t.url = bm_rd_str(url);
        bytes[i].max = BM_TASK_MAX;
        if (i % 2 == 0)
            bm_task_write(&bytes[i], &t);
        else
            bm_buf_str(&bytes[i], "nonsense");
        g.work[i] = (struct bm_errand_work){ .id = (int64_t)i + 1000, .token = 1, .task = bm_buf_rd(&bytes[i]) };
    }
    answer(&g);
    while (n < g.n) {
        assert_true(next_ask(&ask));
        for (size_t i = 0; i < ask.n; i++) {
            size_t which = (size_t)ask.reports[i].id - 1000;
            struct bm_task_answer a;

            assert_true(which < g.n && !seen[which]);
            seen[which] = true;
            assert_int_equal(bm_task_answer_parse(ask.reports[i].answer, &a, &err), BM_OK);
            assert_string_equal(a.code, which % 2 == 0 ? "" : "outbound-task");
        }
        n += ask.n;
        answer(&(struct bm_errand_given){ 0 });
    }
    for (size_t i = 0; i < g.n; i++)
        bm_buf_done(&bytes[i]);
    say(0, BM_CMD_CHANGED, NULL);
    assert_true(next_ask(&ask));
}

/* What the keeper could not write down is said again until it could. */
static void a_refused_report_is_repeated(void **state)
{
    struct bm_task t = { .kind = BM_TASK_HTTP, .timeout_ms = 5000, .answer_max = 100 };
    struct bm_errand_ask again;
    struct bm_task_answer a;
    char url[100];

    (void)state;
    snprintf(url, sizeof url, "http://127.0.0.1:%u/ok", web_port);
    t.method = bm_rd_str("GET");
    t.url = bm_rd_str(url);
    carry_out(&t, &a);
    bm_buf_done(&in);
    in.max = BM_FRAME_MAX;
    say(asked, BM_REFUSAL, NULL);
    assert_true(next_ask(&again));
    assert_int_equal(again.n, 1);
    assert_int_equal(again.reports[0].token, 77);
    settled();
}

/* --- the world ------------------------------------------------------------------------------------------------------------------- */
static pid_t start(void (*child)(int), int fd)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        child(fd);
    close(fd);
    return pid;
}

static _Noreturn void courier_child(int keeper, int control)
{
    char dns[40];
    const struct bm_courier_setup setup = {
        .name = "courier",
        .keeper_fd = keeper,
        .control_fd = control,
        .confine = bm_confine_check(NULL) == BM_OK ? BM_CONFINE_REQUIRED : BM_CONFINE_OFF,
        .dns_servers = dns,
        .validation_networks = "127.0.0.1",
    };

    snprintf(dns, sizeof dns, "127.0.0.1:%u", names_port);
    (void)setenv("http_proxy", "http://127.0.0.1:9", 1); /* nothing of the surroundings counts */
    (void)setenv("ALL_PROXY", "http://127.0.0.1:9", 1);
    bm_harden();
    exit(bm_courier_run(&setup));
}

static int begin(void **state)
{
    int keeper[2], control[2];
    struct bm_errand_ask a;
    char ready;

    (void)state;
    make_cert();
    web = start(web_child, listen_on(SOCK_STREAM, &web_port));
    names = start(names_child, listen_on(SOCK_DGRAM, &names_port));
    secure = start(secure_child, listen_on(SOCK_STREAM, &secure_port));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, keeper), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, control), 0);
    fflush(NULL);
    courier = fork();
    if (courier == 0) {
        close(keeper[0]);
        close(control[0]);
        courier_child(keeper[1], control[1]);
    }
    close(keeper[1]);
    close(control[1]);
    keeper_fd = keeper[0];
    control_fd = control[0];
    in.max = BM_FRAME_MAX;
    assert_int_equal(recv(control_fd, &ready, 1, 0), 1);
    assert_int_equal(ready, BM_WORKER_READY);
    assert_true(next_ask(&a));
    assert_true(a.fresh);
    assert_int_equal(a.room, BM_ERRANDS_AT_ONCE);
    return 0;
}

/* A drain ends it in good order. */
static int end(void **state)
{
    const struct bm_worker_order drain = { .act = BM_WORKER_DRAIN };
    const pid_t servers[] = { web, names, secure };
    int how;

    (void)state;
    assert_int_equal(send(control_fd, &drain, sizeof drain, 0), sizeof drain);
    assert_int_equal(waitpid(courier, &how, 0), courier);
    for (size_t i = 0; i < BM_COUNT(servers); i++) {
        kill(servers[i], SIGKILL);
        (void)waitpid(servers[i], NULL, 0);
    }
    bm_buf_done(&in);
    bm_buf_done(&cert_der);
    bm_buf_done(&cert_pem);
    EVP_PKEY_free(cert_key);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fetch),
        cmocka_unit_test(a_post),
        cmocka_unit_test(https),
        cmocka_unit_test(texts),
        cmocka_unit_test(certificates),
        cmocka_unit_test(many_and_nonsense),
        cmocka_unit_test(a_refused_report_is_repeated),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
