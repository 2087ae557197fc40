-- What was revoked, found by its CA without reading the certificates: the index has all that a CRL entry needs. Only revoked rows are in it,
-- so issuing costs nothing more.
CREATE INDEX credential_revoked ON credential (ca_id, not_after, revoked_at, reason, serial) WHERE state = 'revoked';

-- The CRLs issued: numbers go up and are never used twice (RFC 5280 section 5.2.3). Rows are kept while somebody may still hold that CRL as
-- the base of a delta; the last one of each CA stays for good.
CREATE TABLE crl (
    id          INTEGER PRIMARY KEY,
    ca_id       INTEGER NOT NULL REFERENCES ca (id),
    number      INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    UNIQUE (ca_id, number)
) STRICT;
