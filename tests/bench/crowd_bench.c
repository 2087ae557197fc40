/* A crowd for tests/bench/overload: opens connections at a given rate, come what may, sends each one and the same ClientHello and counts how it is
 * answered. In C so that it takes little processor time from the server that it shares the machine with.
 *
 *   crowd_bench PORT RATE HELLO-FILE ADDRESS...      127.0.0.1:PORT, from the local addresses given in turn, until its standard input ends
 *
 * Prints {"sent", "busy", "served", "lost", "offered_per_s"}. */
#include "base/clock.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OPEN_MAX_AT_ONCE = 8000, EVENTS = 256, FDS_MAX = 65536, LINGER_MS = 10000 };

static struct {
    int epoll;
    uint16_t port;
    struct bm_buf hello;
    char **addresses;
    size_t n_addresses, n_open;
    long offered, sent, busy, served, lost;
} crowd;

static void leave(int fd)
{
    crowd.n_open--;
    close(fd);
}

static void come(void)
{
    struct sockaddr_in from = { .sin_family = AF_INET }, to = { .sin_family = AF_INET, .sin_port = htons(crowd.port) };
    struct epoll_event ev = { .events = EPOLLOUT };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

    crowd.offered++;
    if (fd < 0) {
        fprintf(stderr, "crowd_bench: no socket\n");
        exit(1);
    }
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    inet_pton(AF_INET, crowd.addresses[(size_t)crowd.offered % crowd.n_addresses], &from.sin_addr);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    ev.data.fd = fd;
    crowd.n_open++;
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0 || epoll_ctl(crowd.epoll, EPOLL_CTL_ADD, fd, &ev) != 0) {
        perror("crowd_bench");
        exit(1);
    }
    (void)connect(fd, (struct sockaddr *)&to, sizeof to); /* what becomes of it, the event tells */
}

/* The ClientHello goes out as soon as there is a connection. */
static void say_hello(int fd)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

    if (send(fd, crowd.hello.p, crowd.hello.n, MSG_NOSIGNAL) != (ssize_t)crowd.hello.n ||
        epoll_ctl(crowd.epoll, EPOLL_CTL_MOD, fd, &ev) != 0) {
        crowd.lost++;
        leave(fd);
        return;
    }
    crowd.sent++;
}

/* The first byte of a TLS record tells: a handshake message, or an alert. */
static void hear(int fd)
{
    uint8_t first = 0;

    if (recv(fd, &first, 1, 0) != 1)
        crowd.lost++;
    else if (first == 22)
        crowd.served++;
    else if (first == 21)
        crowd.busy++;
    else
        crowd.lost++;
    leave(fd);
}

static bool asked_to_stop(void)
{
    char c;

    return read(STDIN_FILENO, &c, 1) == 0;
}

int main(int argc, char **argv)
{
    struct rlimit files = { FDS_MAX, FDS_MAX };
    struct epoll_event events[EVENTS];
    int64_t began, ended = 0;
    double rate;

    if (argc < 5) {
        fprintf(stderr, "usage: crowd_bench PORT RATE HELLO-FILE ADDRESS...\n");
        return 2;
    }
    crowd.port = (uint16_t)atoi(argv[1]);
    rate = atof(argv[2]);
    crowd.hello.max = 4096;
    crowd.addresses = argv + 4;
    crowd.n_addresses = (size_t)argc - 4;
    crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (bm_file_read(argv[3], &crowd.hello, NULL) != BM_OK || fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) != 0)
        return 1;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    began = bm_clock_steady_ms();
    for (;;) {
        int64_t now = bm_clock_steady_ms();
        int n;

        ended = ended == 0 && asked_to_stop() ? now : ended;
        if (ended != 0 && (crowd.n_open == 0 || now > ended + LINGER_MS))
            break;
        while (ended == 0 && (double)crowd.offered < (double)(now - began) * rate / 1000 && crowd.n_open < OPEN_MAX_AT_ONCE)
            come();
        n = epoll_wait(crowd.epoll, events, EVENTS, 2);
        for (int i = 0; i < n; i++)
            (events[i].events & EPOLLOUT ? say_hello : hear)(events[i].data.fd);
    }
    printf("{\"sent\": %ld, \"busy\": %ld, \"served\": %ld, \"lost\": %ld, \"offered_per_s\": %.1f}\n", crowd.sent, crowd.busy,
           crowd.served, crowd.lost + (long)crowd.n_open, (double)crowd.offered * 1000 / (double)(ended - began));
    bm_buf_done(&crowd.hello);
    return 0;
}
