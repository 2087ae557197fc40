/* The administrator's acts: one table of rows {op, writes, takes a blob, handler}. A request is a JSON object with "op" and the members below;
 * unknown members are BM_USAGE. The answer is a JSON object. Names in [] are optional. Digests, serials and UDIDs are lower-case hex, times RFC 3339, PEM where a
 * certificate is shown. A list answers {"rows": [...], "next": id or null}; ask again with "after": id.
 *
 *   org.create      name role [title]                         role: chip-maker contract-manufacturer oem service-operator auditor
 *   org.list        [after limit]        org.show name        -> the row, "trust": [...]
 *   org.trust       org purpose [crl crl_over]   blob: PEM    purpose: manifest birth attestation registrar masa ra -> {"added": n, "sha256": [...]}
 *                   crl: where their revocation list is fetched, or "none"; crl_over: "use" or "refuse"; lists in the blob (PEM, or one as DER) -> "lists": n
 *   profile.list    profile.show name    profile.set name     blob: the profile's JSON -> {"name", "warnings": [sentences]}
 *   ca.create       name parent [alg profile org key existing_key]    key: URI of one in a token (docs/hsm.md), made there unless existing_key; alg: "EC:P-256" (default) "EC:P-384" "ED25519" "RSA:3072" ...; parent: a CA's name
 *   ca.list         ca.show name -> row with "certificate" PEM   ca.revoke name [reason]
 *   ca.compromise   name [default]                            revoked with cACompromise; a job revokes all it issued -> {"job": id}
 *   ca.rotate       name [successor onto at alg profile parent key existing_key]    a new CA with a new key, which its lines go to from `at` (now) on
 *                   -> {"name", "successor", "from", "key", "certificate"}         ca.retire name: one that handed over, with nothing valid left
 *   ca.request      name [alg key existing_key]               a key for a CA that somebody else signs -> {"name", "key", "csr": PEM}; again: the same key
 *   ca.import       name [root_name]      blob: PEM           its certificate, then its root's, whose key stays where it is
 *                   name [default]        blob: a CRL         of a CA whose key is elsewhere -> {"number", "entries", "next_update", "revoked": [names]}
 *   ca.set          name [crl_partitions crl_url]             its list in so many parts, for new certificates; where they are found: http://HOST/crl
 *   ca.default      name                                      the issuing CA for products and batches that name none
 *   ca.rollover     name new [alg profile key existing_key]   a new key for a root -> {"name", "certificate", "new_with_old", "old_with_new"} PEM
 *   trust.show      name      name: of a service -> {"service", "version", "not_before", "not_after", "previous", "certificates": [...], "jws"}
 *   journal.show    -> {"dir", "chain", "record", "segment"}     journal.rotate    -> the same; the next record begins a segment
 *   service.create  name kind [title profile endpoints org ca]   endpoints: array of URIs; org: who runs it; ca: its certificates come from
 *   service.set     name [title kind profile endpoints org ca]   service.list, service.show name
 *   product.create  name org [title policy]                   policy: keeper/policy.h
 *   product.set     name [title policy]                       product.list, product.show name
 *   policy.test     csr [udid certificate code batch service protocol reenrol keygen]    changes nothing. csr, certificate: PEM; one of
 *                   udid, certificate, code -> {"granted": true, "certificate": {...}, "quota_left" ...} or {"granted": false, "code", "what"}
 *   batch.create    name product quota [ca maker]             batch.set name [quota state ca maker]; state: open closed; maker: contract
 *                                                             manufacturer; batch.list [product]; batch.show name
 *   batch.hook      name url [trust]                          who vouches for challenges in SCEP; url "": nobody; trust: PEM -> {"secret": base64, shown this once}
 *   batch.compromise name [reason]                            closes it; a job marks all its devices -> {"job": id}
 *   device.list     [state batch product full after limit]    device.show udid -> row, "credentials": [...]
 *   device.allocate udid batch                                registered -> allocated
 *   device.suspend  device.resume  device.retire  device.compromise    udid [reason]    retire and compromise revoke what it holds
 *   device.reset    udid [reason]                             active -> allocated: what it holds is revoked; it enrols again, its batch counts it once
 *   device.offer    udid org as [until]                       as: the owner; until: date or "30d" (default); BM_CONFLICT "already-offered"
 *   device.accept   udid as                                   as: whom it is offered to; new owner, what it holds is revoked, it enrols again
 *   device.decline  udid as      device.withdraw udid as      the one side's no, the other's
 *   device.transfer udid org force                            without asking either side; "consent-needed" unless force is true
 *   device.rent     udid org as until                         as: the owner; org owns it until then, when it goes back of itself
 *   device.extend   udid until   device.return udid           a later end; the end now
 *   offer.list      [giver taker after limit]                 rental.list [owner tenant after limit]
 *   device.history  udid [after limit]                        whose it has been: rows {"how","from","to","at","until","revoked","actor"}
 *   bulk.start      act [reason state batch product owner service org listed]   act: suspend resume retire compromise reset transfer (to org); at least one
 *                   filter, or listed: then bulk.add job, blob: UDIDs, one a line; and bulk.resume job  -> {"job": id, "state"}
 *   bulk.dry        as above [after], blob: the UDIDs         what it would do to the next devices -> {"looked_at","done","already","refused","refusals","next"}
 *   bulk.work       job                                       how far it is; takes a step where no server does -> the job's row and "part" (of 1000)
 *   bulk.cancel     job     bulk.resume job                   stop after the step that runs; go on from there
 *   bulk.list       [state after limit]   bulk.show job [after limit] -> row, "refusals": [{"udid","code","what"}], "next"
 *   key.show        -> {"keks": [{"kek","state","created","ended","sealed"}], "roots": [{"name","org","kdf"}], "import_key": PEM or null}
 *   key.import      -> {"import_key": PEM, "kid"}              the key that secrets are sealed to; made by the first call
 *   key.add         org rot id mac [sealed root batch]        one device with a secret key; id: base64url; sealed: JWE for its UDID -> {"udid"}
 *   key.root        name org kdf sealed                       a root key that devices' keys are derived from; sealed: JWE for its name
 *   key.rotate      -> {"kek"}                                a new key-encryption key; the server moves rows to it
 *   key.step        -> {"moved": n, "more": bool}             one step of that, for when no server runs
 *   cert.list       [udid state service upstream after limit]  cert.show serial -> row with "certificate" PEM
 *   cert.revoke     serial [reason]                           reason: RFC 5280 words (keyCompromise, superseded ...), default unspecified
 *   claim.create    [batch udid from_org valid note]  blob: UDIDs, one a line    one of batch, udid, blob -> {"number", "code", "expires_at"}
 *   claim.take      claim org    claim: the code, or a URI that ends in it -> {"number", "owner", "moved", "passed", "done"}; ask again until done
 *   claim.list      [batch udid owner after limit]    claim.revoke number
 *   approval.list   [state batch udid after limit]            state: waiting approved denied used
 *   approval.approve  number      approval.deny number        -> {"number", "state", "expires_at"}; one may change one's mind until it is used
 *   voucher.masa    ca [url]                                  the CA that vouchers are signed under -> {"ca", "anchor": PEM for devices}; url: as in IDevIDs
 *   voucher.issue   udid [valid]   blob: PEM of the network's certificate; default: this registry's root -> {"number","serial_number","expires_at","voucher"}
 *   voucher.list    [udid org after limit]    voucher.show number
 *   code.create     [batch udid udids uses count valid note for] one of batch (with uses, count), udid, udids (an array)
 *                   -> {"codes": [{"number", "code", "batch" or "udid"}], "uses", "expires_at"}    the codes are shown this once
 *   code.list       [batch udid after limit]    code.revoke number
 *   eab.create      [batch product org names uses valid note]   one of batch, product, org -> {"kid", "hmac_key" (shown this once), "uses", "expires_at"}
 *   eab.list        [batch product after limit]       eab.revoke kid
 *   acme-account.list [kid status after limit]        acme-account.revoke number
 *   manifest.begin  format [batch dry_run]  blob: header line or first element   -> {"manifest": id, "next_seq": n, "complete": bool}
 *   manifest.block  manifest [dry_run]      blob: one block   -> {"seq", "entries", "added", "known", "bad": [{"line","reason"}], "conflicts": [...], "last"}
 *   manifest.list   [after limit]
 *   log.head        [log] -> {"size", "root", "at", "signature", "tree_head" (TreeHeadDataV2, hex), "spki"}   signs a fresh head when the last is old
 *   log.entries     from [to]       -> {"entries": [{"index","at","leaf_hash","data"}]}   at most 1000
 *   log.inclusion   index [size]    -> {"index","size","leaf_hash","root","path":[hex]}
 *   log.consistency from to         -> {"from","to","root_from","root_to","path":[hex]}
 *   token.create    name role [org expires]  -> {"token": shown this once, "expires_at"}; role: bm_api_roles[]; expires: RFC 3339, "90d" or "never"
 *   token.list      [after limit]   token.show name   token.revoke name
 *   log.* take "log": the name of the host whose log is meant; default: this host's. Another host's head is the last it signed
 *   host.add        name            -> {"name","number"}: expects one more host; puts the CAs' sealed keys into the database for it
 *   host.list       -> rows {"number","name","state","this","joined_at","log_signed","log_key"}    host.remove name: it writes no more
 *   status          -> counts, CAs with their expiry, log size, store size, clock, warnings: [sentences]
 *   why             id [limit]      id: correlation id, UDID or serial -> {"id","what","story":[{"at","event","text"}]}
 *   refusal.list    [udid code after limit]
 *   clock.accept    the clock was set back on purpose: issue again */
#ifndef BM_KEEPER_ADMIN_H
#define BM_KEEPER_ADMIN_H

#include "base/bytes.h"

#include <jansson.h>

struct bm_keeper;

/* Who may do what over the Admin API (docs/api.md). The administrator may do everything, and nobody else anything that a row does not say. */
enum bm_api_role {
    BM_ROLE_ADMINISTRATOR,
    BM_ROLE_OPERATOR,
    BM_ROLE_AUDITOR,
    BM_ROLE_MAKER, /* from here on a token belongs to an organisation and reaches what is that organisation's */
    BM_ROLE_OEM,
    BM_ROLE_SERVICE,
    BM_API_ROLES
};
extern const char *const bm_api_roles[BM_API_ROLES]; /* "administrator" ... */

/* What a scoped role's act has to touch. The keeper looks before the act runs: a thing of somebody else's is as one that is not there. */
enum bm_reach {
    BM_REACH_NOTHING,  /* nobody with a scope may do this at all */
    BM_REACH_LIST,     /* a list, cut down in SQL */
    BM_REACH_DEVICE,   /* the device that "udid" names, or */
    BM_REACH_BATCH,    /* the batch "name" */
    BM_REACH_INTO,     /* the batch "batch", which has to be named */
    BM_REACH_PRODUCT,  /* the product "name" */
    BM_REACH_SERVICE,  /* the service "name" */
    BM_REACH_CERT,     /* the certificate "serial" */
    BM_REACH_IMPORT,   /* the batch of the import "manifest" */
    BM_REACH_APPROVAL, /* the request for approval "number" */
    BM_REACH_SELF,     /* the act looks itself: what it is about comes out only on the way */
    BM_REACH_STORY,    /* what "id" names, a device or a certificate; the whole story of it is told */
};

struct bm_admin_op {
    const char *name;
    bool writes; /* runs in a transaction and leaves an audit leaf */
    bool joins;  /* checks everything before its first write, so it may share the transaction of others */
    enum bm_rc (*run)(struct bm_keeper *k, const json_t *in, struct bm_rd blob, json_t *out, struct bm_error *e);
    const char *members; /* the members it takes, separated by blanks; required ones first, then "|", then optional ones */
    unsigned roles;      /* bits 1 << enum bm_api_role beside the administrator's */
    enum bm_reach reach; /* for those of them that have a scope */
};
extern const struct bm_admin_op bm_admin_ops[];               /* NULL name ends it */
const struct bm_admin_op *bm_admin_op_find(const char *name); /* NULL: no such act */
bool bm_admin_may(const struct bm_admin_op *op, enum bm_api_role role);

/* What a member may be, for all acts alike. */
enum bm_member_kind { BM_MEMBER_TEXT, BM_MEMBER_WHOLE, BM_MEMBER_YES_NO, BM_MEMBER_MAP, BM_MEMBER_LIST, BM_MEMBER_KINDS };
enum bm_member_kind bm_admin_member_kind(const char *member);

#endif
