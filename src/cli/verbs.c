/* Every command there is. A row is all there is to say about most of them: help, manual and completion come from it too. */
#include "cli/cli.h"

/* What a row does not name is zero, and that is the point. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define ALGS "EC:P-256 EC:P-384 ED25519 RSA:3072 RSA:4096"
#define KINDS "mqtt https aws-iot azure-dps lorawan generic"
#define MACS "hmac-sha256 hmac-sha256-digest aes-cmac aes-cmac-digest"
#define KDFS "sp800-108-hmac-sha256 sp800-108-aes-cmac hkdf-sha256"
#define FORMATS "auto birthmark microchip"

const struct bm_family bm_families[] = {
    { "org", "the organisations that make, own and run devices" },
    { "product", "device models and the policy for their devices" },
    { "policy", "what a product's policy would grant" },
    { "batch", "production orders and their quotas" },
    { "service", "what devices get credentials for" },
    { "profile", "what certificates look like" },
    { "ca", "the certification authorities of the registry" },
    { "device", "the devices of the registry and their states" },
    { "bulk", "acts on many devices: how far they are" },
    { "key", "secret keys of devices that have no key pair, and what seals them" },
    { "cert", "certificates that devices hold" },
    { "approval", "requests for certificates that a person has to approve" },
    { "claim", "codes that let their holder take over devices" },
    { "code", "one-time codes that let devices enrol" },
    { "voucher", "what tells devices whose network to trust (BRSKI)" },
    { "eab", "keys with which clients make ACME accounts" },
    { "acme-account", "accounts of ACME clients" },
    { "crl", "the revocation lists of the certification authorities" },
    { "journal", "what was committed, kept elsewhere for a restore" },
    { "manifest", "signed lists of device identities, from factory to registry" },
    { "log", "the audit log and its proofs" },
    { "token", "the tokens of the Admin API" },
    { "api", "the Admin API over HTTPS" },
    { "host", "the hosts that share a registry in PostgreSQL" },
    { "config", "the server's configuration" },
    { "clock", "what to do about a clock that was set back" },
    { "refusals", "what was refused to devices" },
    { "completion", "completion of commands in the shell" },
    { NULL, NULL },
};

/* A table reads by rows. */
/* clang-format off */
#define TITLE { "title", "a few words for people" }
#define JOURNAL { "journal", "its folder; default: the one in the configuration", .value = "DIR" }
#define REASON                                                                                                                     \
    { "reason", "why, for the record and the revocation list: keyCompromise, superseded, cessationOfOperation ...",                \
      .values = "unspecified keyCompromise affiliationChanged superseded cessationOfOperation privilegeWithdrawn" }
#define LOG { "log", "the log of this host; default: the own one", .value = "HOST" }
#define AFTER { "after", "go on after this id", .kind = BM_WORD_INT }
#define LIMIT { "limit", "at most this many rows", .kind = BM_WORD_INT }
#define NAME(help) { { "name", help, .needed = true } }
#define UDID { { "udid", "the device: 64 hex digits", .needed = true } }
#define AS(help) { "as", help, .needed = true, .value = "ORG" }
#define JOB { { "job", "its id", .kind = BM_WORD_INT, .needed = true } }
#define APPROVAL { { "number", "as 'birthmark approval list' shows it", .kind = BM_WORD_INT, .needed = true } }
#define OUT { "out", "write to this file; default: standard output", .value = "FILE" }

/* What a product's devices may be and get (keeper/policy.h). */
#define POLICY                                                                                                                     \
    { "policy", "the whole policy, in place or a file; the options below change it", .kind = BM_WORD_JSON },                       \
    { "rot", "roots of trust allowed: atecc608, tpm2 ...; default: any", .kind = BM_WORD_LIST, .member = "change.rot" },           \
    { "protocols", "enrolment protocols: est, onboard, cmp, brski; default: any", .kind = BM_WORD_LIST, .member = "change.protocols",     \
      .values = "est onboard cmp brski" },                                                                                               \
    { "services", "services its devices get credentials for; the first is the default", .kind = BM_WORD_LIST,                      \
      .member = "change.services" },                                                                                               \
    { "profile", "certificate profile; default ldevid", .member = "change.profile" },                                              \
    { "ca", "issuing CA; default: the batch's, else the registry's", .member = "change.ca" },                                      \
    { "renew-after-percent", "when devices renew: after this part of the validity, 10 to 95", .kind = BM_WORD_INT,                \
      .member = "change.renew_after_percent" },                                                                                    \
    { "renew-expired", "may an expired certificate's key enrol again?", .kind = BM_WORD_YESNO, .member = "change.renew_expired" }, \
    { "approval", "must a person approve certificates: first (the first one), always or never", .member = "change.approval",       \
      .values = "first always never" },                                                                                            \
    { "birth-certificate", "must devices show a birth certificate of a trusted chip maker?", .kind = BM_WORD_YESNO,                \
      .member = "change.birth_certificate" },                                                                                      \
    { "self-registration", "may a device with a batch's one-time code register its own key?", .kind = BM_WORD_YESNO,               \
      .member = "change.self_registration" },                                                                                      \
    { "voucher-logged", "may networks of nobody known here get vouchers for its devices?", .kind = BM_WORD_YESNO,                 \
      .member = "change.voucher_logged" },                                                                                         \
    { "voucher-nonceless", "may registrars get vouchers without nonce?", .kind = BM_WORD_YESNO,                                    \
      .member = "change.voucher_nonceless" },                                                                                      \
    { "voucher-life", "how long those last; default 20m", .member = "change.voucher_life" },                                       \
    { "server-keygen", "may its devices have their keys made here (EST serverkeygen)?", .kind = BM_WORD_YESNO,                     \
      .member = "change.server_keygen" },                                                                                          \
    { "server-keygen-encrypted", "and then only encrypted to a key of the device?", .kind = BM_WORD_YESNO,                         \
      .member = "change.server_keygen_encrypted" },                                                                                \
        { "revoke-unconfirmed", "revoke what a device got over CMP and did not confirm in time?", .kind = BM_WORD_YESNO,           \
          .member = "change.revoke_unconfirmed" }

#define SERVICE                                                                                                                    \
    TITLE, { "profile", "certificate profile; default: the product's" },                                                           \
        { "org", "who runs it, and whose tokens then reach it" },                                                                  \
        { "endpoint", "URI the device connects to", .kind = BM_WORD_MANY, .member = "endpoints", .value = "URI" }

/* What a manifest says of itself, and who signs it. */
#define MANIFEST                                                                                                                   \
    { "out", "the manifest", .needed = true, .value = "FILE" },                                                                    \
    { "id", "its id, unique for the issuer; no blanks", .needed = true },                                                          \
    { "issuer", "organisation, as the importer knows it", .needed = true },                                                        \
    { "product", "name of the product" },                                                                                          \
    { "key", "signing key, PEM", .value = "FILE" },                                                                                \
    { "cert", "its certificate, PEM", .value = "FILE" },                                                                           \
    { "new-signer", "make signing key and certificate in this folder first", .value = "DIR" },                                     \
    { "organisation", "name in that certificate; default: --issuer" }

const struct bm_verb bm_verbs[] = {
    { "init", "", NULL, "Make a registry: keys, certification authorities, audit log",
      .options = { { "organisation", "name in the subjects of its certificates; default Birthmark" },
                   { "ca-alg", "keys of the certification authorities: EC:P-256 (default), EC:P-384, ED25519, RSA:3072 ...",
                     .value = "ALG", .values = ALGS },
                   { "root-key", "key of the root in a token, pkcs11:token=LABEL;object=LABEL (docs/hsm.md); default: a file here", .value = "URI" },
                   { "issuing-key", "the same for the issuing CA", .value = "URI" },
                   { "existing-keys", "these are in the token already; default: they are made there", .kind = BM_WORD_FLAG },
                   { "store", "where the registry is kept: sqlite:PATH or postgres:...; default sqlite:DIR/registry.db", .value = "ADDRESS" },
                   { "tls-host", "name or address devices reach the server by", .kind = BM_WORD_LIST, .value = "HOST" } },
      .run = bm_cli_init },
    { "serve", "", NULL, "Serve devices and administrators, until stopped",
      .options = { { "config", "configuration; default DIR/birthmark.conf, if there is one", .value = "FILE" },
                   { "listen", "where, in place of what is configured", .value = "HOST:PORT" },
                   { "listen-http", "where to serve CRLs and OCSP without TLS", .value = "HOST:PORT" },
                   { "listen-metrics", "where to tell Prometheus and load balancers how the server is", .value = "HOST:PORT" },
                   { "workers", "worker processes; 0: one per processor" },
                   { "log-level", "error, warn, info or debug", .value = "LEVEL", .values = "error warn info debug" } },
      .run = bm_cli_serve },
    { "status", "", "status", "Show how the registry is: counts, certification authorities, warnings",
      .run = bm_cli_status },
    { "why", "", "why", "Tell what happened to a device, a certificate or a request, and why",
      .args = { { "id", "UDID, serial number, or the correlation id of a request", .needed = true } },
      .options = { { "limit", "at most this many events, the newest", .kind = BM_WORD_INT } },
      .run = bm_cli_why },

    { "org", "create", "org.create", "Add an organisation",
      .args = NAME("a-z, 0-9, '.', '_' and '-'"),
      .options = { { "role", "chip-maker, contract-manufacturer, oem, service-operator or auditor", .needed = true,
                     .values = "chip-maker contract-manufacturer oem service-operator auditor" }, TITLE },
      .next = "birthmark product create PRODUCT --org {}, or birthmark org trust {} CERT.pem --purpose manifest" },
    { "org", "list", "org.list", "List organisations",
      .options = { AFTER, LIMIT },
      .rows = "rows", .columns = "name role title created_at=CREATED" },
    { "org", "show", "org.show", "Show an organisation and whom it trusts", .args = NAME("the organisation") },
    { "org", "trust", "org.trust", "Trust an organisation's certificates",
      .args = { { "org", "the organisation", .needed = true },
                { "file", "certificates, PEM", .kind = BM_WORD_BLOB, .needed = true } },
      .options = { { "purpose", "manifest: they may sign manifests; birth: they anchor birth certificates; registrar: of its network, for vouchers; masa: of its MASA's TLS",
                     .needed = true, .values = "manifest birth registrar masa" } } },

    { "product", "create", "product.create", "Add a product: a device model and its policy",
      .args = NAME("a-z, 0-9, '.', '_' and '-'"),
      .options = { { "org", "the organisation that makes it", .needed = true }, TITLE, POLICY },
      .prepare = bm_cli_merge_policy,
      .next = "birthmark batch create BATCH --product {} --quota N" },
    { "product", "set", "product.set", "Change a product; what is not named stays",
      .args = NAME("the product"), .options = { TITLE, POLICY },
      .prepare = bm_cli_merge_policy },
    { "product", "list", "product.list", "List products",
      .options = { AFTER, LIMIT },
      .rows = "rows", .columns = "name org title created_at=CREATED" },
    { "product", "show", "product.show", "Show a product and its policy", .args = NAME("the product") },

    { "policy", "test", "policy.test", "Say what a certificate request would get, or be refused for; nothing is issued",
      .options = { { "csr", "the certificate request, PEM or DER; - for standard input", .needed = true, .value = "FILE" },
                   { "udid", "the device that asks, with the key it is registered by", .value = "UDID" },
                   { "certificate", "the certificate it shows, PEM, and perhaps what stands above it", .value = "FILE" },
                   { "code", "the one-time code it comes with; give --udid or --batch too" },
                   { "batch", "the batch it says it is of" },
                   { "service", "what the certificate is for; default: the product's first service" },
                   { "protocol", "how it comes: est (default), onboard, cmp, scep, acme ...", .values = "est onboard cmp scep acme" },
                   { "reenrol", "it renews the certificate it shows", .kind = BM_WORD_FLAG },
                   { "keygen", "the key is to be made here", .kind = BM_WORD_FLAG } },
      .run = bm_cli_policy_test,
      .notes = "Judged by the code that enrols, with nothing written and no quota, code or serial number used. The exit\n"
               "status is 1 when the request would be refused.\n" },

    { "batch", "create", "batch.create", "Add a batch: a production order with a quota",
      .args = NAME("a-z, 0-9, '.', '_' and '-'"),
      .options = { { "product", "what is made", .needed = true },
                   { "quota", "how many devices may become active", .kind = BM_WORD_INT, .needed = true },
                   { "ca", "issuing CA; default: the registry's" },
                   { "maker", "the contract manufacturer, whose tokens then reach it" } },
      .next = "birthmark manifest import FILE --batch {}" },
    { "batch", "set", "batch.set", "Change a batch; what is not named stays",
      .args = NAME("the batch"),
      .options = { { "quota", "how many devices may become active", .kind = BM_WORD_INT },
                   { "state", "open or closed", .values = "open closed" },
                   { "ca", "issuing CA" },
                   { "maker", "the contract manufacturer, whose tokens then reach it; \"\": none" } } },
    { "batch", "close", "batch.set", "Close a batch: no further device of it becomes active",
      .args = NAME("the batch"), .fixed = "state=closed" },
    { "batch", "open", "batch.set", "Open a closed batch again",
      .args = NAME("the batch"), .fixed = "state=open" },
    { "batch", "compromise", "batch.compromise", "Close a batch and mark all its devices as compromised; what they hold is revoked",
      .args = NAME("the batch"), .options = { REASON }, .run = bm_cli_follow },
    { "batch", "list", "batch.list", "List batches",
      .options = { { "product", "only of this product" }, AFTER, LIMIT },
      .rows = "rows", .columns = "name product state quota used ca created_at=CREATED" },
    { "batch", "show", "batch.show", "Show a batch", .args = NAME("the batch") },

    { "service", "create", "service.create", "Add a service: what a credential is for",
      .args = NAME("a-z, 0-9, '.', '_' and '-'"),
      .options = { { "kind", "mqtt, https, aws-iot, azure-dps, lorawan, generic ...", .needed = true, .values = KINDS }, SERVICE },
      .next = "birthmark product set PRODUCT --services {}" },
    { "service", "set", "service.set", "Change a service; what is not named stays",
      .args = NAME("the service"), .options = { { "kind", "mqtt, https ...", .values = KINDS }, SERVICE } },
    { "service", "list", "service.list", "List services",
      .options = { AFTER, LIMIT },
      .rows = "rows", .columns = "name kind profile endpoints title" },
    { "service", "show", "service.show", "Show a service", .args = NAME("the service") },

    { "profile", "list", "profile.list", "List certificate profiles",
      .rows = "rows", .columns = "name" },
    { "profile", "show", "profile.show", "Print a certificate profile as JSON", .args = NAME("the profile"),
      .run = bm_cli_profile_show },
    { "profile", "set", "profile.set", "Add or replace a certificate profile",
      .args = { { "name", "the profile", .needed = true }, { "file", "the profile, JSON", .kind = BM_WORD_BLOB, .needed = true } },
      .notes = "'birthmark profile show ldevid > FILE' gives one to start from. Certificates that are\n"
               "issued already stay as they are." },

    { "ca", "create", "ca.create", "Add an issuing certification authority",
      .args = { { "name", "a-z, 0-9, '.', '_' and '-'", .needed = true } },
      .options = { { "parent", "the CA that signs it", .needed = true },
                   { "alg", "EC:P-256 (default), EC:P-384, ED25519, RSA:3072 ...", .values = ALGS },
                   { "profile", "certificate profile; default issuing-ca" },
                   { "org", "organisation in its subject" },
                   { "key", "keep its key in a token: pkcs11:token=LABEL;object=LABEL (docs/hsm.md)", .value = "URI" },
                   { "existing-key", "that key is in the token already; default: it is made there", .kind = BM_WORD_FLAG } },
      .next = "birthmark ca default {}, or birthmark batch set BATCH --ca {}" },
    { "ca", "list", "ca.list", "List certification authorities",
      .options = { AFTER, LIMIT },
      .rows = "rows", .columns = "name parent state alg not_after=EXPIRES revoked_at=REVOKED successor hands_over_at=FROM" },
    { "ca", "show", "ca.show", "Show a certification authority", .args = NAME("the CA") },
    { "ca", "rotate", "ca.rotate", "Hand a CA's lines over to a new one with a new key, under the same parent",
      .args = NAME("the CA"),
      .options = { { "successor", "name of the new one; default: NAME-2, NAME-3 ..." },
                   { "at", "from when on it issues: a date, or \"7d\"; default: now", .value = "TIME" },
                   { "alg", "its key; default: as the old one's", .values = ALGS },
                   { "profile", "certificate profile; default issuing-ca" },
                   { "parent", "another CA to sign it" },
                   { "key", "keep its key in a token: pkcs11:token=LABEL;object=LABEL (docs/hsm.md)", .value = "URI" },
                   { "existing-key", "that key is in the token already; default: it is made there", .kind = BM_WORD_FLAG } },
      .next = "when all that '{}' issued has expired: birthmark ca retire {}",
      .notes = "The old CA's certificates stay good, and it goes on signing its CRLs and OCSP answers." },
    { "ca", "retire", "ca.retire", "Retire a CA that has handed over and has nothing valid left", .args = NAME("the CA") },
    { "ca", "default", "ca.default", "Choose the CA for products and batches that name none", .args = NAME("the CA") },
    { "ca", "revoke", "ca.revoke", "Revoke a certification authority; it issues nothing any more",
      .args = NAME("the CA"), .options = { REASON } },
    { "ca", "compromise", "ca.compromise", "A certification authority's key is in wrong hands: revoke it and all it issued",
      .args = NAME("the CA"), .options = { { "default", "the CA that issues from now on, when this one does by default" } },
      .run = bm_cli_follow },
    { "ca", "export", "ca.show", "Write a CA's certificate",
      .args = NAME("the CA"),
      .options = { OUT, { "chain", "add the certificates above it, up to the root", .kind = BM_WORD_FLAG },
                   { "der", "as DER instead of PEM", .kind = BM_WORD_FLAG } },
      .run = bm_cli_export },

    { "crl", "show", "crl.show", "Show a CA's revocation list: number, times, entries",
      .args = NAME("the CA"),
      .notes = "Made now if something was revoked since, or half its life is over. Devices and brokers get it\n"
               "at /crl/NAME.crl, what is new in it at /crl/NAME-delta.crl." },
    { "crl", "export", "crl.export", "Write a CA's revocation list",
      .args = NAME("the CA"),
      .options = { OUT, { "delta", "only what is new since the oldest list still in force", .kind = BM_WORD_FLAG },
                   { "der", "as DER instead of PEM", .kind = BM_WORD_FLAG } },
      .run = bm_cli_crl_export },

    { "device", "list", "device.list", "List devices",
      .options = { { "state", "registered, allocated, active, suspended, retired or compromised",
                     .values = "registered allocated active suspended retired compromised" },
                   { "batch", "only of this batch" },
                   { "product", "only of this product" }, AFTER, LIMIT },
      .rows = "rows", .columns = "id udid state rot product batch owner" },
    { "device", "show", "device.show", "Show a device and its credentials", .args = UDID },
    { "device", "allocate", "device.allocate", "Put a registered device into a batch",
      .args = { { "udid", "the device: 64 hex digits", .needed = true }, { "batch", "the batch", .needed = true } } },
    { "device", "suspend", "device.suspend", "Suspend a device: it gets nothing until it is resumed", .args = UDID,
      .options = { REASON } },
    { "device", "resume", "device.resume", "Resume a suspended device", .args = UDID, .options = { REASON } },
    { "device", "retire", "device.retire", "Retire a device for good; what it holds is revoked", .args = UDID,
      .options = { REASON } },
    { "device", "compromise", "device.compromise", "Mark a device as compromised; what it holds is revoked", .args = UDID,
      .options = { REASON } },
    { "device", "reset", "device.reset", "Factory reset: what it holds is revoked; it enrols again and stays in its batch", .args = UDID,
      .options = { REASON } },
    { "device", "offer", "device.offer", "Offer a device to a new owner, who has to accept it",
      .args = { { "udid", "the device: 64 hex digits", .needed = true }, { "org", "the new owner", .needed = true } },
      .options = { AS("the owner, who offers it"), { "until", "when the offer ends: a date, or a time from now; default 30d", .value = "WHEN" } },
      .next = "birthmark device accept {} --as NEW-OWNER" },
    { "device", "accept", "device.accept", "Accept a device: it gets a new owner, what it holds is revoked and it enrols again", .args = UDID,
      .options = { AS("whom the device was offered to") } },
    { "device", "decline", "device.decline", "Decline a device that was offered", .args = UDID,
      .options = { AS("whom the device was offered to") } },
    { "device", "withdraw", "device.withdraw", "Take an offer back", .args = UDID, .options = { AS("the owner, who offered it") } },
    { "device", "offers", "offer.list", "List the offers that wait for an answer",
      .options = { { "giver", "only of this organisation" }, { "taker", "only to this organisation" }, AFTER, LIMIT },
      .rows = "rows", .columns = "id udid giver taker until actor" },
    { "device", "transfer", "device.transfer", "Give a device to a new owner without asking either side",
      .args = { { "udid", "the device: 64 hex digits", .needed = true }, { "org", "the new owner", .needed = true } },
      .options = { { "force", "yes, without their consent; the history will say so", .kind = BM_WORD_FLAG } } },
    { "device", "rent", "device.rent", "Give a device to another organisation until an end date",
      .args = { { "udid", "the device: 64 hex digits", .needed = true }, { "org", "the tenant", .needed = true } },
      .options = { AS("the owner, who rents it out"),
                   { "until", "when it goes back: a date, or a time from now such as 90d", .needed = true, .value = "WHEN" } } },
    { "device", "extend", "device.extend", "Let a rental last longer", .args = UDID,
      .options = { { "until", "when it goes back: a date, or a time from now such as 90d", .needed = true, .value = "WHEN" } } },
    { "device", "return", "device.return", "End a rental now", .args = UDID },
    { "device", "rentals", "rental.list", "List the rentals that run",
      .options = { { "owner", "only of this organisation" }, { "tenant", "only to this organisation" }, AFTER, LIMIT },
      .rows = "rows", .columns = "id udid owner tenant since until" },
    { "device", "history", "device.history", "Show whose a device has been", .args = UDID, .options = { AFTER, LIMIT },
      .rows = "rows", .columns = "at how from to until revoked actor" },

    { "device", "bulk", "bulk.start", "Do one of these acts to many devices, and go on after a break",
      .args = { { "act", "suspend, resume, retire, compromise, reset or transfer", .needed = true,
                  .values = "suspend resume retire compromise reset transfer" } },
      .options = { { "state", "devices in this state", .values = "registered allocated active suspended retired compromised" },
                   { "batch", "devices of this batch" }, { "product", "devices of this product" }, { "owner", "devices of this owner" },
                   { "service", "devices with a live certificate for this service" },
                   { "file", "these devices: a UDID a line; - for standard input", .value = "FILE" },
                   { "org", "the new owner, for transfer" }, REASON,
                   { "dry-run", "change nothing; say what would be done, and what would be refused", .kind = BM_WORD_FLAG },
                   { "detach", "leave it to the server and do not wait", .kind = BM_WORD_FLAG } },
      .run = bm_cli_device_bulk,
      .notes = "Options that choose devices are taken together: a device has to fit all of them. The work is a job in the registry\n"
               "(birthmark bulk list): it goes on when this command, or the server, is stopped.\n" },

    { "bulk", "list", "bulk.list", "List jobs",
      .options = { { "state", "only those that are so", .values = "filling running done cancelled" }, AFTER, LIMIT },
      .rows = "rows", .columns = "id act state total looked_at done already refused revoked created_at=CREATED" },
    { "bulk", "show", "bulk.show", "Show a job and what was refused", .args = JOB, .options = { AFTER, LIMIT } },
    { "bulk", "resume", "bulk.resume", "Go on with a job, and show how far it is", .args = JOB, .run = bm_cli_bulk_resume },
    { "bulk", "cancel", "bulk.cancel", "Stop a job; what it has done stays done", .args = JOB },

    { "key", "show", "key.show", "Show the key-encryption keys, root keys and the import key; never a secret" },
    { "key", "import-key", "key.import", "Print the public key that chip makers seal secret keys to",
      .options = { OUT },
      .run = bm_cli_import_key,
      .notes = "Made by the first call. 'birthmark manifest make --encrypt-to FILE' takes it." },
    { "key", "add", "key.add", "Register one device with a secret key, which comes on standard input",
      .args = { { "id", "the chip's identifier, hex digits", .needed = true } },
      .options = { { "org", "who made it", .needed = true },
                   { "rot", "symmetric-chip or symmetric-software", .needed = true,
                     .values = "symmetric-chip symmetric-software" },
                   { "mac", "how it makes its MAC", .needed = true, .values = MACS },
                   { "root", "the root key that its key is derived from; standard input is not read" },
                   { "batch", "put it into this batch" } },
      .run = bm_cli_key_add,
      .notes = "Standard input holds the secret as hex digits. It is sealed before it leaves this command." },
    { "key", "add-root", "key.root", "Take in a root key, from which keys of devices are derived; it comes on standard input",
      .args = NAME("a-z, 0-9, '.', '_' and '-'"),
      .options = { { "org", "whose devices may use it", .needed = true },
                   { "kdf", "how keys are derived", .needed = true, .values = KDFS } },
      .run = bm_cli_key_add_root,
      .notes = "Standard input holds the root key as hex digits. It is sealed before it leaves this command." },
    { "key", "rotate", "key.rotate", "Seal all secret keys with a new key-encryption key, and destroy the old one",
      .options = { { "resume", "go on with a rotation that was interrupted", .kind = BM_WORD_FLAG } },
      .run = bm_cli_key_rotate,
      .notes = "The server may run, and serves on. One that was interrupted goes on by itself when a server runs." },

    { "cert", "list", "cert.list", "List certificates of devices",
      .options = { { "udid", "only of this device" }, { "state", "active or revoked", .values = "active revoked" },
                   { "service", "only for this service" },
                   AFTER, LIMIT },
      .rows = "rows", .columns = "id serial udid service state not_after=EXPIRES" },
    { "cert", "lint", NULL, "Say what is wrong with certificates by RFC 5280, IEEE 802.1AR and their neighbours",
      .args = { { "file", "certificates, PEM, or one in DER; - for standard input", .needed = true } },
      .rows = "findings", .columns = "certificate level rule section what",
      .run = bm_cli_cert_lint,
      .notes = "Anybody's certificates, without a registry. The exit status is 1 when a rule is broken; recommendations\n"
               "are shown and do not count. Signatures and dates are not looked at.\n" },
    { "cert", "show", "cert.show", "Show a certificate", .args = { { "serial", "32 hex digits", .needed = true } } },
    { "cert", "revoke", "cert.revoke", "Revoke a certificate",
      .args = { { "serial", "32 hex digits", .needed = true } }, .options = { REASON } },
    { "cert", "export", "cert.show", "Write a certificate",
      .args = { { "serial", "32 hex digits", .needed = true } },
      .options = { OUT, { "der", "as DER instead of PEM", .kind = BM_WORD_FLAG } },
      .run = bm_cli_export },

    { "approval", "list", "approval.list", "List requests that wait for approval, and those decided of late",
      .options = { { "state", "waiting, approved, denied or used", .values = "waiting approved denied used" },
                   { "batch", "only of this batch" }, { "udid", "only of this device" }, AFTER, LIMIT },
      .rows = "rows", .columns = "id=NUMBER state udid service product batch protocol peer created_at=ASKED decided_by=BY",
      .notes = "'birthmark why UDID' tells more about the device. A row goes 30 days after it was asked or decided." },
    { "approval", "approve", "approval.approve", "Let a device have the certificate that it asks for", .args = APPROVAL },
    { "approval", "deny", "approval.deny", "Refuse a device the certificate that it asks for", .args = APPROVAL },
    { "voucher", "masa", "voucher.masa", "Say which CA vouchers are signed under, and show what devices are to trust",
      .args = { { "ca", "a CA of its own: birthmark ca create NAME --parent root --profile masa-ca", .needed = true } },
      .options = { { "url", "what stands in IDevIDs as the place to ask: HOST:PORT, or an https URL" } } },
    { "voucher", "issue", "voucher.issue", "Make a voucher without nonce, for a device that nobody can reach",
      .args = UDID,
      .options = { { "cert", "the certificate the device is to trust, PEM; default: this registry's root", .kind = BM_WORD_BLOB },
                   { "valid", "how long, or until when: 12h, 7d (default), 2030-01-31T12:00:00Z; at most 365d", .value = "TIME" },
                   { "out", "write it to this file, as the device takes it (CMS)", .value = "FILE" } },
      .run = bm_cli_voucher_issue,
      .notes = "The device trusts that network until then, without anybody being asked. Its owner has to be trusted\n"
               "for the certificate: birthmark org trust ORG FILE --purpose registrar." },
    { "voucher", "list", "voucher.list", "List vouchers and what the devices made of them",
      .options = { { "udid", "only of this device" }, { "org", "only for this organisation's network" }, AFTER, LIMIT },
      .rows = "rows", .columns = "id udid serial_number org assertion created_at=CREATED expires_at=EXPIRES told enrolled" },
    { "voucher", "show", "voucher.show", "Show a voucher that was issued",
      .args = { { "number", "its number", .kind = BM_WORD_INT, .needed = true } } },

    { "claim", "create", "claim.create", "Make a claim: who has its code may take a device, a batch or a list of devices",
      .options = { { "batch", "all devices of this batch, as they are when the claim is taken" },
                   { "udid", "this device: 64 hex digits" },
                   { "devices", "these devices: UDIDs, one a line, at most 5000", .kind = BM_WORD_BLOB },
                   { "from", "who gives; default: the owner, of a batch the product's organisation", .member = "from_org" },
                   { "valid", "how long, or until when: 12h, 365d (default), 2030-01-31T12:00:00Z; at most 10y", .value = "TIME" },
                   { "note", "a few words for people" },
                   { "prefix", "what stands before the code in the QR code; default BIRTHMARK:CLAIM:", .value = "URI" },
                   { "qr", "draw the QR code: text (for a terminal), svg or png", .values = "text svg png" },
                   { "out", "the QR code into this file; only its owner can read it", .value = "FILE" } },
      .run = bm_cli_claim_create,
      .notes = "The code is shown this once; the registry keeps a digest. docs/codes.md has the syntax of the QR code." },
    { "claim", "take", "claim.take", "Take what a claim stands for, for an organisation",
      .args = { { "claim", "the code, or what the QR code says", .needed = true } },
      .options = { { "as", "the organisation that takes it", .needed = true, .member = "org" } },
      .run = bm_cli_claim_take,
      .notes = "What the devices hold is revoked and they enrol again. A reel goes on in steps: interrupted, the same\n"
               "command goes on where it stopped. 'passed' counts devices that have changed hands otherwise since." },
    { "claim", "list", "claim.list", "List claims and what became of them, not their codes",
      .options = { { "batch", "only of this batch" }, { "udid", "only of this device" }, { "owner", "only taken by this organisation" },
                   AFTER, LIMIT },
      .rows = "rows", .columns = "id batch udid giver owner moved passed expires_at=EXPIRES done_at=DONE revoked_at=REVOKED note" },
    { "claim", "revoke", "claim.revoke", "Revoke a claim; devices it has moved stay moved",
      .args = { { "number", "its number in the list", .kind = BM_WORD_INT, .needed = true } } },
    { "eab", "create", "eab.create", "Make a key with which clients make ACME accounts; it is shown this once",
      .options = { { "batch", "for devices of this batch" }, { "product", "for devices of this product" },
                   { "org", "for devices of this organisation" },
                   { "names", "names and addresses it may order certificates for, too: \"*.gw.example.org 10.0.0.0/8\"" },
                   { "uses", "how many accounts; default 1", .kind = BM_WORD_INT },
                   { "valid", "how long, or until when: 12h, 90d (default), 2030-01-31T12:00:00Z; at most 10y", .value = "TIME" },
                   { "note", "a few words for people" } },
      .notes = "Give 'kid' and 'hmac_key' to the client (external account binding, RFC 8555 section 7.3.4): docs/acme.md." },
    { "eab", "list", "eab.list", "List keys for ACME accounts, without the keys themselves",
      .options = { { "batch", "only of this batch" }, { "product", "only of this product" }, AFTER, LIMIT },
      .rows = "rows", .columns = "kid batch product org names used uses expires_at=EXPIRES revoked_at=REVOKED note" },
    { "eab", "revoke", "eab.revoke", "Revoke such a key; accounts made with it may order nothing more",
      .args = { { "kid", "its name in the list", .needed = true } } },
    { "acme-account", "list", "acme-account.list", "List ACME accounts",
      .options = { { "kid", "only made with this key" }, { "status", "valid, deactivated or revoked" }, AFTER, LIMIT },
      .rows = "rows", .columns = "id status kid contact created_at=CREATED" },
    { "acme-account", "revoke", "acme-account.revoke", "Revoke an ACME account; its certificates stay as they are",
      .args = { { "number", "its number in the list", .kind = BM_WORD_INT, .needed = true } } },
    { "code", "create", "code.create", "Make one-time codes for a batch or for devices; they are shown this once",
      .options = { { "batch", "a device with this code may join the batch, if the product allows self-registration" },
                   { "udid", "the code stands for this device: 64 hex digits" },
                   { "devices", "a code for each device: UDIDs, one a line, \"-\" for standard input", .value = "FILE" },
                   { "uses", "of a batch's code: how many devices may use it; default 1", .kind = BM_WORD_INT },
                   { "count", "how many codes for the batch; default 1", .kind = BM_WORD_INT },
                   { "valid", "how long, or until when: 12h, 30d (default), 2030-01-31T12:00:00Z; at most 10y", .value = "TIME" },
                   { "for", "cmp: the secret of a MAC, kept sealed; its number is the reference", .values = "cmp" },
                   { "note", "a few words for people" },
                   { "out", "write them to this file, for a printer; only its owner can read it", .value = "FILE" } },
      .run = bm_cli_code_create,
      .notes = "The registry keeps a digest only, but of those for CMP (docs/cmp.md). A device shows its code as HTTP Basic over EST (user: UDID or batch,\n"
               "password: code) or as the member 'code' of Onboard: docs/codes.md." },
    { "code", "list", "code.list", "List one-time codes and their uses, not the codes themselves",
      .options = { { "batch", "only of this batch" }, { "udid", "only of this device" }, AFTER, LIMIT },
      .rows = "rows", .columns = "id batch udid used uses expires_at=EXPIRES revoked_at=REVOKED note" },
    { "code", "revoke", "code.revoke", "Revoke a one-time code; what it has let in stays",
      .args = { { "number", "its number in the list", .kind = BM_WORD_INT, .needed = true } } },

    { "manifest", "make", NULL, "Sign a list of identities, for whoever imports it",
      .args = { { "file", "lines of JSON, \"-\" for standard input", .needed = true } },
      .options = { MANIFEST, { "batch", "name of the batch" },
                   { "encrypt-to", "the registry's import key, PEM: secrets of devices are sealed to it", .value = "FILE" } },
      .run = bm_cli_manifest_make,
      .notes = "A line holds {\"key\": SubjectPublicKeyInfo as base64url, \"rot\": kind} and may hold \"udid\",\n"
               "\"birth\" (certificate, base64url) and \"attributes\" (an object). A device without a key pair has \"id\"\n"
               "(base64url), \"mac\" and, in place of \"key\", one of \"sealed\" (JWE), \"root\" (name of a root key) or, on\n"
               "standard input only and with --encrypt-to, \"secret\" (base64url). Bad lines are reported\n"
               "and left out; the exit status is then 1." },
    { "manifest", "import", NULL, "Register the devices of a manifest",
      .args = { { "file", "the manifest, \"-\" for standard input", .needed = true } },
      .options = { { "batch", "put its devices into this batch" },
                   { "format", "auto (default), birthmark or microchip", .values = FORMATS },
                   { "dry-run", "check everything, change nothing", .kind = BM_WORD_FLAG },
                   { "report", "write every refused line to this file, as lines of JSON", .value = "FILE" } },
      .run = bm_cli_manifest_import,
      .notes = "The signer must be pinned: 'birthmark org trust ORG CERT.pem --purpose manifest'.\n"
               "An import that was interrupted goes on where it stopped when the same command runs again; nothing is\n"
               "counted twice. The exit status is 1 when any entry was refused." },
    { "manifest", "export", NULL, "Write the devices of a batch as a signed manifest",
      .options = { { "batch", "the batch", .needed = true }, MANIFEST },
      .run = bm_cli_manifest_export },
    { "manifest", "verify", NULL, "Check a manifest without a registry",
      .args = { { "file", "the manifest, \"-\" for standard input", .needed = true } },
      .options = { { "signer", "certificates to trust, PEM: the signer's own or that of its CA", .kind = BM_WORD_BLOB,
                     .needed = true },
                   { "format", "auto (default), birthmark or microchip", .values = FORMATS } },
      .run = bm_cli_manifest_verify },
    { "manifest", "list", "manifest.list", "List the manifests that were imported",
      .options = { AFTER, LIMIT },
      .rows = "rows", .columns = "id org batch format entries bad complete created_at=STARTED" },

    { "log", "head", "log.head", "Show the audit log's signed head",
      .options = { LOG },
      .notes = "Keep it ('birthmark log head --json > head.json') somewhere else: 'birthmark log verify --against head.json'\n"
               "then proves that nothing was taken out or changed since." },
    { "log", "entries", "log.entries", "Print entries of the audit log",
      .args = { { "from", "first entry; default 0", .kind = BM_WORD_INT },
                { "to", "the entry after the last", .kind = BM_WORD_INT } },
      .options = { LOG },
      .rows = "entries", .columns = "index at data",
      .run = bm_cli_log_entries },
    { "log", "inclusion", "log.inclusion", "Prove that an entry is in the log, and check the proof",
      .args = { { "index", "the entry", .kind = BM_WORD_INT, .needed = true } },
      .options = { { "size", "of the log; default: now", .kind = BM_WORD_INT }, LOG },
      .run = bm_cli_log_proof },
    { "log", "consistency", "log.consistency", "Prove that a smaller log is the beginning of a larger one, and check the proof",
      .args = { { "from", "size of the smaller log", .kind = BM_WORD_INT, .needed = true },
                { "to", "size of the larger log", .kind = BM_WORD_INT, .needed = true } },
      .options = { LOG },
      .run = bm_cli_log_proof },
    { "log", "verify", NULL, "Compute the whole log again and check every signed head",
      .options = { { "key", "the log's public key, PEM; default: the one in the registry", .value = "FILE" },
                   { "against", "a head kept from earlier ('birthmark log head --json'), which must be part of the log",
                     .value = "FILE" },
                   LOG, { "all", "the logs of all hosts, those removed too", .kind = BM_WORD_FLAG } },
      .run = bm_cli_log_verify,
      .notes = "Reads the registry's database itself, whether or not a server runs. With --key the check does not\n"
               "depend on what the registry says about its own key." },

    { "host", "add", "host.add", "Expect one more host: it may join",
      .args = NAME("of the new host: a-z, 0-9, '.', '_' and '-'"),
      .next = "copy the secret to the new host's data folder; there: birthmark join {} --store postgres:..." },
    { "host", "list", "host.list", "List the hosts of the registry",
      .rows = "rows", .columns = "number name state this joined_at=JOINED log_signed=SIGNED log_key=KEY" },
    { "host", "remove", "host.remove", "Let a host write no more: it is gone for good",
      .args = NAME("the host"),
      .notes = "What it had leased of quotas is used by the others. Its audit log stays and is verified with the rest." },
    { "join", "", NULL, "Make the data folder of one more host of a registry in PostgreSQL",
      .args = { { "name", "this host, as 'birthmark host add' said it", .needed = true } },
      .options = { { "store", "the registry: postgres:...", .needed = true, .value = "ADDRESS" },
                   { "tls-host", "name or address devices reach this server by", .kind = BM_WORD_LIST, .value = "HOST" } },
      .run = bm_cli_join,
      .notes = "The secret of the registry must be in the folder already, as DIR/secret (mode 0400), or --secret-file names it." },

    { "backup", "", NULL, "Copy the registry, its audit log and its sealed keys; the server may run",
      .options = { { "out", "a new folder", .needed = true, .value = "DIR" } },
      .run = bm_cli_backup,
      .notes = "The copy is read back, and its audit log computed again, before it is called a backup. The secret that\n"
               "seals the keys is not in it: keep that elsewhere. 'birthmark restore' takes it." },
    { "restore", "", NULL, "Make a data folder from a backup",
      .options = { { "from", "the backup", .needed = true, .value = "DIR" },
                   { "store", "where the registry goes: sqlite:PATH or postgres:...; default sqlite:DIR/registry.db", .value = "ADDRESS" },
                   { "journal", "run again what the journal in this folder holds since the backup", .value = "DIR" },
                   { "until", "no further than this record of the journal", .kind = BM_WORD_INT } },
      .run = bm_cli_restore,
      .notes = "Every file, every row and the audit log are checked before anything is written; a damaged backup is\n"
               "refused. --data names the folder, which must be empty or not there. With --journal the registry becomes\n"
               "what it was at its last commit; a journal that is damaged or does not join the backup is refused, and\n"
               "nothing is restored." },
    { "journal", "head", "journal.show", "Show where the journal that is being written stands" },
    { "journal", "rotate", "journal.rotate", "Let the next record begin a new segment; 'backup' does it by itself" },
    { "journal", "list", NULL, "Show the segments of the journal, and what is in them",
      .options = { JOURNAL },
      .rows = "segments", .columns = "segment chain first last since bytes state",
      .run = bm_cli_journal_list },
    { "journal", "show", NULL, "Show records of the journal: one for each transaction",
      .args = { { "from", "first record; default: all", .kind = BM_WORD_INT },
                { "to", "last record; default: the first", .kind = BM_WORD_INT } },
      .options = { JOURNAL },
      .rows = "records", .columns = "record at log items bytes",
      .run = bm_cli_journal_show,
      .notes = "With --json each record comes with its statements and their values." },
    { "journal", "verify", NULL, "Read the whole journal and check that nothing is missing or damaged",
      .options = { JOURNAL },
      .rows = "chains", .columns = "chain first last records cut_off_bytes=CUT-OFF",
      .run = bm_cli_journal_verify },
    { "journal", "prune", NULL, "Remove the segments that a backup and later ones do not need",
      .options = { { "backup", "the oldest backup that is to be restored with the journal", .needed = true, .value = "DIR" }, JOURNAL },
      .run = bm_cli_journal_prune,
      .notes = "The backup is checked from end to end first." },
    { "migrate", "", NULL, "Move the registry into another database; the server must not run",
      .options = { { "to", "sqlite:PATH or postgres:...", .needed = true, .value = "ADDRESS" } },
      .run = bm_cli_migrate,
      .notes = "All of it or nothing: every row is read back and the audit log computed again before it counts. The\n"
               "configuration then names the new place, and a registry.db of the data folder is put aside." },

    { "token", "create", "token.create", "Make a token for the Admin API; its secret is shown this once",
      .args = NAME("a-z, 0-9, '.', '_' and '-'; the audit log names it"),
      .options = { { "role", "what it may do: administrator, operator, auditor, contract-manufacturer, oem, service-operator", .needed = true,
                     .values = "administrator operator auditor contract-manufacturer oem service-operator" },
                   { "org", "for the last three: the organisation whose things it reaches" },
                   { "expires", "a duration like 90d (the default), a time, or never", .value = "WHEN" } } },
    { "token", "list", "token.list", "List tokens; last use is known to the hour",
      .options = { AFTER, LIMIT },
      .rows = "rows", .columns = "name role org expires_at=EXPIRES revoked_at=REVOKED last_used_at=USED" },
    { "token", "show", "token.show", "Show a token, without its secret", .args = NAME("the token") },
    { "token", "revoke", "token.revoke", "Revoke a token; its next call is refused", .args = NAME("the token") },
    { "api", "openapi", NULL, "Print the OpenAPI 3.1 description of the Admin API", .run = bm_cli_api_openapi },

    { "config", "check", NULL, "Check the configuration",
      .args = { { "file", "the file; default DIR/birthmark.conf" } },
      .run = bm_cli_config_check },
    { "config", "show", NULL, "Show the settings in force",
      .args = { { "file", "the file; default DIR/birthmark.conf" } },
      .run = bm_cli_config_show },
    { "config", "keys", NULL, "Explain every key, as a file that could be used as it stands",
      .run = bm_cli_config_keys },
    { "clock", "accept", "clock.accept", "Issue again although the clock went back: it was set back on purpose" },
    { "refusals", "list", "refusal.list", "List what was refused to devices",
      .options = { { "udid", "only of this device" }, { "code", "only with this code" }, AFTER, LIMIT },
      .rows = "rows", .columns = "id at code correlation udid what" },
    { "completion", "bash", NULL, "Print the completion for bash", .run = bm_cli_completion,
      .notes = "To try it: source <(birthmark completion bash). 'make install' puts it where bash finds it." },
    { "completion", "zsh", NULL, "Print the completion for zsh", .run = bm_cli_completion,
      .notes = "To try it: source <(birthmark completion zsh), after compinit." },
    { "completion", "fish", NULL, "Print the completion for fish", .run = bm_cli_completion,
      .notes = "To try it: birthmark completion fish | source" },
    { "completion", "words", NULL, "Print what may follow; the three scripts ask this", .run = bm_cli_completion,
      .notes = "Standard input holds the words after 'birthmark', one a line; the last is the one to complete. Each line\n"
               "of the answer is a word, a tab and what it means; or '@file': a file belongs here. Names in the registry\n"
               "come from a running server, when it answers within a second." },
    { "manual", "", NULL, "Write the manual pages into a folder",
      .args = { { "dir", "a folder; pages in it are replaced", .needed = true } },
      .run = bm_cli_manual },
    { "version", "", NULL, "Print the version", .run = bm_cli_version },
    { 0 },
};
