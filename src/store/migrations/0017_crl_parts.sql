-- A CA's revocation list in parts (docs/revocation.md). n: how many there are for new certificates, 0: none; highest: the most there have ever been, which
-- go on being served; url: where they are found, as it stands in certificates.
CREATE TABLE crl_parts (
    ca_id   INTEGER NOT NULL PRIMARY KEY REFERENCES ca (id),
    n       INTEGER NOT NULL,
    highest INTEGER NOT NULL,
    url     TEXT NOT NULL
) STRICT;

-- Which part a certificate names, and which part a list was; 0: the list of the whole CA.
ALTER TABLE credential ADD COLUMN crl_part INTEGER NOT NULL DEFAULT 0;
ALTER TABLE crl ADD COLUMN part INTEGER NOT NULL DEFAULT 0;
DROP INDEX credential_revoked;
CREATE INDEX credential_revoked ON credential (ca_id, crl_part, not_after, revoked_at, reason, serial) WHERE state = 'revoked';
