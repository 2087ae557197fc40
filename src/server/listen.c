#include "server/listen.h"

#include "base/limits.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define COAPS_PORT "5684"

static enum bm_rc bad_address(const char *word, struct bm_error *e)
{
    return bm_fail(e, BM_USAGE, "listen: '%.64s' is no address; write host:port, for example 127.0.0.1:8443 or [::]:8443", word);
}

enum bm_rc bm_listen_parse(const char *word, char ret_host[BM_LISTEN_TEXT], char ret_port[8], struct bm_error *e)
{
    const char *colon = strrchr(word, ':');
    size_t host_n = colon != NULL ? (size_t)(colon - word) : 0, port_n = colon != NULL ? strlen(colon + 1) : 0;
    bool bracket = word[0] == '[';
    unsigned long port = 0;

    if (host_n == 0 || port_n == 0 || port_n > 5 || strspn(colon + 1, "0123456789") != port_n ||
        (port = strtoul(colon + 1, NULL, 10)) > 65535)
        return bad_address(word, e);
    if (bracket && (host_n < 3 || word[host_n - 1] != ']'))
        return bad_address(word, e);
    if (!bracket && memchr(word, ':', host_n) != NULL) /* an IPv6 address without its brackets */
        return bad_address(word, e);
    if (host_n >= BM_LISTEN_TEXT)
        return bad_address(word, e);
    snprintf(ret_host, BM_LISTEN_TEXT, "%.*s", (int)(bracket ? host_n - 2 : host_n), bracket ? word + 1 : word);
    snprintf(ret_port, 8, "%lu", port);
    return BM_OK;
}

/* "host:port" of what the socket is bound to now: port 0 has become a real one. */
static enum bm_rc name_of(int fd, char ret[BM_LISTEN_TEXT])
{
    struct sockaddr_storage at = { 0 };
    socklen_t n = sizeof at;
    char host[64], port[8];

    if (getsockname(fd, (struct sockaddr *)&at, &n) != 0 ||
        getnameinfo((struct sockaddr *)&at, n, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return BM_IO;
    snprintf(ret, BM_LISTEN_TEXT, at.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    return BM_OK;
}

/* Which of our addresses a datagram was sent to, the socket has to tell (server/coap_udp.c). */
static void set_datagrams(int fd, int family)
{
    int on = 1;

    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    else
        (void)setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
}

static void set_stream(int fd)
{
    int on = 1, defer_s = BM_HANDSHAKE_DEADLINE_MS / 1000;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    /* A connection reaches us with its ClientHello, so that the first step of the handshake needs no wait; one that never speaks costs no
     * descriptor. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer_s, sizeof defer_s);
}

static enum bm_rc bind_one(const struct addrinfo *a, struct bm_listener *ret)
{
    bool stream = a->ai_socktype == SOCK_STREAM;
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), off = 0;

    if (fd < 0)
        return BM_IO;
    if (a->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (stream)
        set_stream(fd);
    else
        set_datagrams(fd, a->ai_family);
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || (stream && listen(fd, BACKLOG) != 0) || name_of(fd, ret->text) != BM_OK) {
        int why = errno;

        close(fd);
        errno = why;
        return BM_IO;
    }
    ret->fd = fd;
    return BM_OK;
}

/* "::1" is no host and port, and neither is "[::1]". */
static bool has_port(const char *word)
{
    return word[0] == '[' ? word[strlen(word) - 1] != ']' : strchr(word, ':') != NULL;
}

static enum bm_rc listen_on(const char *word, enum bm_door door, struct bm_listener *ret, struct bm_error *e)
{
    const struct addrinfo how = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                  .ai_socktype = door == BM_DOOR_COAP ? SOCK_DGRAM : SOCK_STREAM };
    struct addrinfo *found = NULL;
    char host[BM_LISTEN_TEXT], port[8], with_port[2 * BM_LISTEN_TEXT];
    enum bm_rc rc;
    int gai;

    if (door == BM_DOOR_COAP && word[0] != '\0' && !has_port(word)) {
        (void)snprintf(with_port, sizeof with_port, "%.*s:" COAPS_PORT, BM_LISTEN_TEXT, word);
        word = with_port;
    }
    rc = bm_listen_parse(word, host, port, e);
    if (rc != BM_OK)
        return rc;
    gai = getaddrinfo(host, port, &how, &found);
    if (gai != 0)
        return bm_fail(e, BM_USAGE, "listen: %s: %s", word, gai_strerror(gai));
    rc = bind_one(found, ret); /* a name that stands for several addresses: its first */
    freeaddrinfo(found);
    if (rc == BM_OK)
        return BM_OK;
    if (errno == EADDRINUSE)
        return bm_refuse(e, BM_CONFLICT, "in-use", "listen: %s is taken by another program; stop that or choose another port",
                         word);
    return bm_fail(e, BM_IO, "listen: %s: %s", word, strerror(errno));
}

enum bm_rc bm_listen(const char *list, enum bm_door door, struct bm_listeners *ret, struct bm_error *e)
{
    char words[1024], *rest = words, *word;
    enum bm_rc rc = BM_OK;

    if (list[0] == '\0')
        return BM_OK;
    if ((size_t)snprintf(words, sizeof words, "%s", list) >= sizeof words)
        return bm_fail(e, BM_USAGE, "listen: the list is too long");
    while (rc == BM_OK && (word = strsep(&rest, ",")) != NULL) {
        word += strspn(word, " \t");
        word[strcspn(word, " \t")] = '\0';
        if (ret->n == BM_LISTEN_MAX)
            rc = bm_fail(e, BM_USAGE, "listen: more than %d addresses", BM_LISTEN_MAX);
        else
            rc = listen_on(word, door, &ret->at[ret->n], e);
        if (rc == BM_OK)
            ret->at[ret->n].door = door;
        ret->n += rc == BM_OK;
    }
    if (rc != BM_OK)
        bm_listeners_close(ret);
    return rc;
}

void bm_listeners_close(struct bm_listeners *l)
{
    for (size_t i = 0; i < l->n; i++)
        close(l->at[i].fd);
    l->n = 0;
}
