-- CMP transactions (RFC 9810 section 3.1): so that a request counts once, and its certConf finds the certificate it is about. tid_key: the first four
-- bytes of digest. expires_at: when the row has done its work, see src/store/cmp.h.
CREATE TABLE cmp_transaction (
    id         INTEGER PRIMARY KEY,
    tid_key    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    for_good   INTEGER NOT NULL,
    req_id     INTEGER NOT NULL,
    digest     BLOB NOT NULL,
    who        BLOB NOT NULL,
    nonce      BLOB NOT NULL,
    serial     BLOB NOT NULL
) STRICT;
CREATE INDEX cmp_transaction_tid ON cmp_transaction (tid_key);
CREATE INDEX cmp_transaction_due ON cmp_transaction (expires_at);
