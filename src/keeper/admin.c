#include "keeper/internal.h"

#define READ false, false
#define WRITE true, false
#define JOIN true, true

/* What a row does not name is zero: an act that says nothing of roles is the administrator's alone. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define ROLE(r) (1U << BM_ROLE_##r)
#define STAFF (ROLE(OPERATOR) | ROLE(AUDITOR)) /* may read everything */
#define LINE (STAFF | ROLE(MAKER) | ROLE(OEM))
#define FLEET (ROLE(OPERATOR) | ROLE(OEM))

const char *const bm_api_roles[BM_API_ROLES] = { "administrator",         "operator", "auditor",
                                                 "contract-manufacturer", "oem",      "service-operator" };

bool bm_admin_may(const struct bm_admin_op *op, enum bm_api_role role)
{
    return role == BM_ROLE_ADMINISTRATOR ||
           ((op->roles & 1U << role) != 0 && (role < BM_ROLE_MAKER || op->reach != BM_REACH_NOTHING));
}

const struct bm_admin_op bm_admin_ops[] = {
    { "org.create", WRITE, bm_admin_org_create, "name role | title" },
    { "org.list", READ, bm_admin_org_list, "| after limit", STAFF },
    { "org.show", READ, bm_admin_org_show, "name", STAFF },
    { "org.trust", WRITE, bm_admin_org_trust, "org purpose" },
    { "profile.list", READ, bm_admin_profile_list, "", STAFF },
    { "profile.show", READ, bm_admin_profile_show, "name", STAFF },
    { "profile.set", WRITE, bm_admin_profile_set, "name" },
    { "ca.create", WRITE, bm_admin_ca_create, "name parent | alg profile org key existing_key" },
    { "ca.list", READ, bm_admin_ca_list, "| after limit", STAFF },
    { "ca.show", READ, bm_admin_ca_show, "name", STAFF },
    { "ca.revoke", WRITE, bm_admin_ca_revoke, "name | reason" },
    { "ca.compromise", WRITE, bm_admin_ca_compromise, "name | default" },
    { "ca.rotate", WRITE, bm_admin_ca_rotate, "name | successor at alg profile parent key existing_key" },
    { "ca.retire", WRITE, bm_admin_ca_retire, "name" },
    { "ca.default", WRITE, bm_admin_ca_default, "name" },
    { "crl.show", JOIN, bm_admin_crl_show, "name", STAFF },
    { "crl.export", JOIN, bm_admin_crl_export, "name | delta", STAFF },
    { "journal.show", READ, bm_admin_journal_show, "" },
    { "journal.rotate", READ, bm_admin_journal_rotate, "" },
    { "service.create", WRITE, bm_admin_service_create, "name kind | title profile endpoints org" },
    { "service.set", WRITE, bm_admin_service_set, "name | title kind profile endpoints org" },
    { "service.list", READ, bm_admin_service_list, "| after limit", STAFF | ROLE(SERVICE), BM_REACH_LIST },
    { "service.show", READ, bm_admin_service_show, "name", STAFF | ROLE(SERVICE), BM_REACH_SERVICE },
    { "product.create", WRITE, bm_admin_product_create, "name org | title policy" },
    { "product.set", WRITE, bm_admin_product_set, "name | title policy" },
    { "product.list", READ, bm_admin_product_list, "| after limit", STAFF | ROLE(OEM), BM_REACH_LIST },
    { "product.show", READ, bm_admin_product_show, "name", STAFF | ROLE(OEM), BM_REACH_PRODUCT },
    { "policy.test", READ, bm_admin_policy_test, "csr | udid certificate code batch service protocol reenrol keygen", LINE,
      BM_REACH_SELF },
    { "batch.create", WRITE, bm_admin_batch_create, "name product quota | ca maker", ROLE(OPERATOR) },
    { "batch.set", WRITE, bm_admin_batch_set, "name | quota state ca maker", ROLE(OPERATOR) },
    { "batch.compromise", WRITE, bm_admin_batch_compromise, "name | reason", ROLE(OPERATOR) },
    { "batch.list", READ, bm_admin_batch_list, "| product after limit", LINE, BM_REACH_LIST },
    { "batch.show", READ, bm_admin_batch_show, "name", LINE, BM_REACH_BATCH },
    { "device.list", READ, bm_admin_device_list, "| state batch product full after limit", LINE | ROLE(SERVICE), BM_REACH_LIST },
    { "device.show", READ, bm_admin_device_show, "udid", LINE | ROLE(SERVICE), BM_REACH_DEVICE },
    { "device.allocate", WRITE, bm_admin_device_allocate, "udid batch", ROLE(OPERATOR) },
    { "device.suspend", WRITE, bm_admin_device_suspend, "udid | reason", FLEET, BM_REACH_DEVICE },
    { "device.resume", WRITE, bm_admin_device_resume, "udid | reason", FLEET, BM_REACH_DEVICE },
    { "device.retire", WRITE, bm_admin_device_retire, "udid | reason", FLEET, BM_REACH_DEVICE },
    { "device.compromise", WRITE, bm_admin_device_compromise, "udid | reason", FLEET, BM_REACH_DEVICE },
    { "device.reset", WRITE, bm_admin_device_reset, "udid | reason", FLEET, BM_REACH_DEVICE },
    { "device.transfer", WRITE, bm_admin_device_transfer, "udid org | force", ROLE(OPERATOR) },
    { "device.offer", WRITE, bm_admin_device_offer, "udid org as | until", ROLE(OPERATOR) },
    { "device.accept", WRITE, bm_admin_device_accept, "udid as", ROLE(OPERATOR) },
    { "device.decline", WRITE, bm_admin_device_decline, "udid as", ROLE(OPERATOR) },
    { "device.withdraw", WRITE, bm_admin_device_withdraw, "udid as", ROLE(OPERATOR) },
    { "device.rent", WRITE, bm_admin_device_rent, "udid org as until", ROLE(OPERATOR) },
    { "device.extend", WRITE, bm_admin_device_extend, "udid until", ROLE(OPERATOR) },
    { "device.return", WRITE, bm_admin_device_return, "udid", ROLE(OPERATOR) },
    { "offer.list", READ, bm_admin_offer_list, "| giver taker after limit", STAFF },
    { "rental.list", READ, bm_admin_rental_list, "| owner tenant after limit", STAFF },
    { "device.history", READ, bm_admin_device_history, "udid | after limit", STAFF },
    { "bulk.start", WRITE, bm_admin_bulk_start, "act | reason state batch product owner service org listed", ROLE(OPERATOR) },
    { "bulk.dry", READ, bm_admin_bulk_dry, "act | reason state batch product owner service org listed after", STAFF },
    { "bulk.add", WRITE, bm_admin_bulk_add, "job", ROLE(OPERATOR) },
    { "bulk.resume", WRITE, bm_admin_bulk_resume, "job", ROLE(OPERATOR) },
    { "bulk.work", JOIN, bm_admin_bulk_work, "job" },
    { "bulk.cancel", WRITE, bm_admin_bulk_cancel, "job", ROLE(OPERATOR) },
    { "bulk.list", READ, bm_admin_bulk_list, "| state after limit", STAFF },
    { "bulk.show", READ, bm_admin_bulk_show, "job | after limit", STAFF },
    { "key.show", READ, bm_admin_key_show, "" },
    { "key.import", WRITE, bm_admin_key_import, "" },
    { "key.add", WRITE, bm_admin_key_add, "org rot id mac | sealed root batch" },
    { "key.root", WRITE, bm_admin_key_root, "name org kdf sealed" },
    { "key.rotate", WRITE, bm_admin_key_rotate, "" },
    { "key.step", WRITE, bm_admin_key_step, "" },
    { "cert.list", READ, bm_admin_cert_list, "| udid state service after limit", STAFF | ROLE(OEM) | ROLE(SERVICE), BM_REACH_LIST },
    { "cert.show", READ, bm_admin_cert_show, "serial", STAFF | ROLE(OEM) | ROLE(SERVICE), BM_REACH_CERT },
    { "cert.revoke", WRITE, bm_admin_cert_revoke, "serial | reason", FLEET, BM_REACH_CERT },
    { "approval.list", READ, bm_admin_approval_list, "| state batch udid after limit", STAFF | ROLE(OEM), BM_REACH_LIST },
    { "approval.approve", JOIN, bm_admin_approval_approve, "number", FLEET, BM_REACH_APPROVAL },
    { "approval.deny", JOIN, bm_admin_approval_deny, "number", FLEET, BM_REACH_APPROVAL },
    { "claim.create", WRITE, bm_admin_claim_create, "| batch udid from_org valid note" },
    { "claim.list", READ, bm_admin_claim_list, "| batch udid owner after limit" },
    { "claim.take", WRITE, bm_admin_claim_take, "claim org" },
    { "claim.revoke", WRITE, bm_admin_claim_revoke, "number" },
    { "code.create", WRITE, bm_admin_code_create, "| batch udid udids uses count valid note", ROLE(OPERATOR) },
    { "code.list", READ, bm_admin_code_list, "| batch udid after limit", STAFF },
    { "code.revoke", WRITE, bm_admin_code_revoke, "number", ROLE(OPERATOR) },
    { "manifest.begin", JOIN, bm_admin_manifest_begin, "format | batch dry_run", ROLE(OPERATOR) | ROLE(MAKER), BM_REACH_INTO },
    { "manifest.block", JOIN, bm_admin_manifest_block, "manifest | dry_run", ROLE(OPERATOR) | ROLE(MAKER), BM_REACH_IMPORT },
    { "manifest.list", READ, bm_admin_manifest_list, "| after limit", LINE, BM_REACH_LIST },
    { "log.head", WRITE, bm_admin_log_head, "| log", STAFF },
    { "log.entries", READ, bm_admin_log_entries, "from | to log", STAFF },
    { "log.inclusion", READ, bm_admin_log_inclusion, "index | size log", STAFF },
    { "log.consistency", READ, bm_admin_log_consistency, "from to | log", STAFF },
    { "host.add", WRITE, bm_admin_host_add, "name" },
    { "host.list", READ, bm_admin_host_list, "" },
    { "host.remove", WRITE, bm_admin_host_remove, "name" },
    { "token.create", WRITE, bm_admin_token_create, "name role | org expires" },
    { "token.list", READ, bm_admin_token_list, "| after limit", STAFF },
    { "token.show", READ, bm_admin_token_show, "name", STAFF },
    { "token.revoke", WRITE, bm_admin_token_revoke, "name" },
    { "status", READ, bm_admin_status, "", STAFF },
    { "why", READ, bm_admin_why, "id | limit", STAFF | ROLE(OEM), BM_REACH_STORY },
    { "refusal.list", READ, bm_admin_refusal_list, "| udid code after limit", STAFF },
    { "clock.accept", WRITE, bm_admin_clock_accept, "" },
    { NULL, READ, NULL, NULL },
};
