/* Every key there is, and what can be told of one. */
#include "base/config_row.h"

#include "base/limits.h"

#define MEMBER(m) offsetof(struct bm_config, m), sizeof(((struct bm_config *)0)->m)

const struct bm_config_row bm_config_rows[] = {
    { "listen", TEXT, MEMBER(listen), "127.0.0.1:8443", 1, 0, AT_START,
      "Where to serve, host:port, several with commas. The default is reached from this machine only; [::]:8443 serves every "
      "address, IPv4 too. Port 0 takes a free one." },
    { "listen_http", TEXT, MEMBER(listen_http), "", 0, 0, AT_START,
      "Where to serve CRLs and OCSP, and nothing else, without TLS: host:port, several with commas. Empty: nowhere; over TLS both "
      "are served in any case." },
    { "listen_api", TEXT, MEMBER(listen_api), "", 0, 0, AT_START,
      "Where to serve the Admin API, and nothing else, over TLS: host:port, several with commas. Empty: at the addresses of "
      "`listen`, as soon as there is a token." },
    { "listen_metrics", TEXT, MEMBER(listen_metrics), "", 0, 0, AT_START,
      "Where to tell Prometheus and load balancers how the server is (/metrics, /readyz, /healthz), without TLS: host:port, "
      "several with commas, for example 127.0.0.1:9477. Empty: nowhere." },
    { "coap_listen", TEXT, MEMBER(coap_listen), "", 0, 0, AT_START,
      "Where to serve EST over CoAP (DTLS, datagrams): host or host:port, several with commas; the port is 5684 unless given. "
      "Empty: nowhere. docs/coap.md." },
    { "workers", NUMBER, MEMBER(workers), "0", 0, 1024, AT_START, "Worker processes; 0 is one per processor." },
    { "log_level", LEVEL, MEMBER(log_level), "info", 0, 0, ON_SIGHUP, "error, warn, info or debug." },
    { "tls_hosts", TEXT, MEMBER(tls_hosts), "", 0, 0, AT_START,
      "Names and addresses in the server certificate that Birthmark issues to itself, with commas; empty: those given at "
      "`birthmark init`." },
    { "tls_cert_file", TEXT, MEMBER(tls_cert_file), "", 0, 0, AT_START,
      "PEM server certificate with its chain, in place of our own. Needs tls_key_file." },
    { "tls_key_file", TEXT, MEMBER(tls_key_file), "", 0, 0, AT_START, "PEM private key of tls_cert_file." },
    { "store", TEXT, MEMBER(store), "", 0, 0, AT_START,
      "Where the registry is: sqlite:PATH, or postgres: and what libpq takes (postgres:host=db1 dbname=birthmark passfile=FILE); "
      "empty: `registry.db` in the data folder. `birthmark init --store` writes it." },
    { "host", TEXT, MEMBER(host), "", 0, 0, AT_START,
      "Which of the hosts of a registry in PostgreSQL this is; empty: the one that made it. `birthmark join` writes it." },
    { "secret_file", TEXT, MEMBER(secret_file), "", 0, 0, AT_START,
      "What seals the keys on disk; empty: the file `secret` in the data folder." },
    { "connections", NUMBER, MEMBER(connections), "10240", 1, 1000000, ON_SIGHUP,
      "Open connections per worker; more wait half a second for room, and are then sent away." },
    { "connections_per_address", NUMBER, MEMBER(connections_per_address), "1024", 1, 1000000, ON_SIGHUP,
      "Open connections per worker from one address (IPv6: one /64); more are closed at once." },
    { "idle_seconds", NUMBER, MEMBER(idle_seconds), "30", 1, 86400, ON_SIGHUP,
      "How long a connection that is kept open may be silent." },
    { "drain_seconds", NUMBER, MEMBER(drain_seconds), "20", 0, 3600, ON_SIGHUP,
      "At a stop, how long requests under way may take." },
    { "coap_sessions", NUMBER, MEMBER(coap_sessions), "2048", 16, 65536, ON_SIGHUP,
      "DTLS sessions of `coap_listen` in all; whoever shows a good cookie when they are taken gets the place of the one that has "
      "been silent longest. docs/coap.md." },
    { "coap_handshakes", NUMBER, MEMBER(coap_handshakes), "512", 8, 65536, ON_SIGHUP,
      "How many of `coap_sessions` may be in their handshake." },
    { "coap_idle_seconds", NUMBER, MEMBER(coap_idle_seconds), "120", 10, 86400, ON_SIGHUP,
      "How long a DTLS session may be silent." },
    { "coap_bodies_mb", NUMBER, MEMBER(coap_bodies_mb), "32", 1, 4096, ON_SIGHUP,
      "Megabytes of requests and answers in blocks that all sessions together may hold." },
    { "scep_strangers_per_second", NUMBER, MEMBER(scep_strangers_per_second), "100", 1, 100000, AT_START,
      "SCEP messages in a second of all those whose key the registry does not know; each costs two RSA operations. More are told "
      "to come later. docs/scep.md." },
    { "scep_strangers_per_minute", NUMBER, MEMBER(scep_strangers_per_minute), "300", 1, 1000000, AT_START,
      "The same in a minute, of one address (IPv6: one /64)." },
    { "scep_known_per_minute", NUMBER, MEMBER(scep_known_per_minute), "120", 1, 1000000, AT_START,
      "SCEP messages in a minute that are signed by one key which the registry knows." },
    { "voucher_request_seconds", NUMBER, MEMBER(voucher_request_seconds), "3600", 60, 604800, AT_START,
      "How old the request of a registrar may be that asks for a voucher (BRSKI). docs/brski.md." },
    { "voucher_log_entries", NUMBER, MEMBER(voucher_log_entries), "1000", 100, 5000, AT_START,
      "How many vouchers of a device the MASA's audit log tells a registrar of, the newest." },
    { "confine", CONFINE, MEMBER(confine), bm_confine_default, 0, 0, AT_START,
      "required, auto or off: whether the processes lock themselves in with seccomp and Landlock. required does not start where "
      "the kernel cannot do that; auto does with what there is, and a warning." },
    { "journal", TEXT, MEMBER(journal), "", 0, 0, AT_START,
      "A folder on another disk or mount where every change is written before it is acknowledged, so that a backup and the journal "
      "since then lose nothing (`birthmark restore --journal`). What cannot be written there is refused. Empty: none." },
    { "pkcs11_module", TEXT, MEMBER(pkcs11_module), "", 0, 0, AT_START,
      "The PKCS#11 module (a shared object, whole path) whose tokens hold keys of CAs; empty: none. docs/hsm.md." },
    { "pkcs11_pin_file", TEXT, MEMBER(pkcs11_pin_file), "", 0, 0, AT_START,
      "A file with the tokens' user PIN and nothing else; read once, at the start." },
    { "pkcs11_paths", TEXT, MEMBER(pkcs11_paths), "", 0, 0, AT_START,
      "Files and folders that the module reads and writes while it works, with commas: the keeper may reach these besides the data "
      "folder." },
    { "pkcs11_sockets", NUMBER, MEMBER(pkcs11_sockets), "0", 0, 1, AT_START,
      "1: the module reaches its token through a socket (pcscd, an HSM in the network), so the keeper may make connections." },
    { "dns_servers", TEXT, MEMBER(dns_servers), "", 0, 0, AT_START,
      "Which name servers the courier asks, which makes all outgoing connections: address or address:port, several with commas. "
      "Empty: those of the system." },
    { "validation_networks", TEXT, MEMBER(validation_networks), "", 0, 0, AT_START,
      "Networks beyond the public ones that a stranger's validation may lead to (ACME): 10.0.0.0/8, fd00::/8, several with commas. "
      "Empty: none, so that nobody reaches your inner network through this server." },
    { "acme_http_port", NUMBER, MEMBER(acme_http_port), "80", 1, 65535, AT_START,
      "Where http-01 of ACME looks for its answer. Another port than 80 is for networks where only you can open ports." },
    { "acme_tls_port", NUMBER, MEMBER(acme_tls_port), "443", 1, 65535, AT_START, "The same for tls-alpn-01." },
    { "acme_help_url", TEXT, MEMBER(acme_help_url), "", 0, 0, AT_START,
      "A page of yours about the limits on ACME accounts: what is refused as rateLimited leads there. Empty: nowhere." },
    { "keeper_user", TEXT, MEMBER(keeper_user), "", 0, 0, AT_START,
      "When started as root, whom the keeper becomes; empty: the owner of the data folder." },
    { "worker_user", TEXT, MEMBER(worker_user), "", 0, 0, AT_START,
      "When started as root, whom the workers become; empty: nobody." },
};
const size_t bm_config_n_rows = BM_COUNT(bm_config_rows);
_Static_assert(BM_COUNT(bm_config_rows) <= 64, "struct bm_config has a bit for each row");
_Static_assert(BM_CONNECTIONS_MAX == 10240 && BM_CONNECTIONS_PER_ADDRESS == 1024 && BM_IDLE_DEADLINE_MS == 30000,
               "the defaults above repeat base/limits.h");
_Static_assert(BM_COAP_SESSIONS_MAX == 2048 && BM_COAP_HANDSHAKES_MAX == 512 && BM_COAP_IDLE_MS == 120000 &&
                   BM_COAP_BODIES_MAX == 32 * 1024 * 1024,
               "and so do these");
_Static_assert(BM_SCEP_STRANGERS_SECOND == 100 && BM_SCEP_STRANGERS_ADDRESS == 300 && BM_SCEP_KNOWN_KEY == 120 &&
                   BM_VOUCHER_REQUEST_AGE_S == 3600 && BM_VOUCHER_EVENTS_MAX == 1000,
               "and these");

void bm_config_help(struct bm_buf *out)
{
    for (size_t i = 0; i < bm_config_n_rows; i++) {
        const struct bm_config_row *r = &bm_config_rows[i];

        bm_buf_printf(out, "# %s", r->doc);
        if (r->when == ON_SIGHUP)
            bm_buf_printf(out, " Read again on SIGHUP.");
        if (r->kind == NUMBER)
            bm_buf_printf(out, " (%u to %u)", r->min, r->max);
        bm_buf_printf(out, "\n#%s = %s\n\n", r->key, r->value);
    }
}

bool bm_config_doc(size_t i, struct bm_config_doc *ret)
{
    const struct bm_config_row *r = &bm_config_rows[i < bm_config_n_rows ? i : 0];

    *ret = (struct bm_config_doc){ r->key, r->value, r->doc, r->kind == NUMBER, r->when == ON_SIGHUP, r->min, r->max };
    return i < bm_config_n_rows;
}

static const void *member(const struct bm_config *c, const struct bm_config_row *r)
{
    return (const uint8_t *)c + r->at;
}

bool bm_config_value(const struct bm_config *c, size_t i, struct bm_config_value *ret)
{
    const struct bm_config_row *r = &bm_config_rows[i < bm_config_n_rows ? i : 0];
    const void *m = member(c, r);

    *ret = (struct bm_config_value){ .key = r->key };
    if (r->kind == NUMBER)
        ret->number = *(const unsigned *)m;
    else if (r->kind == LEVEL)
        ret->text = bm_log_level_word(*(const enum bm_log_level *)m);
    else if (r->kind == CONFINE)
        ret->text = bm_confine_word(*(const enum bm_confine_mode *)m);
    else
        ret->text = m;
    return i < bm_config_n_rows;
}

void bm_config_waiting(const struct bm_config *was, const struct bm_config *is, struct bm_buf *out)
{
    for (size_t i = 0; i < bm_config_n_rows; i++) {
        const struct bm_config_row *r = &bm_config_rows[i];
        bool same =
            r->kind == TEXT ? strcmp(member(was, r), member(is, r)) == 0 : memcmp(member(was, r), member(is, r), r->room) == 0;

        if (r->when == AT_START && !same)
            bm_buf_printf(out, "%s%s", out->n != 0 ? ", " : "", r->key);
    }
}
