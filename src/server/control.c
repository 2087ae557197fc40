/* The supervisor's orders to its processes, and what they tell it. */
#include "server/worker.h"

#include "base/error.h"

#include <errno.h>
#include <sys/socket.h>

enum bm_rc bm_control_ready(int fd, struct bm_error *e)
{
    static const char ready = BM_WORKER_READY;

    return send(fd, &ready, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 ? BM_OK : bm_fail(e, BM_IO, "the supervisor does not listen");
}

bool bm_control_ended(int fd, const char *name, int *ret_status)
{
    struct bm_worker_order order;
    ssize_t n = recv(fd, &order, sizeof order, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n == (ssize_t)sizeof order && order.act == BM_WORKER_SETTINGS) {
        bm_log_init(name, order.settings.log_level);
        return false;
    }
    *ret_status = n == (ssize_t)sizeof order ? 0 : 1;
    return true;
}
