/* targets: what the drivers acme, aws-pca, aws-kms and azure-vault make of an answer in each of their steps */
#include "keeper/cloud.h"
#include "keeper/upstream_acme.h"
#include "../unit/names_csr.h"

#include <stdio.h>
#include <stdlib.h>

#define URLS                                                                                                                       \
    "\"newNonce\":\"https://a/n\",\"newAccount\":\"https://a/a\",\"newOrder\":\"https://a/"                                        \
    "o\",\"nonce\":\"AAAA\",\"kid\":\"https://a/1\""
#define ORDER                                                                                                                      \
    URLS ",\"order\":\"https://a/2\",\"finalize\":\"https://a/3\",\"authorizations\":[\"https://a/"                                \
         "4\"],\"at\":0,\"authorization\":\"https://a/4\""
#define DNS "challenge=dns-01,hook=https://a/hook,under=example,wait=1"
#define RECORD "\"fqdn\":\"_acme-challenge.x.example.\",\"digest\":\"AAAA\""
#define ARN "arn:aws:acm-pca:r:1:certificate-authority/x"

enum { AZURE_WITH_TOKEN = 14 };

/* Steps: driver, options, state. NULL: the body that waits for a signature; with a token in it for AZURE_WITH_TOKEN. */
static const struct {
    const struct bm_upstream_driver *driver;
    const char *options, *state;
    bool revokes;
} steps[] = {
    { &bm_upstream_acme, "challenge=http-01", "", false },
    { &bm_upstream_acme, "", "{" URLS ",\"step\":\"lookup\"}", false },
    { &bm_upstream_acme, "", "{" URLS ",\"step\":\"order\"}", false },
    { &bm_upstream_acme, "challenge=http-01", "{" ORDER ",\"step\":\"authorization\"}", false },
    { &bm_upstream_acme, "", "{" ORDER ",\"step\":\"poll\"}", false },
    { &bm_upstream_acme, "", "{" ORDER ",\"step\":\"finalize\"}", false },
    { &bm_upstream_acme, "", "{" ORDER ",\"step\":\"certificate\",\"certificate\":\"https://a/5\"}", false },
    { &bm_upstream_awspca, "ca=" ARN, "{\"token\":\"0\",\"algorithm\":\"SHA256WITHECDSA\",\"until\":1800000000}", false },
    { &bm_upstream_awspca, "ca=" ARN, "{\"token\":\"0\",\"arn\":\"" ARN "/certificate/1\"}", false },
    { &bm_upstream_acme, "", "", true },
    { &bm_upstream_acme, "", "{" URLS ",\"revokeCert\":\"https://a/r\",\"step\":\"revoke\"}", true },
    { &bm_upstream_awspca, "ca=" ARN, "", true },
    { &bm_upstream_awskms, "key=arn:aws:kms:r:1:key/1", NULL, false },
    { &bm_upstream_azure, "key=a/b,token=https://t/", NULL, false },
    [AZURE_WITH_TOKEN] = { &bm_upstream_azure, "key=a/b,token=https://t/", NULL, false },
    { &bm_upstream_acme, DNS, "{" ORDER ",\"step\":\"authorization\"}", false },
    { &bm_upstream_acme, DNS, "{" ORDER "," RECORD ",\"step\":\"present\"}", false },
    { &bm_upstream_acme, DNS, "{" ORDER "," RECORD ",\"step\":\"withdraw\",\"refusal\":\"no\"}", false },
    { &bm_upstream_acme, DNS, "{" ORDER "," RECORD ",\"step\":\"authorization\",\"responded\":true}", false },
};

/* The generator of P-256: a key like any other. */
static const uint8_t spki[] =
    "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04"
    "\x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45"
    "\xd8\x98\xc2\x96\x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\x2b\xce\x33\x57\x6b\x31\x5e\xce"
    "\xcb\xb6\x40\x68\x37\xbf\x51\xf5";

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void body_put(struct bm_buf *state)
{
    bm_cloud_body_write(&(struct bm_cloud_body){ .spki = bm_rd_of(spki, sizeof spki - 1), .tbs = bm_rd_str("0") }, state);
}

/* What is next can be asked, or says why not, and never goes to another place. */
static void look(const struct bm_upstream_driver *d, const struct bm_upstream_job *j, const struct bm_upstream_got *got,
                 enum bm_rc rc)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf task = { .max = BM_TASK_MAX };
    struct bm_upstream_job next = *j;
    struct bm_task t;
    struct bm_error e;

    must(rc != BM_OK || j->cert.n != 0 || (got->n != 0 && got->n <= BM_UPSTREAM_CERTS_MAX));
    if (rc != BM_AGAIN || got->state.n == 0)
        return;
    next.state = bm_buf_rd(&got->state);
    if ((j->cert.n != 0 ? d->revoking->task : d->task)(&next, &task, &e) != BM_OK)
        return;
    must(bm_task_parse(bm_buf_rd(&task), &t, &e) == BM_OK);
    must(t.url.n >= 9 && (memcmp(t.url.p, "https://a", 9) == 0 || memcmp(t.url.p, "https://t", 9) == 0));
    must(t.url.n == 9 || t.url.p[9] == '/');
}

static void run(size_t step, uint16_t status, struct bm_rd body)
{
    struct bm_upstream u = { .url = "https://a" };
    struct bm_upstream_secret s = { .login = { .max = 64 }, .client_key = { .max = sizeof account_pem } };
    struct bm_upstream_got got = { .room = { .max = BM_TASK_ANSWER_MAX }, .state = { .max = BM_UPSTREAM_STATE_MAX } }, first = got;
    struct bm_task_answer a = { .status = status, .body = body, .nonce = bm_rd_str("BBBB"), .location = bm_rd_str("https://a/9") };
    BM_CLEANUP(bm_buf_done) struct bm_buf state = { .max = BM_UPSTREAM_STATE_MAX };
    struct bm_upstream_job j = { .u = &u, .s = &s, .now = 1795243853, .csr = bm_rd_of(names_csr, sizeof names_csr - 1) };
    const struct bm_task_answer token = { .status = 200, .body = bm_rd_str("{\"access_token\":\"abc\"}") };
    struct bm_error e;

    bm_buf_str(&s.login, "user:c2VjcmV0");
    bm_buf_str(&s.client_key, account_pem);
    snprintf(u.options, sizeof u.options, "%s", steps[step].options);
    if (steps[step].state != NULL)
        bm_buf_str(&state, steps[step].state);
    else
        body_put(&state);
    j.state = bm_buf_rd(&state);
    if (step == AZURE_WITH_TOKEN) {
        must(bm_upstream_azure.read(&j, &token, &first, &e) == BM_AGAIN);
        j.state = bm_buf_rd(&first.state);
    }
    if (steps[step].revokes)
        j.cert = bm_rd_str("a certificate");
    look(steps[step].driver, &j, &got,
         steps[step].revokes ? steps[step].driver->revoking->read(&j, &a, &got, &e) : steps[step].driver->read(&j, &a, &got, &e));
    bm_buf_done(&got.room);
    bm_buf_done(&got.state);
    bm_buf_done(&first.state);
    bm_upstream_secret_done(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const uint16_t statuses[] = { 200, 201, 400, 401, 403, 429, 503 };

    if (n >= 2)
        run(p[0] % BM_COUNT(steps), statuses[p[1] % BM_COUNT(statuses)], bm_rd_of(p + 2, n - 2));
    return 0;
}
