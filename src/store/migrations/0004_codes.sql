-- One-time codes and claims (docs/codes.md). A code is 128 random bits; the registry has SHA-256 of it, and finds it by that digest's first
-- four bytes, so neither the rows nor the index tell a code. Exactly one of device_id and batch_id is set.
CREATE TABLE code (
    id         INTEGER PRIMARY KEY,
    digest_key INTEGER NOT NULL,
    device_id  INTEGER REFERENCES device (id),
    batch_id   INTEGER REFERENCES batch (id),
    uses       INTEGER NOT NULL,
    used       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    note       TEXT NOT NULL,
    digest     BLOB NOT NULL
) STRICT;
CREATE INDEX code_digest ON code (digest_key);
