/* Certificates over CMP and SCEP, for what they cost the server.
 *
 *   messages_bench devices cmp|scep DIR N                    N devices with keys; DIR/identities.jsonl for a manifest
 *   messages_bench cmp|scep URL PATH DIR COUNT JOBS    COUNT requests by those devices, JOBS at a time
 *
 * The second prints "ready" when all requests are made, goes on when its standard input ends or has a line, and prints one JSON object. */
#include "messages/messages.h"

#include "base/text.h"

#include <openssl/pkcs7.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUEST_MAX = 32768 };

void *need(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "messages_bench: the library failed\n");
        exit(1);
    }
    return p;
}

void must(int ok)
{
    need(ok == 1 ? &ok : NULL);
}

static FILE *file(const char *dir, const char *name, size_t i, const char *how)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s-%zu", dir, name, i);
    f = fopen(path, how);
    if (f == NULL && *how == 'r')
        return NULL;
    return need(f);
}

/* --- devices ------------------------------------------------------------------------------------------------------------------------- */
static X509 *certificate(EVP_PKEY *key, const char *name)
{
    X509 *x = need(X509_new());

    must(X509_set_version(x, 2));
    must(ASN1_INTEGER_set(X509_get_serialNumber(x), 1));
    need(X509_gmtime_adj(X509_getm_notBefore(x), -60));
    need(X509_gmtime_adj(X509_getm_notAfter(x), 86400));
    must(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0));
    must(X509_set_issuer_name(x, X509_get_subject_name(x)));
    must(X509_set_pubkey(x, key));
    must(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static void make_device(const char *dir, size_t i, const char *alg, FILE *list)
{
    EVP_PKEY *key = need(strcmp(alg, "RSA") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256"));
    unsigned char *der = NULL, udid[SHA256_DIGEST_LENGTH];
    BM_CLEANUP(bm_buf_done) struct bm_buf b64 = { .max = 1024 };
    char hex[2 * sizeof udid + 1];
    size_t n = (size_t)i2d_PUBKEY(key, &der);
    FILE *f = file(dir, "device", i, "w");
    X509 *cert;

    need(SHA256(der, n, udid));
    bm_hex(udid, sizeof udid, hex);
    bm_base64url(&b64, bm_rd_of(der, n));
    cert = certificate(key, hex);
    must(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
    must(PEM_write_X509(f, cert));
    fclose(f);
    fprintf(list, "{\"udid\": \"%s\", \"key\": \"%.*s\", \"rot\": \"software\"}\n", hex, (int)b64.n, (const char *)b64.p);
    X509_free(cert);
    EVP_PKEY_free(key);
    OPENSSL_free(der);
}

static int make_devices(const struct protocol *p, const char *dir, size_t n)
{
    char path[512];
    FILE *list;

    snprintf(path, sizeof path, "%s/identities.jsonl", dir);
    list = need(fopen(path, "w"));
    for (size_t i = 0; i < n; i++)
        make_device(dir, i, p->alg, list);
    return fclose(list) == 0 ? 0 : 1;
}

static size_t load_devices(const char *dir, struct device ret[DEVICES_MAX])
{
    size_t n = 0;

    for (FILE *f; n < DEVICES_MAX && (f = file(dir, "device", n, "r")) != NULL; n++) {
        ret[n].key = need(PEM_read_PrivateKey(f, NULL, NULL, NULL));
        ret[n].cert = need(PEM_read_X509(f, NULL, NULL, NULL));
        fclose(f);
    }
    return n;
}

/* --- whom messages are encrypted to -------------------------------------------------------------------------------------------------- */
/* GetCACert: one certificate, or several in a PKCS #7; the one that may encrypt keys, or the only one. */
static X509 *choose(struct bm_rd answer)
{
    const unsigned char *at = answer.p;
    X509 *one = d2i_X509(NULL, &at, (long)answer.n);
    STACK_OF(X509) * all;
    PKCS7 *p;

    if (one != NULL)
        return one;
    at = answer.p;
    p = need(d2i_PKCS7(NULL, &at, (long)answer.n));
    all = need(p->d.sign->cert);
    for (int i = 0; one == NULL && i < sk_X509_num(all); i++)
        if ((X509_get_key_usage(sk_X509_value(all, i)) & KU_KEY_ENCIPHERMENT) != 0 || i + 1 == sk_X509_num(all))
            one = X509_dup(sk_X509_value(all, i));
    PKCS7_free(p);
    return one;
}

static X509 *get_ra(const char *url, const char *path)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf answer = { 0 };
    char question[512];
    struct link l;

    must(http_connect(url, &l));
    snprintf(question, sizeof question, "%s?operation=GetCACert", path);
    must(http_ask(&l, url, question, "", bm_rd_of(NULL, 0), &answer));
    http_close(&l);
    return need(choose(bm_buf_rd(&answer)));
}

/* --- all together --------------------------------------------------------------------------------------------------------------------- */
static int measure(const struct protocol *p, char **words)
{
    static struct device devices[DEVICES_MAX];
    size_t n_devices = load_devices(words[2], devices), n = strtoul(words[3], NULL, 10), jobs = strtoul(words[4], NULL, 10);
    struct bm_buf *requests = need(calloc(n, sizeof *requests));
    X509 *ra = p->query != NULL ? get_ra(words[0], words[1]) : NULL;
    char path[512];

    must(n_devices != 0 && jobs != 0);
    for (size_t i = 0; i < n; i++) {
        requests[i].max = REQUEST_MAX;
        p->make(&devices[i % n_devices], ra, &requests[i]);
        must(bm_buf_check(&requests[i], NULL) == BM_OK && requests[i].n != 0);
    }
    snprintf(path, sizeof path, "%s%s", words[1], p->query != NULL ? p->query : "");
    printf("ready\n");
    fflush(stdout);
    (void)getchar();
    return replay(p, words[0], path, requests, n, jobs); /* what was made, the system takes back */
}

static const struct protocol *find(const char *name)
{
    return strcmp(name, load_cmp.name) == 0 ? &load_cmp : strcmp(name, load_scep.name) == 0 ? &load_scep : NULL;
}

int main(int argc, char **argv)
{
    bool devices = argc == 5 && strcmp(argv[1], "devices") == 0;
    const struct protocol *p = argc > 2 ? find(argv[devices ? 2 : 1]) : NULL;

    if (p == NULL || (!devices && argc != 7)) {
        fprintf(stderr, "usage: messages_bench devices cmp|scep DIR N | messages_bench cmp|scep URL PATH DIR COUNT JOBS\n");
        return 2;
    }
    return devices ? make_devices(p, argv[3], strtoul(argv[4], NULL, 10)) : measure(p, argv + 2);
}
