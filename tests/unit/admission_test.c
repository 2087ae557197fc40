/* server/admission.h: who is let in when the queue stands, and how the others are told. */
#include "server/admission.h"

#include "base/bytes.h"
#include "base/limits.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void standing(void **state)
{
    struct bm_admission a = { 0 };

    (void)state;
    assert_false(bm_admission_standing(&a, 1000000)); /* nobody has ever waited: an idle server is not busy */
    bm_admission_waiting(&a, 1000);
    bm_admission_waiting(&a, 1400); /* still the same queue */
    assert_false(bm_admission_standing(&a, 1000 + BM_QUEUE_STANDING_MS - 1));
    assert_true(bm_admission_standing(&a, 1000 + BM_QUEUE_STANDING_MS));
    bm_admission_empty(&a);
    assert_false(bm_admission_standing(&a, 10000));
    bm_admission_waiting(&a, 10000); /* a burst after a quiet hour begins anew */
    assert_false(bm_admission_standing(&a, 10001));
}

static const struct {
    unsigned waited_ms, connections;
    bool in;
} rows[] = {
    { 0, 0, true },
    { BM_QUEUE_WAIT_MS, 1000, true },
    { BM_QUEUE_WAIT_MS + 1, 1000, false },
    { BM_QUEUE_WAIT_MS + 1, BM_QUEUE_FEW, false },
    { BM_QUEUE_WAIT_MS + 1, BM_QUEUE_FEW - 1, true }, /* fairness: it does not crowd the queue */
    { BM_QUEUE_WAIT_FEW_MS, 0, true },
    { BM_QUEUE_WAIT_FEW_MS + 1, 0, false },
    { UINT32_MAX, 0, false },
};

static void lets_in(void **state)
{
    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++)
        assert_int_equal(bm_admission_lets_in(rows[i].waited_ms, rows[i].connections), rows[i].in);
}

static int listener(struct sockaddr_in *ret)
{
    socklen_t n = sizeof *ret;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    *ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    assert_int_equal(bind(fd, (const struct sockaddr *)ret, n), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &n), 0);
    return fd;
}

/* What the peer reads until the end; fails on a reset. */
static size_t heard(int fd, uint8_t *ret, size_t room)
{
    size_t got = 0;

    for (;;) {
        ssize_t n = recv(fd, ret + got, room - got, 0);

        assert_true(n >= 0);
        if (n == 0)
            return got;
        got += (size_t)n;
    }
}

/* Breaks when who is sent away gets a reset in place of a word, because its bytes were left unread. */
static void refuse(void **state)
{
    static const size_t sizes[] = { 0, 1, 517, 4095, 4096, 8192, 12000 };
    struct sockaddr_in at;
    uint8_t hello[12000] = { 22, 3, 1 }, said[512];
    int l = listener(&at);

    (void)state;
    for (size_t i = 0; i < 2 * BM_COUNT(sizes); i++) {
        bool plain = i >= BM_COUNT(sizes);
        size_t n = sizes[i % BM_COUNT(sizes)];
        int c = socket(AF_INET, SOCK_STREAM, 0), s;
        struct pollfd p;

        assert_int_equal(connect(c, (const struct sockaddr *)&at, sizeof at), 0);
        assert_int_equal(send(c, hello, n, 0), n);
        p = (struct pollfd){ .fd = l, .events = POLLIN };
        assert_int_equal(poll(&p, 1, 10000), 1);
        assert_int_equal(bm_admission_queue(l), 1);
        s = accept(l, NULL, NULL);
        assert_true(s >= 0);
        assert_int_equal(bm_admission_queue(l), 0);
        assert_true(bm_admission_waited(s) < 60000);
        bm_admission_refuse(s, plain);
        n = heard(c, said, sizeof said);
        if (plain)
            assert_memory_equal(said, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: ", 47);
        else
            assert_true(n == 7 && memcmp(said, "\x15\x03\x03\x00\x02\x02\x50", 7) == 0);
        close(c);
    }
    close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(standing), cmocka_unit_test(lets_in), cmocka_unit_test(refuse) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
