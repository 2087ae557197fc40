/* The courier: the one process that makes connections of its own. It asks the keeper for errands (keeper/task.h), carries them out, several at a
 * time, and brings what came of them. It holds no CA key and no database, and reads no file but the system's CA certificates and what name
 * resolution needs. What it says is to the keeper the word of a stranger who may be lying; what it is told to fetch comes from strangers, too. */
#ifndef BM_SERVER_COURIER_H
#define BM_SERVER_COURIER_H

#include "base/confine.h"
#include "base/log.h"

struct bm_courier_setup {
    const char *name;
    int keeper_fd;  /* stream socket */
    int control_fd; /* SOCK_SEQPACKET; the orders are a worker's */
    enum bm_confine_mode confine;
    const char *dns_servers;         /* "": the system's */
    const char *validation_networks; /* base/address.h */
};

/* Runs until it is told to stop, by the same orders as a worker. Returns the exit status. */
int bm_courier_run(const struct bm_courier_setup *setup);

/* What it may read, once it has locked itself in; a supervisor that starts another must keep it, too. NULL ends it. */
extern const char *const bm_courier_files[];

#endif
