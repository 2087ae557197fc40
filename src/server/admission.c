#include "server/admission.h"

#include "base/limits.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

void bm_admission_waiting(struct bm_admission *a, int64_t now_ms)
{
    if (a->since_ms == 0)
        a->since_ms = now_ms;
}

void bm_admission_empty(struct bm_admission *a)
{
    a->since_ms = 0;
}

bool bm_admission_standing(const struct bm_admission *a, int64_t now_ms)
{
    return a->since_ms != 0 && now_ms - a->since_ms >= BM_QUEUE_STANDING_MS;
}

bool bm_admission_lets_in(unsigned waited_ms, unsigned connections_of_address)
{
    return waited_ms <= (connections_of_address < BM_QUEUE_FEW ? BM_QUEUE_WAIT_FEW_MS : BM_QUEUE_WAIT_MS);
}

static struct tcp_info info_of(int fd)
{
    struct tcp_info info = { 0 };
    socklen_t n = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
        info = (struct tcp_info){ 0 };
    return info;
}

unsigned bm_admission_waited(int fd)
{
    return info_of(fd).tcpi_last_data_recv;
}

unsigned bm_admission_queue(int listen_fd)
{
    return info_of(listen_fd).tcpi_unacked; /* the kernel's name for it on a listening socket */
}

void bm_admission_refuse(int fd, bool plain)
{
    static const unsigned char alert[] = { 21, 3, 3, 0, 2, 2, 80 }; /* alert, TLS 1.2 on the wire, fatal, internal_error */
    static const char busy[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n"
                               "Birthmark-Code: busy\r\n\r\n";
    unsigned char room[4096];

    /* With bytes unread, close() makes the kernel send a reset, which can overtake what we say. */
    while (recv(fd, room, sizeof room, MSG_DONTWAIT) == (ssize_t)sizeof room)
        ;
    (void)send(fd, plain ? (const void *)busy : alert, plain ? sizeof busy - 1 : sizeof alert, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    close(fd);
}
