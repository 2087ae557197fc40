-- Requests for a certificate that a person has to approve (docs/approval.md). udid and not a reference to the device: who comes with a
-- batch's code is registered with its first certificate only. key_sha256: of the public key asked for; empty: it is to be made here.
CREATE TABLE approval (
    id          INTEGER PRIMARY KEY,
    udid_key    INTEGER NOT NULL,
    batch_id    INTEGER NOT NULL REFERENCES batch (id),
    service_id  INTEGER REFERENCES service (id),
    code_id     INTEGER REFERENCES code (id),
    state       TEXT NOT NULL,
    protocol    TEXT NOT NULL,
    correlation TEXT NOT NULL,
    peer        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    decided_at  INTEGER NOT NULL,
    decided_by  TEXT NOT NULL,
    used_at     INTEGER NOT NULL,
    udid        BLOB NOT NULL,
    key_sha256  BLOB NOT NULL
) STRICT;
CREATE INDEX approval_udid ON approval (udid_key);
CREATE INDEX approval_state ON approval (state);
CREATE INDEX approval_expires ON approval (expires_at);
CREATE INDEX approval_code ON approval (code_id);

-- The CA that a service's certificates come from; none: the product's (docs/est.md, "Several CAs").
ALTER TABLE service ADD COLUMN ca_id INTEGER REFERENCES ca (id);

-- A root's new key: certificates that link the old and the new one (RFC 9810 section 4.4). ca_id: whose key is in it; by_id: who signed it.
CREATE TABLE ca_link (
    id         INTEGER PRIMARY KEY,
    ca_id      INTEGER NOT NULL REFERENCES ca (id),
    by_id      INTEGER NOT NULL REFERENCES ca (id),
    created_at INTEGER NOT NULL,
    cert       BLOB NOT NULL,
    UNIQUE (ca_id, by_id)
) STRICT;
