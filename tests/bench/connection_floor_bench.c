/* What the kernel alone takes for one short TCP connection over loopback: accepted, two messages read and answered as in a TLS 1.3 handshake and a request
 * behind it, the peer's last word read, closed. One epoll loop, 16 clients, no cryptography. Prints one JSON object, microseconds of the server's CPU time. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 16, EACH = 250, CONNECTIONS = CLIENTS * EACH, FDS = 256, EVENTS = 32, ROOM = 16384 };
/* Bytes: ClientHello; our first flight; Finished and a CMP request; its answer; close_notify. */
enum { HELLO = 300, FLIGHT = 1400, REQUEST = 1000, ANSWER = 1900, GOODBYE = 24 };

static struct sockaddr_in at = { .sin_family = AF_INET };
static size_t heard[FDS];
static char bytes[ROOM];

static int must(int rc)
{
    if (rc >= 0)
        return rc;
    perror("connection_floor_bench");
    exit(1);
}

static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- clients ------------------------------------------------------------------------------------------------------------------------ */
static void say(int fd, size_t n)
{
    must((int)send(fd, bytes, n, MSG_NOSIGNAL));
}

static void hear(int fd, size_t n)
{
    char room[ROOM];

    while (n != 0)
        n -= (size_t)must((int)recv(fd, room, n, 0));
}

static void *client(void *unused)
{
    int on = 1;

    for (int i = 0; i < EACH; i++) {
        int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

        must(connect(fd, (struct sockaddr *)&at, sizeof at));
        must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
        say(fd, HELLO);
        hear(fd, FLIGHT);
        say(fd, REQUEST);
        hear(fd, ANSWER);
        say(fd, GOODBYE);
        close(fd);
    }
    return unused;
}

/* --- the server ---------------------------------------------------------------------------------------------------------------------- */
static int listen_somewhere(void)
{
    int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), on = 1, defer_s = 5;
    socklen_t n = sizeof at;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    must(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer_s, sizeof defer_s));
    must(bind(fd, (struct sockaddr *)&at, sizeof at));
    must(listen(fd, 4096));
    must(getsockname(fd, (struct sockaddr *)&at, &n));
    return fd;
}

/* True: that was the last of it. */
static bool serve(int fd)
{
    static char room[ROOM];
    size_t before = heard[fd];
    ssize_t n = recv(fd, room, sizeof room, 0);

    if (n <= 0) {
        close(fd);
        return true;
    }
    heard[fd] += (size_t)n;
    if (before < HELLO && heard[fd] >= HELLO)
        say(fd, FLIGHT);
    else if (before < HELLO + REQUEST && heard[fd] >= HELLO + REQUEST)
        say(fd, ANSWER);
    return false;
}

static void take(int loop, int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= FDS)
            exit(1);
        heard[fd] = 0;
        (void)serve(fd); /* the ClientHello is here already */
        must(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &(struct epoll_event){ .events = EPOLLIN, .data.fd = fd }));
    }
}

static void serve_all(int listener)
{
    int loop = must(epoll_create1(EPOLL_CLOEXEC));

    must(epoll_ctl(loop, EPOLL_CTL_ADD, listener, &(struct epoll_event){ .events = EPOLLIN, .data.fd = listener }));
    for (int ended = 0; ended < CONNECTIONS;) {
        struct epoll_event ready[EVENTS];
        int n = must(epoll_wait(loop, ready, EVENTS, -1));

        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd == listener)
                take(loop, listener);
            else
                ended += serve(ready[i].data.fd);
        }
    }
    close(loop);
}

int main(void)
{
    pthread_t threads[CLIENTS];
    int listener = listen_somewhere();
    int64_t from;

    for (int i = 0; i < CLIENTS; i++)
        must(-pthread_create(&threads[i], NULL, client, NULL));
    from = cpu_ns();
    serve_all(listener);
    printf("{\"connection\": %.1f}\n", (double)(cpu_ns() - from) / CONNECTIONS / 1000);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    close(listener);
    return 0;
}
