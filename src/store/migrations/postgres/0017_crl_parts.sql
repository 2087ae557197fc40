-- A CA's revocation list in parts; see ../0017_crl_parts.sql.
CREATE TABLE crl_parts (
    ca_id   BIGINT NOT NULL PRIMARY KEY REFERENCES ca (id),
    n       BIGINT NOT NULL,
    highest BIGINT NOT NULL,
    url     TEXT NOT NULL
);

ALTER TABLE credential ADD COLUMN crl_part BIGINT NOT NULL DEFAULT 0;
ALTER TABLE crl ADD COLUMN part BIGINT NOT NULL DEFAULT 0;
DROP INDEX credential_revoked;
CREATE INDEX credential_revoked ON credential (ca_id, crl_part, not_after, revoked_at, reason, serial) WHERE state = 'revoked';
