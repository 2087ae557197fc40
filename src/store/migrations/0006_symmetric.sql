-- Devices without a key pair share a secret key with the registry: docs/symmetric.md. Secrets are here only sealed.

-- The key-encryption keys there have been. state: active (the last one), retiring (rows are still sealed with it), ending (none
-- is, its file is to go), destroyed.
CREATE TABLE kek (
    id         INTEGER PRIMARY KEY,
    key_uri    TEXT NOT NULL,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL
) STRICT;

-- The key of a device, or the root key (device_id NULL, name and org_id set) that keys of devices are derived from (root_id set, nothing
-- sealed). alg: how the device makes its MAC, or the derivation of the root.
CREATE TABLE mac_key (
    id        INTEGER PRIMARY KEY,
    device_id INTEGER UNIQUE REFERENCES device (id),
    org_id    INTEGER REFERENCES org (id),
    root_id   INTEGER REFERENCES mac_key (id),
    kek_id    INTEGER REFERENCES kek (id),
    name      TEXT NOT NULL,
    alg       TEXT NOT NULL,
    ident     BLOB,
    sealed    BLOB
) STRICT;
CREATE UNIQUE INDEX mac_key_root ON mac_key (name) WHERE device_id IS NULL;
CREATE INDEX mac_key_kek ON mac_key (kek_id) WHERE kek_id IS NOT NULL;
