#include "server/conn_impl.h"

#include <errno.h>
#include <sys/socket.h>

#define LINGER_BYTES_MAX (256 * 1024)

/* close() with bytes unread makes the kernel send a reset, which can overtake the answer we just sent. */
static enum next linger(struct conn *c)
{
    shutdown(c->io.fd, SHUT_WR);
    c->state = LINGER;
    bm_conn_wait(c, WAIT_LINGER);
    return GO;
}

enum next bm_conn_step_linger(struct conn *c)
{
    ssize_t n = recv(c->io.fd, c->all->room, sizeof c->all->room, 0);

    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return WAIT;
    c->lingered += n > 0 ? (size_t)n : 0;
    return n <= 0 || c->lingered > LINGER_BYTES_MAX ? CLOSE : GO;
}

/* The last answer has left. */
enum next bm_conn_finish(struct conn *c)
{
    if (c->lingers || recv(c->io.fd, c->all->room, sizeof c->all->room, 0) > 0)
        return linger(c);
    return CLOSE;
}

/* What was sent after an answered request is no request: nobody waits for an answer to it. */
enum next bm_conn_leave(struct conn *c)
{
    bm_conn_say_goodbye(c);
    (void)bm_conn_send(c);
    return linger(c);
}
