-- Requests over CMP that wait for their answer (RFC 9483 section 4.4): id is that of the transaction, message the request as it came.
CREATE TABLE cmp_waiting (
    id      INTEGER PRIMARY KEY,
    message BLOB NOT NULL
) STRICT;
CREATE INDEX cmp_transaction_waiting ON cmp_transaction (who, id) WHERE state = 4;

-- One-time codes whose text is kept, sealed, because it is the secret of a MAC (a row of mac_key); id is the code's number. forget_at: when that
-- row has to go.
CREATE TABLE cmp_code (
    id        INTEGER PRIMARY KEY,
    forget_at INTEGER NOT NULL
) STRICT;
CREATE INDEX cmp_code_due ON cmp_code (forget_at);
INSERT INTO cmp_code (id, forget_at)
    SELECT c.id, CASE WHEN c.revoked_at <> 0 THEN 0 WHEN c.used >= c.uses THEN c.used_at + 7200 ELSE c.expires_at + 7200 END
    FROM code c JOIN mac_key m ON m.name = 'code/' || c.id WHERE m.device_id IS NULL;
