/* Shares the devices out among processes and gathers what they saw. */
#include "fleet.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* In shared memory. */
struct shared {
    atomic_uint_fast64_t next, done, n_us;
    uint64_t us_cap;
    struct fleet_tally tallies[FLEET_JOBS_MAX];
    uint32_t us[];
};

struct job {
    struct shared *shared;
    struct fleet_tally *tally;
    FILE *lines;
};

static void *share(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void timed(void *arg, uint64_t us)
{
    struct job *j = arg;
    uint64_t at = atomic_fetch_add_explicit(&j->shared->n_us, 1, memory_order_relaxed);

    j->tally->operations++;
    if (at < j->shared->us_cap)
        j->shared->us[at] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void add_code(struct fleet_tally *t, const char *code, uint64_t n)
{
    for (size_t i = 0; i < FLEET_CODES_MAX; i++) {
        if (t->codes[i].n == 0)
            snprintf(t->codes[i].code, sizeof t->codes[i].code, "%s", i + 1 < FLEET_CODES_MAX ? code : "others");
        if (strcmp(t->codes[i].code, code) == 0 || i + 1 == FLEET_CODES_MAX) {
            t->codes[i].n += n;
            return;
        }
    }
}

static void write_cert(FILE *f, const struct fleet_result *r)
{
    static const char digits[] = "0123456789abcdef";
    struct bmd_cert cert;

    if (r->cert_len == 0 || bmd_cert_read(bmd_rd_of(r->cert, r->cert_len), &cert) != BMD_OK)
        return;
    fputs(",\"serial\":\"", f);
    for (size_t i = 0; i < cert.serial.n; i++)
        fprintf(f, "%02x", cert.serial.p[i]);
    fputs("\",\"certificate\":\"", f);
    for (size_t i = 0; i < r->cert_len; i++) {
        putc(digits[r->cert[i] >> 4], f);
        putc(digits[r->cert[i] & 15], f);
    }
    putc('"', f);
}

/* Codes are tokens of the server or our own words; quotes and backslashes never get this far, but are dropped all the same. */
static void write_line(FILE *f, const struct fleet_options *o, const struct fleet_result *r)
{
    char udid[2 * BMD_UDID_LEN + 1];

    bmd_hex(r->udid, BMD_UDID_LEN, udid);
    fprintf(f, "{\"udid\":\"%s\",\"outcome\":\"%s\",\"code\":\"", udid, fleet_outcome_names[r->outcome]);
    for (const char *p = r->code; *p != '\0'; p++)
        putc(*p == '"' || *p == '\\' || (unsigned char)*p < ' ' ? '.' : *p, f);
    fprintf(f, "\",\"correlation\":\"%s\",\"ms\":%.3f", r->correlation, (double)r->us / 1000);
    if (o->certs)
        write_cert(f, r);
    fputs("}\n", f);
}

/* A process of its own: takes the next device until none is left. */
static int work(const struct fleet_options *o, const struct fleet_server *server, const struct fleet_keys *keys, struct job *j)
{
    struct fleet_player *p = calloc(1, sizeof *p);
    struct fleet_result *r = calloc(1, sizeof *r);
    uint64_t i;

    if (p == NULL || r == NULL)
        return 2;
    p->options = o;
    p->server = server;
    p->timed = timed;
    p->arg = j;
    if (fleet_player_init(p) != 0)
        return 2;
    while ((i = atomic_fetch_add(&j->shared->next, 1)) < o->count) {
        fleet_play(p, fleet_keys_at(keys, o->first + i), r);
        j->tally->outcomes[r->outcome]++;
        if (r->outcome != FLEET_ONBOARDED)
            add_code(j->tally, r->code, 1);
        if (j->lines != NULL)
            write_line(j->lines, o, r);
        atomic_fetch_add(&j->shared->done, 1);
    }
    fleet_player_done(p);
    free(p);
    free(r);
    return j->lines == NULL || fflush(j->lines) == 0 ? 0 : 2;
}

static void merge(struct fleet_tally *to, const struct fleet_tally *from)
{
    to->operations += from->operations;
    for (size_t i = 0; i < FLEET_OUTCOMES; i++)
        to->outcomes[i] += from->outcomes[i];
    for (size_t i = 0; i < FLEET_CODES_MAX && from->codes[i].n != 0; i++)
        add_code(to, from->codes[i].code, from->codes[i].n);
}

static int append(FILE *to, FILE *from)
{
    char block[64 * 1024];
    size_t n;

    rewind(from);
    while ((n = fread(block, 1, sizeof block, from)) != 0)
        if (fwrite(block, 1, n, to) != n)
            return -1;
    return ferror(from) ? -1 : 0;
}

static int gather_lines(const char *path, FILE **parts, unsigned jobs)
{
    FILE *to = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    int rc = to == NULL ? -1 : 0;

    for (unsigned j = 0; j < jobs && rc == 0; j++)
        rc = append(to, parts[j]);
    if (to != NULL && (to == stdout ? fflush(to) : fclose(to)) != 0)
        rc = -1;
    if (rc != 0)
        fprintf(stderr, "birthmark-fleet: cannot write '%s': %s\n", path, strerror(errno));
    return rc;
}

/* Waits for all processes, showing how far they are. */
static bool await(const struct fleet_options *o, struct shared *s, unsigned jobs, uint64_t began)
{
    unsigned left = jobs;
    bool ok = true;
    int status;

    while (left != 0) {
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid > 0) {
            ok = ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
            left--;
            continue;
        }
        if (!o->quiet)
            fleet_progress(atomic_load(&s->done), o->count, (double)(fleet_now_us() - began) / 1e6, false);
        usleep(20000);
    }
    if (!o->quiet)
        fleet_progress(atomic_load(&s->done), o->count, (double)(fleet_now_us() - began) / 1e6, true);
    return ok;
}

static double children_cpu(void)
{
    struct rusage u;

    if (getrusage(RUSAGE_CHILDREN, &u) != 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static bool spawn(const struct fleet_options *o, const struct fleet_server *server, const struct fleet_keys *keys, struct shared *s,
                  FILE **parts, unsigned jobs)
{
    for (unsigned j = 0; j < jobs; j++) {
        struct job job = { s, &s->tallies[j], NULL };
        pid_t pid;

        if (o->out != NULL && (parts[j] = tmpfile()) == NULL)
            return false;
        job.lines = parts[j];
        pid = fork();
        if (pid == 0)
            _exit(work(o, server, keys, &job));
        if (pid < 0)
            return false;
    }
    return true;
}

/* All as expected: everybody onboarded, or in an attack everybody refused. */
static bool as_expected(const struct fleet_options *o, const struct fleet_tally *t)
{
    return t->outcomes[o->attack == ATTACK_NONE ? FLEET_ONBOARDED : FLEET_REFUSED] == o->count;
}

static int run_with(const struct fleet_options *o, const struct fleet_server *server, const struct fleet_keys *keys)
{
    unsigned jobs = o->count < o->jobs ? (unsigned)o->count : o->jobs;
    uint64_t us_cap = o->count * (o->repeat + 1), began = fleet_now_us();
    struct shared *s = share(sizeof *s + us_cap * sizeof s->us[0]);
    FILE *parts[FLEET_JOBS_MAX] = { NULL };
    struct fleet_summary sum = { 0 };
    bool ok;

    if (s == NULL)
        return 2;
    s->us_cap = us_cap;
    ok = spawn(o, server, keys, s, parts, jobs);
    ok = await(o, s, jobs, began) && ok;
    sum.seconds = (double)(fleet_now_us() - began) / 1e6;
    sum.cpu_seconds = children_cpu();
    sum.us = s->us;
    sum.n_us = s->n_us < us_cap ? s->n_us : us_cap;
    for (unsigned j = 0; j < jobs; j++)
        merge(&sum.tally, &s->tallies[j]);
    if (o->out != NULL)
        ok = gather_lines(o->out, parts, jobs) == 0 && ok;
    fleet_report(o, &sum);
    if (!ok)
        return 2;
    return as_expected(o, &sum.tally) ? 0 : 1;
}

int fleet_run(const struct fleet_options *o)
{
    struct fleet_server server;
    struct fleet_keys keys;
    int rc = 2;

    if (fleet_keys_open(o->keys, &keys) != 0)
        return 2;
    if (o->count == 0 || o->first >= keys.n || o->count > keys.n - o->first)
        fprintf(stderr, "birthmark-fleet: '%s' holds %llu devices\n", o->keys, (unsigned long long)keys.n);
    else if (fleet_server_find(o->server_url, &server) == 0) {
        rc = run_with(o, &server, &keys);
        freeaddrinfo(server.addresses);
    }
    fleet_keys_close(&keys);
    return rc;
}
