#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

bool bmd_net_wait(const struct bmd_net *n, short events)
{
    struct pollfd p = { .fd = n->fd, .events = events };

    for (;;) {
        int64_t left = n->deadline_ms - bmd_now_ms();
        int rc = left > 0 ? poll(&p, 1, left > 60000 ? 60000 : (int)left) : 0;

        if (rc > 0)
            return true;
        if (left <= 0 || (rc < 0 && errno != EINTR)) {
            errno = left <= 0 ? ETIMEDOUT : errno;
            return false;
        }
    }
}

static bool connected(const struct bmd_net *n, const struct addrinfo *a)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (connect(n->fd, a->ai_addr, a->ai_addrlen) == 0)
        return true;
    if (errno != EINPROGRESS || !bmd_net_wait(n, POLLOUT) || getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        return false;
    errno = error;
    return error == 0;
}

static bool dial(struct bmd_net *n, const struct addrinfo *a)
{
    const int on = 1;

    for (; a != NULL; a = a->ai_next) {
        n->fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
        if (n->fd < 0)
            continue;
        (void)setsockopt(n->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connected(n, a))
            return true;
        close(n->fd);
        n->fd = -1;
    }
    return false;
}

enum bmd_rc bmd_net_open(struct bmd_net *n, const char *host, const char *port, unsigned timeout_ms, char *why)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *all = NULL;
    int rc = getaddrinfo(host, port, &hints, &all);
    bool ok;

    n->fd = -1;
    n->deadline_ms = bmd_now_ms() + timeout_ms;
    if (rc != 0) {
        snprintf(why, 128, "cannot find '%.60s': %s", host, gai_strerror(rc));
        return BMD_COMM;
    }
    ok = dial(n, all);
    if (!ok)
        snprintf(why, 128, "cannot connect to '%.60s' port %.6s: %s", host, port, strerror(errno));
    freeaddrinfo(all);
    return ok ? BMD_OK : BMD_COMM;
}

void bmd_net_close(struct bmd_net *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}
