#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOT_SLOT = 0 };

void agent_say(const char *fmt, ...)
{
    va_list ap;

    fputs("birthmark-agent: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* Keys lie here as files of PSA's storage: nobody else may even look. */
static int enter_state(const struct agent *a)
{
    if (bmd_dir_make(a->cfg.state, 0700) != BMD_OK || chdir(a->cfg.state) != 0 || chmod(".", 0700) != 0) {
        agent_say("cannot use the state directory '%s': %s", a->cfg.state, strerror(errno));
        return -1;
    }
    return 0;
}

/* Only one at a time may write. */
static int take_lock(struct agent *a)
{
    if (a->lock_fd >= 0)
        return 0;
    a->lock_fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (a->lock_fd < 0 || flock(a->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        agent_say("another birthmark-agent works in '%s'", a->cfg.state);
        return -1;
    }
    return 0;
}

/* The key must outlive a power cut right after its public half was registered. */
static void settle(void)
{
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)syncfs(fd);
    close(fd);
}

static enum bmd_rc root_key(struct agent *a)
{
    struct bmd_selector sel = bmd_selector_slot(ROOT_SLOT);
    struct bmd_key_attributes attr;
    bmd_key k;
    enum bmd_rc rc = bmd_rot_key_open(&a->rot, &sel, &k, &attr);

    if (rc == BMD_OK)
        return bmd_signer_init(&a->root, &a->rot, &bmd_crypto_psa, k, attr.alg);
    if (rc != BMD_NOT_FOUND) /* damaged: a new key would be another device */
        return rc;
    if (take_lock(a) != 0)
        return BMD_BUSY;
    rc = bmd_rot_key_generate(&a->rot, &sel, a->cfg.alg, BMD_USE_SIGN, 0, &k);
    if (rc != BMD_OK)
        return rc;
    settle();
    return bmd_signer_init(&a->root, &a->rot, &bmd_crypto_psa, k, a->cfg.alg);
}

int agent_open(struct agent *a, bool writes)
{
    char cn[2 * BMD_UDID_LEN + 1];
    enum bmd_rc rc;

    a->lock_fd = -1;
    if (enter_state(a) != 0 || (writes && take_lock(a) != 0))
        return -1;
    umask(077); /* PSA storage knows no modes */
    rc = bmd_rot_open(&a->rot, &bmd_soft_psa, a->rot_ctx, sizeof a->rot_ctx, "");
    if (rc == BMD_OK)
        rc = root_key(a);
    if (rc == BMD_OK)
        rc = bmd_udid(&a->root, a->udid);
    bmd_hex(a->udid, BMD_UDID_LEN, cn);
    if (rc == BMD_OK)
        rc = bmd_idevid_cert(&a->root, cn, a->cert, sizeof a->cert, &a->cert_der);
    if (rc != BMD_OK)
        agent_say("the root key in '%s' cannot be used: %s (%d)", a->cfg.state, bmd_rc_name(rc), (int)bmd_rot_last_detail(&a->rot));
    return rc == BMD_OK ? 0 : -1;
}

void agent_close(struct agent *a)
{
    bmd_rot_close(&a->rot);
    if (a->lock_fd >= 0)
        close(a->lock_fd);
}

int agent_identity_print(const struct agent *a, FILE *f)
{
    uint8_t spki[BMD_SPKI_MAX], text[2 * BMD_SPKI_MAX];
    struct bmd_wr w = bmd_wr_of(text, sizeof text);
    char udid[2 * BMD_UDID_LEN + 1];
    size_t n = 0;

    if (bmd_spki(a->root.alg, bmd_rd_of(a->root.point, a->root.point_len), spki, sizeof spki, &n) != BMD_OK)
        return -1;
    bmd_base64url(&w, bmd_rd_of(spki, n));
    bmd_hex(a->udid, BMD_UDID_LEN, udid);
    fprintf(f, "{\"udid\":\"%s\",\"key\":\"%.*s\",\"rot\":\"%s\"}\n", udid, (int)w.n, (const char *)text, a->rot.info.kind);
    return fflush(f) == 0 ? 0 : -1;
}
