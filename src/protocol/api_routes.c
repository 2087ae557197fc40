/* Where each act is found. A row says no more than that: what it takes and who may do it is in the table of acts. */
#include "protocol/api.h"

#define JSON_BODY BM_HTTP_BODY_MAX
#define PEM "application/x-pem-file"
#define JSON "application/json"
#define TEXT "text/plain"
#define BYTES "application/octet-stream"

#define OP(verb, where, room, name_)                                                                                               \
    {                                                                                                                              \
        .name = (name_), .protocol = "api", .method = BM_##verb, .path = BM_API_ROOT where, .body_max = (room),                    \
        .command = BM_CMD_API, .prepare = bm_api_prepare, .render = bm_api_render, .refuse = bm_api_refuse, .admit = bm_api_admit  \
    }
#define READ(where, param, act, summary)                                                                                           \
    {                                                                                                                              \
        OP(GET, where, 0, act), act, param, NULL, summary                                                                          \
    }
#define WRITE(verb, where, param, act, summary)                                                                                    \
    {                                                                                                                              \
        OP(verb, where, JSON_BODY, act), act, param, NULL, summary                                                                 \
    }
#define BLOB(verb, where, param, act, type, room, summary)                                                                         \
    {                                                                                                                              \
        OP(verb, where, room, act), act, param, type, summary                                                                      \
    }

/* A table reads by rows. */
/* clang-format off */
const struct bm_api_route bm_api_routes[] = {
    READ("organisations", NULL, "org.list", "List organisations"),
    WRITE(POST, "organisations", NULL, "org.create", "Add an organisation"),
    READ("organisations/*", "name", "org.show", "Show an organisation and whom it trusts"),
    BLOB(POST, "organisations/*/trust", "org", "org.trust", PEM, JSON_BODY, "Trust an organisation's certificates"),

    READ("profiles", NULL, "profile.list", "List certificate profiles"),
    READ("profiles/*", "name", "profile.show", "Show a certificate profile"),
    BLOB(PUT, "profiles/*", "name", "profile.set", JSON, BM_PROFILE_MAX, "Add or replace a certificate profile"),

    READ("cas", NULL, "ca.list", "List certification authorities"),
    WRITE(POST, "cas", NULL, "ca.create", "Add an issuing certification authority"),
    WRITE(POST, "cas/upstream", NULL, "ca.upstream", "Add a CA whose key is somebody else's, and the way to it"),
    READ("cas/*", "name", "ca.show", "Show a certification authority"),
    READ("services/*/trust", "name", "trust.show", "Show the trust bundle of a service"),
    WRITE(PATCH, "cas/*", "name", "ca.set", "Say in how many parts a CA's revocation list is, for new certificates"),
    WRITE(POST, "cas/*/revoke", "name", "ca.revoke", "Revoke a certification authority"),
    WRITE(POST, "cas/*/compromise", "name", "ca.compromise", "Revoke a CA whose key is in wrong hands, and all it issued"),
    WRITE(POST, "cas/*/rotate", "name", "ca.rotate", "Hand a CA's lines over to a new one with a new key"),
    WRITE(POST, "cas/*/request", "name", "ca.request", "Make the key and the request of a CA that somebody else signs"),
    WRITE(POST, "cas/*/import", "name", "ca.import", "Take in the certificate of a CA that was requested"),
    WRITE(POST, "cas/*/retire", "name", "ca.retire", "Retire a CA that has handed over and has nothing valid left"),
    WRITE(POST, "cas/*/default", "name", "ca.default", "Choose the CA for products and batches that name none"),
    WRITE(POST, "cas/*/rollover", "name", "ca.rollover", "Make a new key for a root, each certified by the other"),
    READ("cas/*/crl", "name", "crl.show", "Show a CA's revocation list: number, times, entries"),
    READ("cas/*/crl/pem", "name", "crl.export", "A CA's revocation list as PEM"),

    READ("services", NULL, "service.list", "List services"),
    WRITE(POST, "services", NULL, "service.create", "Add a service"),
    READ("services/*", "name", "service.show", "Show a service"),
    WRITE(PATCH, "services/*", "name", "service.set", "Change a service; what is not named stays"),

    READ("products", NULL, "product.list", "List products"),
    WRITE(POST, "products", NULL, "product.create", "Add a product and its policy"),
    READ("products/*", "name", "product.show", "Show a product and its policy"),
    WRITE(PATCH, "products/*", "name", "product.set", "Change a product; what is not named stays"),

    WRITE(POST, "policy/test", NULL, "policy.test", "What a certificate request would get, or be refused for; nothing is issued"),

    READ("batches", NULL, "batch.list", "List batches"),
    WRITE(POST, "batches", NULL, "batch.create", "Add a batch: a production order with a quota"),
    READ("batches/*", "name", "batch.show", "Show a batch"),
    WRITE(POST, "batches/*/compromise", "name", "batch.compromise", "Close a batch and mark all its devices as compromised"),
    WRITE(POST, "batches/*/hook", "name", "batch.hook", "Say who vouches for SCEP challenges; the answer shows the secret, this once"),
    WRITE(PATCH, "batches/*", "name", "batch.set", "Change a batch; what is not named stays"),

    READ("devices", NULL, "device.list", "List devices"),
    READ("devices/*", "udid", "device.show", "Show a device and its credentials"),
    WRITE(POST, "devices/*/allocate", "udid", "device.allocate", "Put a registered device into a batch"),
    WRITE(POST, "devices/*/suspend", "udid", "device.suspend", "Suspend a device"),
    WRITE(POST, "devices/*/resume", "udid", "device.resume", "Resume a suspended device"),
    WRITE(POST, "devices/*/retire", "udid", "device.retire", "Retire a device for good; what it holds is revoked"),
    WRITE(POST, "devices/*/compromise", "udid", "device.compromise", "Mark a device as compromised; what it holds is revoked"),
    WRITE(POST, "devices/*/reset", "udid", "device.reset", "Reset a device: what it holds is revoked, and it enrols again"),
    WRITE(POST, "devices/*/transfer", "udid", "device.transfer", "Give a device to a new owner; what it holds is revoked"),
    WRITE(POST, "devices/*/offer", "udid", "device.offer", "Offer a device to a new owner"),
    WRITE(POST, "devices/*/accept", "udid", "device.accept", "Accept an offer: what the device holds is revoked, and it enrols again"),
    WRITE(POST, "devices/*/decline", "udid", "device.decline", "Decline an offer"),
    WRITE(POST, "devices/*/withdraw", "udid", "device.withdraw", "Withdraw an offer"),
    WRITE(POST, "devices/*/rent", "udid", "device.rent", "Give a device to a tenant until a date"),
    WRITE(POST, "devices/*/extend", "udid", "device.extend", "Give a rental a later end"),
    WRITE(POST, "devices/*/return", "udid", "device.return", "End a rental now"),
    READ("devices/*/history", "udid", "device.history", "Whose a device has been"),
    READ("offers", NULL, "offer.list", "List the offers that are open"),
    READ("rentals", NULL, "rental.list", "List the rentals that run"),

    READ("certificates", NULL, "cert.list", "List certificates of devices"),
    READ("certificates/*", "serial", "cert.show", "Show a certificate"),
    WRITE(POST, "certificates/*/revoke", "serial", "cert.revoke", "Revoke a certificate"),

    READ("manifests", NULL, "manifest.list", "List the manifests that were imported"),
    BLOB(POST, "manifests", NULL, "manifest.begin", BYTES, JSON_BODY, "Begin or resume an import: the body is the manifest's first line"),
    BLOB(POST, "manifests/*/blocks", "manifest", "manifest.block", BYTES, BM_MANIFEST_BLOCK_MAX, "Import one block of a manifest"),

    READ("jobs", NULL, "bulk.list", "List acts on many devices"),
    WRITE(POST, "jobs", NULL, "bulk.start", "Begin an act on many devices: those that filters choose, or a list to come"),
    BLOB(POST, "jobs/dry-run", NULL, "bulk.dry", TEXT, JSON_BODY, "What an act would do to the next devices; the body: UDIDs, one a line"),
    READ("jobs/*", "job", "bulk.show", "Show how far an act on many devices is, and what it could not do"),
    BLOB(POST, "jobs/*/devices", "job", "bulk.add", TEXT, JSON_BODY, "Add to a list of devices: UDIDs, one a line"),
    WRITE(POST, "jobs/*/resume", "job", "bulk.resume", "Go on with an act, or start one whose list is whole"),
    WRITE(POST, "jobs/*/cancel", "job", "bulk.cancel", "Stop an act after the step that runs"),

    READ("approvals", NULL, "approval.list", "List requests that wait for approval, or were decided of late"),
    WRITE(POST, "approvals/*/approve", "number", "approval.approve", "Let a device have the certificate that it asks for"),
    WRITE(POST, "approvals/*/deny", "number", "approval.deny", "Refuse a device the certificate that it asks for"),

    READ("codes", NULL, "code.list", "List one-time codes, without their text"),
    WRITE(POST, "codes", NULL, "code.create", "Make one-time codes; the answer shows them, this once"),
    WRITE(POST, "codes/*/revoke", "number", "code.revoke", "Revoke a one-time code"),

    READ("vouchers", NULL, "voucher.list", "List vouchers and what the devices made of them"),
    READ("vouchers/*", "number", "voucher.show", "Show a voucher"),
    BLOB(POST, "devices/*/voucher", "udid", "voucher.issue", PEM, JSON_BODY, "A voucher without nonce; the body: the certificate to trust, or nothing"),
    WRITE(POST, "masa", NULL, "voucher.masa", "Say which CA vouchers are signed under"),
    READ("eabs", NULL, "eab.list", "List bindings of ACME accounts, without their keys"),
    WRITE(POST, "eabs", NULL, "eab.create", "Make a binding for ACME accounts; the answer shows its key, this once"),
    WRITE(POST, "eabs/*/revoke", "kid", "eab.revoke", "Revoke a binding; its accounts may order nothing more"),
    READ("acme-accounts", NULL, "acme-account.list", "List ACME accounts"),
    WRITE(POST, "acme-accounts/*/revoke", "number", "acme-account.revoke", "Revoke an ACME account"),

    READ("log/head", NULL, "log.head", "The audit log's signed head"),
    READ("log/entries", NULL, "log.entries", "Entries of the audit log"),
    READ("log/inclusion", NULL, "log.inclusion", "Proof that an entry is in the log"),
    READ("log/consistency", NULL, "log.consistency", "Proof that a smaller log is the beginning of a larger one"),

    READ("tokens", NULL, "token.list", "List the tokens of this API, without their secrets"),
    WRITE(POST, "tokens", NULL, "token.create", "Make a token; the answer shows its secret, this once"),
    READ("tokens/*", "name", "token.show", "Show a token, without its secret"),
    WRITE(POST, "tokens/*/revoke", "name", "token.revoke", "Revoke a token"),

    READ("status", NULL, "status", "How the registry is: counts, certification authorities, warnings"),
    READ("why/*", "id", "why", "What happened to a device, a certificate or a request, and why"),
    READ("refusals", NULL, "refusal.list", "List what was refused"),
    WRITE(POST, "clock/accept", NULL, "clock.accept", "Issue again although the clock went back"),
    { .act = NULL },
};
/* clang-format on */

/* Claims: the command draws their codes, and counts the wrong ones by who asks. */
/* bulk.work: a step for a registry that no server has open; the server takes its own. journal.*: of the machine's disks, for who makes its
 * backups. host.*: part of setting up machines, by who has one. */
const char *const bm_api_local_only[] = {
    "bulk.work",    "journal.show", "journal.rotate", "key.show",   "key.import", "key.add",
    "key.root",     "key.rotate",   "key.step",       "host.add",   "host.list",  "host.remove",
    "claim.create", "claim.list",   "claim.revoke",   "claim.take", NULL
};

const struct bm_operation bm_api_description = {
    .name = "api-description",
    .protocol = "api",
    .method = BM_GET,
    .path = BM_API_ROOT "openapi.json",
    .render = bm_api_description_render,
    .refuse = bm_api_refuse,
};

bool bm_api_path(struct bm_rd path)
{
    size_t n = strlen(BM_API_ROOT);

    return path.n >= n && memcmp(path.p, BM_API_ROOT, n) == 0;
}

static bool takes(const struct bm_operation *op, struct bm_request *q, bool *ret_known)
{
    struct bm_rd label;

    if (!bm_operation_path_fits(op->path, q->path, &label))
        return false;
    *ret_known = true;
    if (op->method != q->method)
        return false;
    q->label = label;
    return true;
}

const struct bm_operation *bm_api_find(struct bm_request *q, bool *ret_known)
{
    *ret_known = false;
    if (takes(&bm_api_description, q, ret_known))
        return &bm_api_description;
    for (const struct bm_api_route *r = bm_api_routes; r->act != NULL; r++)
        if (takes(&r->op, q, ret_known))
            return &r->op;
    return NULL;
}
