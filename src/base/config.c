#include "base/config.h"

#include "base/address.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum kind { TEXT, NUMBER, LEVEL, CONFINE };

struct row {
    const char *key;
    enum kind kind;
    size_t at, room;   /* of the member in struct bm_config */
    const char *value; /* default */
    unsigned min, max; /* NUMBER; TEXT: 1 in min refuses the empty value */
    const char *doc;
};

#define MEMBER(m) offsetof(struct bm_config, m), sizeof(((struct bm_config *)0)->m)

static const struct row rows[] = {
    { "listen", TEXT, MEMBER(listen), "127.0.0.1:8443", 1, 0,
      "Where to serve, host:port, several with commas. The default is reached from this machine only; [::]:8443 serves every "
      "address, IPv4 too. "
      "Port 0 takes a free one." },
    { "listen_http", TEXT, MEMBER(listen_http), "", 0, 0,
      "Where to serve CRLs and OCSP, and nothing else, without TLS: host:port, several with commas. Empty: nowhere; over TLS both "
      "are "
      "served in any case." },
    { "listen_api", TEXT, MEMBER(listen_api), "", 0, 0,
      "Where to serve the Admin API, and nothing else, over TLS: host:port, several with commas. Empty: at the addresses of "
      "`listen`, as "
      "soon as there is a token." },
    { "listen_metrics", TEXT, MEMBER(listen_metrics), "", 0, 0,
      "Where to tell Prometheus and load balancers how the server is (/metrics, /readyz, /healthz), without TLS: host:port, "
      "several "
      "with commas, for example 127.0.0.1:9477. Empty: nowhere." },
    { "coap_listen", TEXT, MEMBER(coap_listen), "", 0, 0,
      "Where to serve EST over CoAP (DTLS, datagrams): host or host:port, several with commas; the port is 5684 unless given. "
      "Empty: "
      "nowhere. docs/coap.md." },
    { "workers", NUMBER, MEMBER(workers), "0", 0, 1024, "Worker processes; 0 is one per processor." },
    { "log_level", LEVEL, MEMBER(log_level), "info", 0, 0, "error, warn, info or debug. Read again on SIGHUP." },
    { "tls_hosts", TEXT, MEMBER(tls_hosts), "", 0, 0,
      "Names and addresses in the server certificate that Birthmark issues to itself, with commas; empty: those given at "
      "`birthmark init`." },
    { "tls_cert_file", TEXT, MEMBER(tls_cert_file), "", 0, 0,
      "PEM server certificate with its chain, in place of our own. Needs tls_key_file." },
    { "tls_key_file", TEXT, MEMBER(tls_key_file), "", 0, 0, "PEM private key of tls_cert_file." },
    { "store", TEXT, MEMBER(store), "", 0, 0,
      "Where the registry is: sqlite:PATH, or postgres: and what libpq takes (postgres:host=db1 dbname=birthmark passfile=FILE); "
      "empty: "
      "`registry.db` in the data folder. `birthmark init --store` writes it." },
    { "host", TEXT, MEMBER(host), "", 0, 0,
      "Which of the hosts of a registry in PostgreSQL this is; empty: the one that made it. `birthmark join` writes it." },
    { "secret_file", TEXT, MEMBER(secret_file), "", 0, 0,
      "What seals the keys on disk; empty: the file `secret` in the data folder." },
    { "connections", NUMBER, MEMBER(connections), "10240", 1, 1000000,
      "Open connections per worker; more wait half a second for room, and are then sent away. Read again on SIGHUP." },
    { "connections_per_address", NUMBER, MEMBER(connections_per_address), "1024", 1, 1000000,
      "Open connections per worker from one address (IPv6: one /64); more are closed at once. Read again on SIGHUP." },
    { "idle_seconds", NUMBER, MEMBER(idle_seconds), "30", 1, 86400,
      "How long a connection that is kept open may be silent. Read again on SIGHUP." },
    { "drain_seconds", NUMBER, MEMBER(drain_seconds), "20", 0, 3600,
      "At a stop, how long requests under way may take. Read again on SIGHUP." },
    { "confine", CONFINE, MEMBER(confine), bm_confine_default, 0, 0,
      "required, auto or off: whether the processes lock themselves in with seccomp and Landlock. required does not start where "
      "the kernel "
      "cannot do that; auto does with what there is, and a warning." },
    { "journal", TEXT, MEMBER(journal), "", 0, 0,
      "A folder on another disk or mount where every change is written before it is acknowledged, so that a backup and the journal "
      "since then lose nothing (`birthmark restore --journal`). What cannot be written there is refused. Empty: none." },
    { "pkcs11_module", TEXT, MEMBER(pkcs11_module), "", 0, 0,
      "The PKCS#11 module (a shared object, whole path) whose tokens hold keys of CAs; empty: none. docs/hsm.md." },
    { "pkcs11_pin_file", TEXT, MEMBER(pkcs11_pin_file), "", 0, 0,
      "A file with the tokens' user PIN and nothing else; read once, at the start." },
    { "pkcs11_paths", TEXT, MEMBER(pkcs11_paths), "", 0, 0,
      "Files and folders that the module reads and writes while it works, with commas: the keeper may reach these besides the data "
      "folder." },
    { "pkcs11_sockets", NUMBER, MEMBER(pkcs11_sockets), "0", 0, 1,
      "1: the module reaches its token through a socket (pcscd, an HSM in the network), so the keeper may make connections." },
    { "dns_servers", TEXT, MEMBER(dns_servers), "", 0, 0,
      "Which name servers the courier asks, which makes all outgoing connections: address or address:port, several with commas. "
      "Empty: those of the system." },
    { "validation_networks", TEXT, MEMBER(validation_networks), "", 0, 0,
      "Networks beyond the public ones that a stranger's validation may lead to (ACME): 10.0.0.0/8, fd00::/8, several with commas. "
      "Empty: none, so that nobody reaches your inner network through this server." },
    { "acme_http_port", NUMBER, MEMBER(acme_http_port), "80", 1, 65535,
      "Where http-01 of ACME looks for its answer. Another port than 80 is for networks where only you can open ports." },
    { "acme_tls_port", NUMBER, MEMBER(acme_tls_port), "443", 1, 65535, "The same for tls-alpn-01." },
    { "keeper_user", TEXT, MEMBER(keeper_user), "", 0, 0,
      "When started as root, whom the keeper becomes; empty: the owner of the data folder." },
    { "worker_user", TEXT, MEMBER(worker_user), "", 0, 0, "When started as root, whom the workers become; empty: nobody." },
};
_Static_assert(BM_COUNT(rows) <= 32, "struct bm_config has a bit for each row");
_Static_assert(BM_CONNECTIONS_MAX == 10240 && BM_CONNECTIONS_PER_ADDRESS == 1024 && BM_IDLE_DEADLINE_MS == 30000,
               "the defaults above repeat base/limits.h");

static void *member(struct bm_config *c, const struct row *r)
{
    return (uint8_t *)c + r->at;
}

static enum bm_rc set_text(struct bm_config *c, const struct row *r, const char *value, struct bm_error *e)
{
    size_t n = strlen(value);

    if (n < r->min)
        return bm_fail(e, BM_USAGE, "%s: a value is missing", r->key);
    if (n >= r->room)
        return bm_fail(e, BM_USAGE, "%s: longer than %zu characters", r->key, r->room - 1);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)value[i] < 0x20 || (unsigned char)value[i] == 0x7f)
            return bm_fail(e, BM_USAGE, "%s: control character at position %zu", r->key, i + 1);
    }
    memcpy(member(c, r), value, n + 1);
    return BM_OK;
}

static enum bm_rc set_number(struct bm_config *c, const struct row *r, const char *value, struct bm_error *e)
{
    size_t n = strlen(value);
    unsigned long v = 0;
    unsigned *to = member(c, r);

    if (n >= 1 && n <= 9 && strspn(value, "0123456789") == n)
        v = strtoul(value, NULL, 10);
    else
        return bm_fail(e, BM_USAGE, "%s: write a whole number from %u to %u", r->key, r->min, r->max);
    if (v < r->min || v > r->max)
        return bm_fail(e, BM_USAGE, "%s: %lu is outside %u to %u", r->key, v, r->min, r->max);
    *to = (unsigned)v;
    return BM_OK;
}

static enum bm_rc set_level(struct bm_config *c, const struct row *r, const char *value, struct bm_error *e)
{
    if (!bm_log_level_parse(value, member(c, r)))
        return bm_fail(e, BM_USAGE, "%s: write error, warn, info or debug", r->key);
    return BM_OK;
}

static enum bm_rc set_confine(struct bm_config *c, const struct row *r, const char *value, struct bm_error *e)
{
    if (!bm_confine_parse(value, member(c, r)))
        return bm_fail(e, BM_USAGE, "%s: write required, auto or off", r->key);
    return BM_OK;
}

static enum bm_rc set_row(struct bm_config *c, const struct row *r, const char *value, struct bm_error *e)
{
    static enum bm_rc (*const set[])(struct bm_config *, const struct row *, const char *, struct bm_error *) = {
        [TEXT] = set_text, [NUMBER] = set_number, [LEVEL] = set_level, [CONFINE] = set_confine
    };

    return set[r->kind](c, r, value, e);
}

static const struct row *row_of(struct bm_rd key)
{
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        if (bm_rd_eq(key, bm_rd_str(rows[i].key)))
            return &rows[i];
    }
    return NULL;
}

static uint32_t bit_of(const struct row *r)
{
    return UINT32_C(1) << (r - rows);
}

static enum bm_rc unknown(struct bm_rd key, struct bm_error *e)
{
    char shown[48];

    return bm_fail(e, BM_USAGE, "there is no key '%s'; `birthmark config keys` lists them all",
                   bm_text_escape(key, shown, sizeof shown));
}

static enum bm_rc set_defaults(struct bm_config *c, struct bm_error *e)
{
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        if ((c->fixed & bit_of(&rows[i])) != 0)
            continue;
        if (rows[i].value[0] == '\0')
            *(char *)member(c, &rows[i]) = '\0';
        else if (set_row(c, &rows[i], rows[i].value, e) != BM_OK)
            return BM_BUG;
    }
    c->seen = 0;
    return BM_OK;
}

enum bm_rc bm_config_init(struct bm_config *c, const char *data_dir, struct bm_error *e)
{
    memset(c, 0, sizeof *c);
    if ((size_t)snprintf(c->data_dir, sizeof c->data_dir, "%s", data_dir) >= sizeof c->data_dir)
        return bm_fail(e, BM_LIMIT, "%s: path too long", data_dir);
    return set_defaults(c, e);
}

static struct bm_rd trimmed(struct bm_rd t)
{
    while (t.n != 0 && (t.p[0] == ' ' || t.p[0] == '\t'))
        t = bm_rd_of(t.p + 1, t.n - 1);
    while (t.n != 0 && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t' || t.p[t.n - 1] == '\r'))
        t.n--;
    return t;
}

static enum bm_rc parse_pair(struct bm_config *c, struct bm_rd key, struct bm_rd value, struct bm_error *e)
{
    const struct row *r = row_of(key);
    struct bm_config scratch; /* a value that the command line overrules must be right all the same */
    char text[BM_CONFIG_PATH_MAX];

    if (r == NULL)
        return unknown(key, e);
    if ((c->seen & bit_of(r)) != 0)
        return bm_fail(e, BM_USAGE, "%s is set twice; keep one of the two lines", r->key);
    c->seen |= bit_of(r);
    if (value.n >= sizeof text)
        return bm_fail(e, BM_USAGE, "%s: longer than %zu characters", r->key, sizeof text - 1);
    if (value.n != 0 && memchr(value.p, '\0', value.n) != NULL)
        return bm_fail(e, BM_USAGE, "%s: contains a zero byte", r->key);
    if (value.n != 0)
        memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    return set_row((c->fixed & bit_of(r)) != 0 ? &scratch : c, r, text, e);
}

static enum bm_rc parse_line(struct bm_config *c, struct bm_rd line, struct bm_error *e)
{
    struct bm_rd rest = bm_rd_cut(&line, '#'), key;
    size_t whole;

    rest = trimmed(rest);
    if (rest.n == 0)
        return BM_OK;
    whole = rest.n;
    key = bm_rd_cut(&rest, '=');
    if (key.n == whole)
        return bm_fail(e, BM_USAGE, "write key = value");
    return parse_pair(c, trimmed(key), trimmed(rest), e);
}

enum bm_rc bm_config_parse(struct bm_config *c, struct bm_rd text, const char *name, struct bm_error *e)
{
    c->seen = 0;
    for (unsigned line = 1; text.n != 0; line++) {
        enum bm_rc rc = parse_line(c, bm_rd_cut(&text, '\n'), e);

        if (rc != BM_OK)
            return bm_wrap(e, rc, "%s:%u", name, line);
    }
    return BM_OK;
}

enum bm_rc bm_config_set(struct bm_config *c, const char *key, const char *value, struct bm_error *e)
{
    const struct row *r = row_of(bm_rd_str(key));
    enum bm_rc rc;

    if (r == NULL)
        return unknown(bm_rd_str(key), e);
    rc = set_row(c, r, value, e);
    if (rc == BM_OK)
        c->fixed |= bit_of(r);
    return rc;
}

enum bm_rc bm_config_check(const struct bm_config *c, struct bm_error *e)
{
    struct bm_networks networks;

    if ((c->tls_cert_file[0] == '\0') != (c->tls_key_file[0] == '\0'))
        return bm_fail(e, BM_USAGE, "tls_cert_file and tls_key_file go together: set both or neither");
    if (bm_networks_parse(c->validation_networks, &networks, e) != BM_OK)
        return bm_wrap(e, BM_USAGE, "validation_networks");
    return BM_OK;
}

static enum bm_rc read_file(struct bm_config *c, struct bm_error *e)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf text = { .max = BM_CONFIG_FILE_MAX };
    enum bm_rc rc = bm_file_read(c->file, &text, e);

    if (rc == BM_NOTFOUND && !c->file_required)
        return BM_OK;
    if (rc == BM_OK)
        rc = bm_config_parse(c, bm_buf_rd(&text), c->file, e);
    return rc == BM_NOTFOUND ? BM_USAGE : rc;
}

enum bm_rc bm_config_load(struct bm_config *c, const char *data_dir, const char *file, struct bm_error *e)
{
    enum bm_rc rc = bm_config_init(c, data_dir, e);

    if (rc != BM_OK)
        return rc;
    c->file_required = file != NULL;
    if (file == NULL)
        rc = bm_path_join(data_dir, "birthmark.conf", c->file, sizeof c->file, e);
    else if ((size_t)snprintf(c->file, sizeof c->file, "%s", file) >= sizeof c->file)
        rc = bm_fail(e, BM_LIMIT, "%s: path too long", file);
    if (rc == BM_OK)
        rc = read_file(c, e);
    return rc == BM_OK ? bm_config_check(c, e) : rc;
}

enum bm_rc bm_config_reload(struct bm_config *c, struct bm_error *e)
{
    struct bm_config fresh = *c;
    enum bm_rc rc = set_defaults(&fresh, e);

    if (rc == BM_OK)
        rc = read_file(&fresh, e);
    if (rc == BM_OK)
        rc = bm_config_check(&fresh, e);
    if (rc == BM_OK)
        *c = fresh;
    return rc;
}

void bm_config_help(struct bm_buf *out)
{
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        const struct row *r = &rows[i];

        bm_buf_printf(out, "# %s", r->doc);
        if (r->kind == NUMBER)
            bm_buf_printf(out, " (%u to %u)", r->min, r->max);
        bm_buf_printf(out, "\n#%s = %s\n\n", r->key, r->value);
    }
}

bool bm_config_doc(size_t i, struct bm_config_doc *ret)
{
    const struct row *r = &rows[i < BM_COUNT(rows) ? i : 0];

    *ret = (struct bm_config_doc){ r->key, r->value, r->doc, r->kind == NUMBER, r->min, r->max };
    return i < BM_COUNT(rows);
}
