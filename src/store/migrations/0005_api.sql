-- Bearer tokens of the Admin API, and whom batches and services are for. Of a token only its SHA-256 is kept: 256 random bits need no salt
-- and no slow hash. Rows stay after revocation, because the audit log names tokens, and a name must not come to mean another one.
CREATE TABLE token (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    role         TEXT NOT NULL,
    org_id       INTEGER REFERENCES org (id),
    sha256       BLOB NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    revoked_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL
) STRICT;

-- The contract manufacturer that makes the batch; the organisation that runs the service.
ALTER TABLE batch ADD COLUMN maker_id INTEGER REFERENCES org (id);
ALTER TABLE service ADD COLUMN org_id INTEGER REFERENCES org (id);
