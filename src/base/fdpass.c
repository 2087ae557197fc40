#include "base/fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS_MAX 4 /* room for more than the one we expect, so that surplus ones reach us and can be closed */

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

static enum bm_rc io_outcome(struct bm_error *e, const char *what)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return bm_fail(e, BM_AGAIN, "%s: would block", what);
    return bm_fail(e, BM_IO, "%s: %s", what, strerror(errno));
}

enum bm_rc bm_fd_send(int sock, int fd, char whose, struct bm_error *e)
{
    struct iovec iov = { &whose, 1 };
    union control control = { 0 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = CMSG_SPACE(sizeof fd) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    ssize_t n;

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    do
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == 1 ? BM_OK : io_outcome(e, "passing a descriptor on");
}

/* The descriptors of one message, at most FDS_MAX. */
static size_t descriptors(struct msghdr *msg, int ret_fds[FDS_MAX])
{
    size_t n_fds = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n && n_fds < FDS_MAX; i++)
            memcpy(&ret_fds[n_fds++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    return n_fds;
}

enum bm_rc bm_fd_recv(int sock, int *ret_fd, char *ret_whose, struct bm_error *e)
{
    char byte = 0;
    struct iovec iov = { &byte, 1 };
    union control control = { 0 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
    int fds[FDS_MAX];
    ssize_t n;

    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return io_outcome(e, "receiving a descriptor");
    size_t n_fds = descriptors(&msg, fds);
    if (n == 0 && n_fds == 0) {
        *ret_fd = -1;
        return BM_OK;
    }
    if (n_fds == 1 && (byte == BM_FD_WORKER || byte == BM_FD_COURIER) && (msg.msg_flags & MSG_CTRUNC) == 0) {
        *ret_fd = fds[0];
        *ret_whose = byte;
        return BM_OK;
    }
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return bm_fail(e, BM_MALFORMED, "receiving a descriptor: %zu came with a message, not one", n_fds);
}
