-- SCEP transactions (docs/scep.md): which certificate a transaction has led to, so that the same request once more gets the same answer (RFC 8894
-- section 4.4), and requests that wait, as they came. digest is SHA-256 over transactionID and signer; serial is empty while it waits, message
-- once it does not.
CREATE TABLE scep_transaction (
    id         INTEGER PRIMARY KEY,
    digest_key INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    digest     BLOB NOT NULL,
    serial     BLOB NOT NULL,
    message    BLOB NOT NULL
) STRICT;
CREATE INDEX scep_transaction_digest ON scep_transaction (digest_key);
CREATE INDEX scep_transaction_age ON scep_transaction (created_at);
