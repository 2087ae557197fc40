-- Revocations that an upstream CA is to hear of; see ../0020_upstream_revocation.sql.
CREATE TABLE upstream_revocation (
    credential_id BIGINT PRIMARY KEY REFERENCES credential (id),
    ca_id         BIGINT NOT NULL REFERENCES ca (id),
    state         TEXT NOT NULL,
    at            BIGINT NOT NULL,
    code          TEXT NOT NULL,
    what          TEXT NOT NULL
);
CREATE INDEX upstream_revocation_state ON upstream_revocation (state, ca_id, credential_id);
