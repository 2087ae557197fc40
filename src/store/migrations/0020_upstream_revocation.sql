-- Revocations that an upstream CA is to hear of (keeper/upstream_revoke.h): one row for each certificate of its that was revoked here. state: waiting, asked
-- (by an errand), done, failed, unable (it has no word for it, or is not to be told). at: since when.
CREATE TABLE upstream_revocation (
    credential_id INTEGER PRIMARY KEY REFERENCES credential (id),
    ca_id         INTEGER NOT NULL REFERENCES ca (id),
    state         TEXT NOT NULL,
    at            INTEGER NOT NULL,
    code          TEXT NOT NULL,
    what          TEXT NOT NULL
) STRICT;
CREATE INDEX upstream_revocation_state ON upstream_revocation (state, ca_id, credential_id);
