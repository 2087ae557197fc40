#include "fleet.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static int usage(FILE *f)
{
    fputs(
        "usage:\n"
        "  birthmark-fleet keys N --out FILE [--seed TEXT] [--jobs J]      makes keys of play devices\n"
        "  birthmark-fleet spki --keys FILE [--first I] [--count N]        their public keys, one JSON line each, for a manifest\n"
        "  birthmark-fleet run --server https://HOST:PORT --keys FILE (--anchors PEM | --insecure)\n"
        "      [--first I] [--count N] [--jobs J] [--protocol onboard|est] [--auth tls|challenge]\n"
        "      [--mode new|kept|renew] [--service NAME] [--batch NAME] [--repeat R] [--retries T]\n"
        "      [--attack NAME] [--out FILE [--certs]] [--json] [--quiet]\n"
        "attacks, each to be refused: unknown-key clone wrong-batch replay stolen-cert forged-csr no-service\n"
        "exit status: 0 all went as expected, 1 not all did, 2 wrong use or could not start\n",
        f);
    return f == stdout ? 0 : 2;
}

/* --- options: rows ----------------------------------------------------------------------------------------------------------------- */

struct settings {
    struct fleet_options o;
    const char *seed;
};

static bool set_u64(const char *v, uint64_t max, uint64_t *ret)
{
    char *end;
    unsigned long long n = strtoull(v, &end, 10);

    if (v[0] < '0' || v[0] > '9' || *end != '\0' || n > max)
        return false;
    *ret = n;
    return true;
}

static bool set_word(const char *v, const char *const *words, size_t n, size_t *ret)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(v, words[i]) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static bool set_unsigned(const char *v, uint64_t min, uint64_t max, unsigned *ret)
{
    uint64_t n;

    if (!set_u64(v, max, &n) || n < min)
        return false;
    *ret = (unsigned)n;
    return true;
}

static bool set_keys(struct settings *s, const char *v)
{
    return (s->o.keys = v)[0] != '\0';
}
static bool set_out(struct settings *s, const char *v)
{
    return (s->o.out = v)[0] != '\0';
}
static bool set_seed(struct settings *s, const char *v)
{
    return (s->seed = v)[0] != '\0';
}
static bool set_server(struct settings *s, const char *v)
{
    return (s->o.server_url = v)[0] != '\0';
}
static bool set_anchors(struct settings *s, const char *v)
{
    return (s->o.anchors = v)[0] != '\0';
}
static bool set_service(struct settings *s, const char *v)
{
    return strlen(s->o.service = v) <= BMD_NAME_MAX;
}
static bool set_batch(struct settings *s, const char *v)
{
    return strlen(s->o.batch = v) <= BMD_NAME_MAX;
}
static bool set_first(struct settings *s, const char *v)
{
    return set_u64(v, UINT32_MAX, &s->o.first);
}
static bool set_count(struct settings *s, const char *v)
{
    return set_u64(v, UINT32_MAX, &s->o.count);
}
static bool set_jobs(struct settings *s, const char *v)
{
    return set_unsigned(v, 1, FLEET_JOBS_MAX, &s->o.jobs);
}
static bool set_repeat(struct settings *s, const char *v)
{
    return set_unsigned(v, 1, 1000000, &s->o.repeat);
}
static bool set_retries(struct settings *s, const char *v)
{
    return set_unsigned(v, 0, 100000, &s->o.retries);
}
static bool set_insecure(struct settings *s, const char *v)
{
    (void)v;
    return s->o.insecure = true;
}
static bool set_certs(struct settings *s, const char *v)
{
    (void)v;
    return s->o.certs = true;
}
static bool set_json(struct settings *s, const char *v)
{
    (void)v;
    return s->o.json = true;
}
static bool set_quiet(struct settings *s, const char *v)
{
    (void)v;
    return s->o.quiet = true;
}

static bool set_protocol(struct settings *s, const char *v)
{
    static const char *const words[] = { "onboard", "est" };
    size_t i = 0;
    bool ok = set_word(v, words, 2, &i);

    s->o.est = i == 1;
    return ok;
}

static bool set_auth(struct settings *s, const char *v)
{
    static const char *const words[] = { "tls", "challenge" };
    size_t i = 0;
    bool ok = set_word(v, words, 2, &i);

    s->o.challenge = i == 1;
    return ok;
}

static bool set_mode(struct settings *s, const char *v)
{
    static const char *const words[] = { "new", "kept", "renew" };
    size_t i = 0;
    bool ok = set_word(v, words, 3, &i);

    s->o.mode = (enum fleet_mode)i;
    return ok;
}

static bool set_attack(struct settings *s, const char *v)
{
    size_t i = 0;
    bool ok = set_word(v, fleet_attack_names, ATTACKS, &i);

    s->o.attack = (enum fleet_attack)i;
    return ok;
}

static const struct row {
    const char *name;
    bool value;
    bool (*set)(struct settings *s, const char *v);
} rows[] = {
    { "keys", true, set_keys },          { "out", true, set_out },
    { "seed", true, set_seed },          { "server", true, set_server },
    { "anchors", true, set_anchors },    { "service", true, set_service },
    { "batch", true, set_batch },        { "first", true, set_first },
    { "count", true, set_count },        { "jobs", true, set_jobs },
    { "repeat", true, set_repeat },      { "retries", true, set_retries },
    { "protocol", true, set_protocol },  { "auth", true, set_auth },
    { "mode", true, set_mode },          { "attack", true, set_attack },
    { "insecure", false, set_insecure }, { "certs", false, set_certs },
    { "json", false, set_json },         { "quiet", false, set_quiet },
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static bool read_options(int argc, char **argv, struct settings *s)
{
    struct option longs[ROWS + 1] = { 0 };
    int i = 0;

    for (size_t r = 0; r < ROWS; r++)
        longs[r] = (struct option){ rows[r].name, rows[r].value ? required_argument : no_argument, NULL, 0 };
    while (getopt_long(argc, argv, "", longs, &i) == 0) {
        if (rows[i].set(s, optarg))
            continue;
        fprintf(stderr, "birthmark-fleet: --%s cannot be '%s'\n", rows[i].name, optarg);
        return false;
    }
    return optind >= argc || argv[optind - 1] != NULL;
}

/* --- subcommands --------------------------------------------------------------------------------------------------------------------- */

static int do_keys(struct settings *s, int argc, char **argv)
{
    uint64_t n;

    if (argc != 1 || !set_u64(argv[0], UINT32_MAX, &n) || n == 0 || s->o.out == NULL)
        return usage(stderr);
    return fleet_keys_make(s->o.out, n, s->seed, s->o.jobs);
}

static int do_spki(struct settings *s, int argc, char **argv)
{
    struct fleet_keys k;
    int rc = 2;

    (void)argv;
    if (argc != 0 || s->o.keys == NULL)
        return usage(stderr);
    if (fleet_keys_open(s->o.keys, &k) != 0)
        return 2;
    if (s->o.first <= k.n) {
        uint64_t left = k.n - s->o.first;

        rc = fleet_spki_print(&k, s->o.first, s->o.count != 0 && s->o.count < left ? s->o.count : left, stdout);
    }
    fleet_keys_close(&k);
    return rc;
}

static uint64_t all_from(const char *path, uint64_t first)
{
    struct fleet_keys k;
    uint64_t n;

    if (fleet_keys_open(path, &k) != 0)
        return 0;
    n = k.n > first ? k.n - first : 0;
    fleet_keys_close(&k);
    return n;
}

static const char *run_complaint(const struct fleet_options *o)
{
    bool needs_onboard = o->attack == ATTACK_WRONG_BATCH || o->attack == ATTACK_REPLAY;

    if (o->server_url == NULL || o->keys == NULL)
        return "--server and --keys are needed";
    if (o->anchors == NULL && !o->insecure)
        return "--anchors names the roots to trust (--insecure trusts anybody)";
    if (o->est && (o->challenge || needs_onboard))
        return "EST has TLS client authentication only, and no batch";
    if (o->attack == ATTACK_REPLAY && !o->challenge)
        return "--attack replay needs --auth challenge";
    return NULL;
}

static int do_run(struct settings *s, int argc, char **argv)
{
    const char *complaint = run_complaint(&s->o);

    (void)argv;
    if (argc != 0 || complaint != NULL) {
        fprintf(stderr, "birthmark-fleet: %s\n", complaint != NULL ? complaint : "too many words");
        return 2;
    }
    if (s->o.count == 0)
        s->o.count = all_from(s->o.keys, s->o.first);
    signal(SIGPIPE, SIG_IGN);
    return fleet_run(&s->o);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct settings *s, int argc, char **argv);
    } commands[] = { { "keys", do_keys }, { "spki", do_spki }, { "run", do_run } };
    struct settings s = { .o = { .jobs = 2, .repeat = 1, .service = "" } };

    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
        return usage(argc < 2 ? stderr : stdout);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (!read_options(argc - 1, argv + 1, &s))
            return usage(stderr);
        return commands[i].run(&s, argc - 1 - optind, argv + 1 + optind);
    }
    return usage(stderr);
}
