-- Vouchers (docs/brski.md): each one that was issued, for its device, and what the device said of it. Times are Unix seconds, 0: not.
CREATE TABLE voucher (
    id            INTEGER PRIMARY KEY,
    device_id     INTEGER NOT NULL REFERENCES device (id),
    org_id        INTEGER REFERENCES org (id),
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    told_at       INTEGER NOT NULL,
    enrolled_at   INTEGER NOT NULL,
    serial_number TEXT NOT NULL,
    assertion     TEXT NOT NULL,
    nonce         TEXT NOT NULL,
    correlation   TEXT NOT NULL,
    told          TEXT NOT NULL,
    enrolled      TEXT NOT NULL,
    reason        TEXT NOT NULL,
    domain_id     BLOB NOT NULL,
    digest        BLOB NOT NULL
) STRICT;
CREATE INDEX voucher_device ON voucher (device_id, id);
CREATE INDEX voucher_serial ON voucher (serial_number, id);
