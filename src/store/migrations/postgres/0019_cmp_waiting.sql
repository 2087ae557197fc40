-- CMP: what waits, and codes whose text is kept; see ../0019_cmp_waiting.sql.
CREATE TABLE cmp_waiting (
    id      BIGINT PRIMARY KEY,
    message BYTEA NOT NULL
);
CREATE INDEX cmp_transaction_waiting ON cmp_transaction (who, id) WHERE state = 4;

CREATE TABLE cmp_code (
    id        BIGINT PRIMARY KEY,
    forget_at BIGINT NOT NULL
);
CREATE INDEX cmp_code_due ON cmp_code (forget_at);
INSERT INTO cmp_code (id, forget_at)
    SELECT c.id, CASE WHEN c.revoked_at <> 0 THEN 0 WHEN c.used >= c.uses THEN c.used_at + 7200 ELSE c.expires_at + 7200 END
    FROM code c JOIN mac_key m ON m.name = 'code/' || c.id WHERE m.device_id IS NULL;
