#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PEM_MAX = 32 * 1024, HOOK_SECONDS = 60 };

/* --- the file `enrolment`: lines of words ------------------------------------------------------------------------------------------ */

static void enrolment_text(const struct agent *a, const struct agent_set *s, struct bmd_wr *w)
{
    char udid[2 * BMD_UDID_LEN + 1], line[256];

    bmd_hex(a->udid, BMD_UDID_LEN, udid);
    snprintf(line, sizeof line, "udid %s\nat %" PRId64 "\n", udid, bmd_now());
    bmd_wr_str(w, line);
    if (s->correlation[0] != '\0') {
        snprintf(line, sizeof line, "correlation %s\n", s->correlation);
        bmd_wr_str(w, line);
    }
    for (size_t i = 0; i < s->n; i++) {
        const struct agent_service *v = &s->credentials[i].service;

        snprintf(line, sizeof line, "service %s slot %" PRIu32 " not_after %" PRId64 " renew_after %" PRId64 "\n", v->name, v->slot,
                 v->not_after, v->renew_after);
        bmd_wr_str(w, line);
    }
}

/* The word after `key` at the start of a line. */
static bool word_after(const char *line, const char *key, char *ret, size_t room)
{
    size_t skip = strlen(key), n;

    if (strncmp(line, key, skip) != 0 || line[skip] != ' ')
        return false;
    n = strcspn(line + skip + 1, " \n");
    if (n == 0 || n >= room)
        return false;
    memcpy(ret, line + skip + 1, n);
    ret[n] = '\0';
    return true;
}

/* The number after " key " anywhere in a line. */
static bool number_after(const char *line, const char *key, int64_t *ret)
{
    const char *at = strstr(line, key);
    char *end;
    long long v;

    if (at == NULL)
        return false;
    errno = 0;
    v = strtoll(at + strlen(key), &end, 10);
    if (errno != 0 || end == at + strlen(key))
        return false;
    *ret = v;
    return true;
}

static bool read_service(const char *line, struct agent_service *ret)
{
    struct agent_service v = { 0 };
    int64_t slot;

    if (!word_after(line, "service", v.name, sizeof v.name) || !number_after(line, " slot ", &slot) || slot < 0 ||
        slot >= BMD_SOFT_PSA_SLOTS || !number_after(line, " not_after ", &v.not_after) ||
        !number_after(line, " renew_after ", &v.renew_after))
        return false;
    v.slot = (uint32_t)slot;
    *ret = v;
    return true;
}

static void read_line(struct agent_enrolment *e, const char *line)
{
    if (word_after(line, "udid", e->udid, sizeof e->udid) || word_after(line, "correlation", e->correlation, sizeof e->correlation))
        return;
    if (strncmp(line, "at ", 3) == 0)
        (void)number_after(line, "at ", &e->at);
    else if (e->n_services < BMD_SERVICES_MAX && read_service(line, &e->services[e->n_services]))
        e->n_services++;
}

int agent_enrolment_read(const struct agent_config *c, struct agent_enrolment *ret)
{
    char path[PATH_MAX + 32], line[256];
    FILE *f;

    *ret = (struct agent_enrolment){ 0 };
    snprintf(path, sizeof path, "%s/current/enrolment", c->out);
    f = fopen(path, "re");
    if (f == NULL)
        return -1;
    while (fgets(line, sizeof line, f) != NULL)
        read_line(ret, line);
    fclose(f);
    snprintf(path, sizeof path, "%s/current/.hooked", c->out);
    ret->hooked = access(path, F_OK) == 0;
    return ret->n_services != 0 ? 0 : -1;
}

/* --- files of one service ------------------------------------------------------------------------------------------------------------ */

static enum bmd_rc write_pem(int dir, const char *name, const struct bmd_rd *certs, size_t n)
{
    static uint8_t room[BMD_ANCHORS_MAX * PEM_MAX];
    struct bmd_wr w = bmd_wr_of(room, sizeof room);

    for (size_t i = 0; i < n; i++)
        bmd_pem(&w, "CERTIFICATE", certs[i]);
    return w.bad ? BMD_NO_SPACE : bmd_file_write(dir, name, 0644, bmd_wr_rd(&w));
}

/* URIs are visible ASCII without quotes and backslashes (RFC 3986 2); what is not one is left out. */
static bool uri_ok(struct bmd_rd u)
{
    for (size_t i = 0; i < u.n; i++)
        if (u.p[i] <= ' ' || u.p[i] >= 0x7f || u.p[i] == '"' || u.p[i] == '\\')
            return false;
    return u.n != 0;
}

static enum bmd_rc write_endpoints(int dir, const struct agent_credential *c)
{
    uint8_t room[BMD_ENDPOINTS_MAX * 1024];
    struct bmd_wr w = bmd_wr_of(room, sizeof room);
    const char *comma = "";

    bmd_wr_str(&w, "[");
    for (size_t i = 0; i < c->n_endpoints; i++) {
        if (!uri_ok(c->endpoints[i]))
            continue;
        bmd_wr_str(&w, comma);
        bmd_wr_str(&w, "\"");
        bmd_wr_put(&w, c->endpoints[i].p, c->endpoints[i].n);
        bmd_wr_str(&w, "\"");
        comma = ",";
    }
    bmd_wr_str(&w, "]\n");
    return w.bad ? BMD_NO_SPACE : bmd_file_write(dir, "endpoints.json", 0644, bmd_wr_rd(&w));
}

/* For programs that speak PSA: where the key is. */
static enum bmd_rc write_key_reference(int dir, const struct agent *a, const struct agent_credential *c)
{
    char text[PATH_MAX + 128];
    bool quotable = strpbrk(a->cfg.state, "\"\\") == NULL;
    int n = snprintf(text, sizeof text, "{\"store\":\"psa\",\"id\":%" PRIu32 ",\"directory\":\"%s\"}\n", c->key.key,
                     quotable ? a->cfg.state : "");

    return bmd_file_write(dir, "key.json", 0644, bmd_rd_of(text, (size_t)n));
}

static enum bmd_rc write_key_file(struct agent *a, int dir, const struct agent_credential *c)
{
    uint8_t scalar[48], text[1024];
    struct bmd_wr w = bmd_wr_of(text, sizeof text);
    size_t n = sizeof scalar;
    enum bmd_rc rc = bmd_soft_psa_export(&a->rot, c->key.key, scalar, &n);

    if (rc == BMD_OK) {
        bmd_pem_ec_key(&w, c->key.alg, bmd_rd_of(scalar, n), bmd_rd_of(c->key.point, c->key.point_len));
        rc = w.bad ? BMD_INTERNAL : bmd_file_write(dir, "key.pem", 0600, bmd_wr_rd(&w));
    }
    bmd_wipe(scalar, sizeof scalar);
    bmd_wipe(text, sizeof text);
    return rc;
}

static enum bmd_rc write_service(struct agent *a, int set, const struct agent_credential *c)
{
    int dir = mkdirat(set, c->service.name, 0755) == 0 ? openat(set, c->service.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    enum bmd_rc rc;

    if (dir < 0)
        return BMD_COMM;
    (void)fchmod(dir, 0755);
    rc = write_pem(dir, "cert.pem", &c->cert, 1);
    if (rc == BMD_OK)
        rc = write_pem(dir, "chain.pem", c->chain, c->n_chain);
    if (rc == BMD_OK)
        rc = write_endpoints(dir, c);
    if (rc == BMD_OK)
        rc = a->cfg.key_file ? write_key_file(a, dir, c) : write_key_reference(dir, a, c);
    if (rc == BMD_OK && fsync(dir) != 0)
        rc = BMD_COMM;
    close(dir);
    return rc;
}

/* --- the whole set ------------------------------------------------------------------------------------------------------------------- */

static enum bmd_rc fill_set(struct agent *a, int set, const struct agent_set *s)
{
    uint8_t room[8 * 1024];
    struct bmd_wr w = bmd_wr_of(room, sizeof room);
    enum bmd_rc rc = write_pem(set, "anchors.pem", s->anchors, s->n_anchors);

    for (size_t i = 0; rc == BMD_OK && i < s->n; i++)
        rc = write_service(a, set, &s->credentials[i]);
    enrolment_text(a, s, &w);
    if (rc == BMD_OK)
        rc = w.bad ? BMD_NO_SPACE : bmd_file_write(set, "enrolment", 0644, bmd_wr_rd(&w));
    return rc == BMD_OK && fsync(set) != 0 ? BMD_COMM : rc;
}

/* Everything of ours that is not current: left behind by a kill, or replaced just now. */
static void sweep(int out, const char *keep)
{
    int fd = openat(out, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) /* cppcheck-suppress readdirCalled */
        if (strncmp(entry->d_name, ".set-", 5) == 0 && strcmp(entry->d_name, keep) != 0)
            bmd_dir_remove(out, entry->d_name);
    if (d != NULL)
        closedir(d);
}

static void current_name(int out, char *ret, size_t room)
{
    ssize_t n = readlinkat(out, "current", ret, room - 1);

    ret[n > 0 ? n : 0] = '\0';
}

static enum bmd_rc write_and_swap(struct agent *a, int out, const struct agent_set *s)
{
    char old[64], name[64];
    enum bmd_rc rc;
    int set;

    current_name(out, old, sizeof old);
    sweep(out, old);
    snprintf(name, sizeof name, ".set-%" PRId64 "-%ld", bmd_now(), (long)getpid());
    if (strcmp(name, old) == 0) /* twice in one second */
        snprintf(name, sizeof name, ".set-%" PRId64 "-%ld-b", bmd_now(), (long)getpid());
    set = mkdirat(out, name, 0755) == 0 ? openat(out, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (set < 0)
        return BMD_COMM;
    (void)fchmod(set, 0755);
    rc = fill_set(a, set, s);
    close(set);
    if (rc == BMD_OK)
        rc = bmd_link_swap(out, "current", name);
    if (rc == BMD_OK)
        sweep(out, name);
    return rc;
}

int agent_set_write(struct agent *a, const struct agent_set *s)
{
    enum bmd_rc rc = bmd_dir_make(a->cfg.out, 0755);
    int out = rc == BMD_OK ? open(a->cfg.out, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (out >= 0) {
        rc = write_and_swap(a, out, s);
        close(out);
    }
    if (out >= 0 && rc == BMD_OK)
        return 0;
    agent_say("cannot write the new files below '%s': %s (%s)", a->cfg.out, bmd_rc_name(rc), strerror(errno));
    return -1;
}

/* --- hook ---------------------------------------------------------------------------------------------------------------------------- */

static bool wait_for(pid_t pid)
{
    const struct timespec nap = { .tv_nsec = 50000000 };
    int64_t until = bmd_now_ms() + HOOK_SECONDS * 1000;
    int status = -1;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (bmd_now_ms() > until) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            break;
        }
        nanosleep(&nap, NULL);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void note_hooked(const struct agent_config *c)
{
    char path[PATH_MAX + 16];
    int set;

    snprintf(path, sizeof path, "%s/current", c->out);
    set = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (set < 0)
        return;
    if (bmd_file_write(set, ".hooked", 0644, bmd_rd_of(NULL, 0)) != BMD_OK)
        agent_say("cannot note that the hook has run; it will run again");
    close(set);
}

/* A program, not a shell line: its one argument is the directory of the new files. A failed hook runs again at the next start or round. */
void agent_hook(const struct agent_config *c)
{
    char current[PATH_MAX + 16], program[PATH_MAX];
    char *argv[] = { program, current, NULL };
    sigset_t none;
    posix_spawnattr_t attr;
    pid_t pid;
    int rc;

    snprintf(current, sizeof current, "%s/current", c->out);
    snprintf(program, sizeof program, "%s", c->hook);
    if (program[0] != '\0') {
        sigemptyset(&none);
        posix_spawnattr_init(&attr);
        posix_spawnattr_setsigmask(&attr, &none);
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
        rc = posix_spawn(&pid, program, NULL, &attr, argv, environ);
        posix_spawnattr_destroy(&attr);
        if (rc != 0 || !wait_for(pid)) {
            agent_say("the hook '%s' failed%s%s", program, rc != 0 ? ": " : "", rc != 0 ? strerror(rc) : "");
            return;
        }
    }
    note_hooked(c);
}
