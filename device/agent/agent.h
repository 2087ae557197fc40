/* birthmark-agent: gives a Linux device its certificates and keeps them fresh.
 *
 *   state directory (0700)   the root key and operational keys (PSA storage), lock
 *   output directory         current -> .set-N, swapped in one step; in it, for each service a directory with cert.pem, chain.pem,
 *                            endpoints.json and key.json (or key.pem with key-file), and anchors.pem and enrolment for all
 */
#ifndef BMD_AGENT_H
#define BMD_AGENT_H

#include "ports/posix/posix.h"
#include "rot/soft_psa.h"

#include <limits.h>

/* --- config.c ---------------------------------------------------------------------------------------------------------------------- */

struct agent_config {
    char server[512]; /* as given */
    char host[BMD_HTTP_HOST_MAX + 1], port[8], authority[BMD_HTTP_HOST_MAX + 16];
    char state[PATH_MAX], out[PATH_MAX], anchors[PATH_MAX], hook[PATH_MAX];
    char services[BMD_SERVICES_MAX][BMD_NAME_MAX + 1];
    size_t n_services; /* at least 1; "" is the product's first */
    char batch[BMD_NAME_MAX + 1];
    uint8_t pin[32];
    bool has_pin, est, no_client_cert, key_file;
    enum bmd_alg alg;
};
void agent_config_defaults(struct agent_config *c);
/* One setting, as `key = value` in the file or --key value. 0, or -1 after saying why. */
int agent_config_set(struct agent_config *c, const char *key, const char *value);
int agent_config_read(struct agent_config *c, const char *path, bool must_exist);
/* Checks the whole, makes paths absolute. */
int agent_config_finish(struct agent_config *c, bool needs_server);

/* --- root.c ------------------------------------------------------------------------------------------------------------------------ */

struct agent {
    struct agent_config cfg;
    struct bmd_rot rot;
    uint64_t rot_ctx[8];
    struct bmd_signer root;
    uint8_t udid[BMD_UDID_LEN];
    uint8_t cert[BMD_IDEVID_MAX]; /* self-signed over the root key */
    struct bmd_rd cert_der;
    int lock_fd;
};
/* Enters the state directory (made when missing), opens the root key or makes it. writes: takes the directory's lock, as making a key
 * does anyway. */
int agent_open(struct agent *a, bool writes);
void agent_close(struct agent *a);
/* A line for a manifest: {"udid","key","rot"}. */
int agent_identity_print(const struct agent *a, FILE *f);

/* --- set.c: what was received, on disk --------------------------------------------------------------------------------------------- */

struct agent_service {
    char name[BMD_NAME_MAX + 1];
    uint32_t slot; /* of its key */
    int64_t not_after, renew_after;
};
/* The file `enrolment` of the current set. */
struct agent_enrolment {
    char udid[2 * BMD_UDID_LEN + 1];
    char correlation[BMD_HTTP_CORRELATION_LEN];
    int64_t at;
    struct agent_service services[BMD_SERVICES_MAX];
    size_t n_services;
    bool hooked;
};
/* 0, or -1 when there is none (or none that can be read). */
int agent_enrolment_read(const struct agent_config *c, struct agent_enrolment *ret);

/* What goes into a new set. */
struct agent_credential {
    struct agent_service service;
    struct bmd_signer key;
    struct bmd_rd cert, chain[BMD_CHAIN_MAX], endpoints[BMD_ENDPOINTS_MAX];
    size_t n_chain, n_endpoints;
};
struct agent_set {
    struct agent_credential credentials[BMD_SERVICES_MAX];
    size_t n;
    struct bmd_rd anchors[BMD_ANCHORS_MAX];
    size_t n_anchors;
    const char *correlation;
};
/* Writes the set beside the current one and swaps. Killed at any moment, the old set is whole. */
int agent_set_write(struct agent *a, const struct agent_set *s);
/* Runs the hook for the current set, once. */
void agent_hook(const struct agent_config *c);

/* --- enrol.c ----------------------------------------------------------------------------------------------------------------------- */

enum agent_outcome { AGENT_OK, AGENT_LATER, AGENT_REFUSED };
/* One enrolment for all services. ret_retry_s: what the server asked for, 0 for nothing. */
enum agent_outcome agent_enrol(struct agent *a, uint32_t *ret_retry_s);
/* What the server says about us (Onboard), printed. */
int agent_status_ask(struct agent *a);

/* --- loop.c ------------------------------------------------------------------------------------------------------------------------ */

int agent_loop(struct agent *a); /* until SIGTERM or SIGINT; SIGHUP renews at once */

/* One line to standard error. */
__attribute__((format(printf, 1, 2))) void agent_say(const char *fmt, ...);

#endif
