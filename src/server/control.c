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

/* The end of the socket is the supervisor's: nobody would ever stop us. */
enum bm_control bm_control_take(int fd, struct bm_worker_settings *ret)
{
    struct bm_worker_order order;
    ssize_t n = recv(fd, &order, sizeof order, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return BM_CONTROL_NONE;
    if (n != (ssize_t)sizeof order)
        return BM_CONTROL_GONE;
    *ret = order.settings;
    return order.act == BM_WORKER_DRAIN ? BM_CONTROL_DRAIN : BM_CONTROL_SETTINGS;
}

bool bm_control_ended(int fd, const char *name, int *ret_status)
{
    struct bm_worker_settings settings;
    enum bm_control what = bm_control_take(fd, &settings);

    if (what == BM_CONTROL_SETTINGS)
        bm_log_init(name, settings.log_level);
    if (what == BM_CONTROL_NONE || what == BM_CONTROL_SETTINGS)
        return false;
    *ret_status = what == BM_CONTROL_DRAIN ? 0 : 1;
    return true;
}
