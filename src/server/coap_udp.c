#include "server/coap_impl.h"

#include <errno.h>

union ancillary {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
};

static void take_own(struct msghdr *m, struct bm_coap_ends *ret)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h != NULL; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo i;

            memcpy(&i, CMSG_DATA(h), sizeof i);
            ret->family = AF_INET;
            ret->own.four = i.ipi_addr;
        } else if (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo i;

            memcpy(&i, CMSG_DATA(h), sizeof i);
            ret->family = AF_INET6;
            ret->own.six = i.ipi6_addr;
        }
    }
}

bool bm_coap_receive(struct coap *c, size_t listener, struct bm_coap_ends *ret_ends, struct bm_rd *ret)
{
    union ancillary control;
    struct iovec into = { c->room, sizeof c->room };
    struct msghdr m = { .msg_name = &ret_ends->peer,
                        .msg_namelen = sizeof ret_ends->peer,
                        .msg_iov = &into,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof control };
    ssize_t n;

    memset(ret_ends, 0, sizeof *ret_ends);
    do
        n = recvmsg(c->setup->listeners->at[listener].fd, &m, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno != EAGAIN && errno != EWOULDBLOCK ? (*ret = bm_rd_of(NULL, 0), true) : false; /* an ICMP error: none of ours */
    ret_ends->listener = listener;
    ret_ends->peer_len = m.msg_namelen;
    take_own(&m, ret_ends);
    *ret = bm_rd_of(c->room, (m.msg_flags & MSG_TRUNC) == 0 ? (size_t)n : 0);
    return true;
}

/* From the address that the client knows; which interface it goes out of, the routes say. */
static void put_own(struct msghdr *m, const struct bm_coap_ends *ends)
{
    struct cmsghdr *h = m->msg_control;

    if (ends->family == AF_INET) {
        struct in_pktinfo i = { .ipi_spec_dst = ends->own.four };

        h->cmsg_level = IPPROTO_IP;
        h->cmsg_type = IP_PKTINFO;
        h->cmsg_len = CMSG_LEN(sizeof i);
        memcpy(CMSG_DATA(h), &i, sizeof i);
        m->msg_controllen = CMSG_SPACE(sizeof i);
    } else {
        struct in6_pktinfo i = { .ipi6_addr = ends->own.six };

        h->cmsg_level = IPPROTO_IPV6;
        h->cmsg_type = IPV6_PKTINFO;
        h->cmsg_len = CMSG_LEN(sizeof i);
        memcpy(CMSG_DATA(h), &i, sizeof i);
        m->msg_controllen = CMSG_SPACE(sizeof i);
    }
}

/* What the socket does not take is lost, as on any line; who waits for it asks again. */
void bm_coap_send(const struct coap *c, const struct bm_coap_ends *ends, struct bm_rd datagram)
{
    union ancillary control = { 0 };
    struct iovec from = { (void *)(uintptr_t)datagram.p, datagram.n };
    struct msghdr m = { .msg_name = (void *)(uintptr_t)&ends->peer,
                        .msg_namelen = ends->peer_len,
                        .msg_iov = &from,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof control };

    if (ends->listener >= c->setup->listeners->n) /* closed already */
        return;
    if (ends->family != AF_UNSPEC)
        put_own(&m, ends);
    else
        m.msg_control = NULL, m.msg_controllen = 0;
    (void)sendmsg(c->setup->listeners->at[ends->listener].fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

struct bm_coap_key bm_coap_key_of(const struct bm_coap_ends *ends)
{
    struct bm_coap_key key = { 0 };
    struct bm_wr w = bm_wr_of(key.bytes, sizeof key.bytes);
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)&ends->peer;
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)&ends->peer;

    bm_wr_uint(&w, 1, ends->listener);
    if (ends->peer.ss_family == AF_INET6) {
        bm_wr_put(&w, &six->sin6_addr, sizeof six->sin6_addr);
        bm_wr_uint(&w, 4, six->sin6_scope_id);
        bm_wr_uint(&w, 2, six->sin6_port);
    } else {
        bm_wr_put(&w, &four->sin_addr, sizeof four->sin_addr);
        bm_wr_uint(&w, 2, four->sin_port);
    }
    bm_wr_uint(&w, 1, (uint64_t)ends->family);
    bm_wr_put(&w, &ends->own, sizeof ends->own);
    key.n = w.n;
    return key;
}
