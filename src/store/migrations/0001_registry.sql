-- The registry, as store/store.h tells it. Ids are 1, 2, 3 ... and never reused; a reference that is not there is NULL.
-- Blobs and long text come last in a row, so that the columns read most stay in its first page.
--
-- udid_key and serial_key are four bytes of the (random) UDID and serial: an index over them has a third of the pages, and so a
-- third of the write-ahead log per commit, of one over the whole. (key, tie) is unique; tie is 0 but for the few rows that share a
-- key, so that the database, not the program, refuses a second row for the same UDID or serial.
--
-- A device's credentials form a chain: device.last_credential, then credential.prev_id back to the first. The device's row is written at
-- enrolment anyhow, where an index over credential.device_id would be one more page of the log at a random place.

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE org (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    title      TEXT NOT NULL,
    role       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE trust (
    id         INTEGER PRIMARY KEY,
    org_id     INTEGER NOT NULL REFERENCES org (id),
    purpose    TEXT NOT NULL,
    sha256     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    der        BLOB NOT NULL,
    UNIQUE (purpose, sha256)
) STRICT;

CREATE TABLE ca (
    id         INTEGER PRIMARY KEY,
    parent_id  INTEGER REFERENCES ca (id),
    name       TEXT NOT NULL UNIQUE,
    key_uri    TEXT NOT NULL,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    reason     INTEGER NOT NULL,
    cert       BLOB NOT NULL
) STRICT;

CREATE TABLE profile (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    json BLOB NOT NULL
) STRICT;

CREATE TABLE service (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    title      TEXT NOT NULL,
    kind       TEXT NOT NULL,
    profile    TEXT NOT NULL,
    endpoints  TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE product (
    id         INTEGER PRIMARY KEY,
    org_id     INTEGER REFERENCES org (id),
    name       TEXT NOT NULL UNIQUE,
    title      TEXT NOT NULL,
    policy     TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE batch (
    id         INTEGER PRIMARY KEY,
    product_id INTEGER NOT NULL REFERENCES product (id),
    ca_id      INTEGER REFERENCES ca (id),
    name       TEXT NOT NULL UNIQUE,
    state      TEXT NOT NULL,
    quota      INTEGER NOT NULL,
    used       INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE manifest (
    id         INTEGER PRIMARY KEY,
    org_id     INTEGER REFERENCES org (id),
    batch_id   INTEGER REFERENCES batch (id),
    digest     BLOB NOT NULL UNIQUE,
    prev       BLOB NOT NULL,
    format     TEXT NOT NULL,
    next_seq   INTEGER NOT NULL,
    entries    INTEGER NOT NULL,
    bad        INTEGER NOT NULL,
    complete   INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE device (
    id              INTEGER PRIMARY KEY,
    udid_key        INTEGER NOT NULL,
    tie             INTEGER NOT NULL,
    batch_id        INTEGER REFERENCES batch (id),
    owner_id        INTEGER REFERENCES org (id),
    manifest_id     INTEGER REFERENCES manifest (id),
    last_credential INTEGER,
    state           TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    activated_at    INTEGER NOT NULL,
    udid            BLOB NOT NULL,
    rot             TEXT NOT NULL,
    spki            BLOB,
    attributes      BLOB,
    birth_cert      BLOB
) STRICT;
CREATE UNIQUE INDEX device_udid ON device (udid_key, tie);

CREATE TABLE credential (
    id          INTEGER PRIMARY KEY,
    serial_key  INTEGER NOT NULL,
    tie         INTEGER NOT NULL,
    device_id   INTEGER REFERENCES device (id),
    prev_id     INTEGER,
    service_id  INTEGER REFERENCES service (id),
    ca_id       INTEGER REFERENCES ca (id),
    state       TEXT NOT NULL,
    reason      INTEGER NOT NULL,
    revoked_at  INTEGER NOT NULL,
    issued_at   INTEGER NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    serial      BLOB NOT NULL,
    protocol    TEXT NOT NULL,
    correlation TEXT NOT NULL,
    cert        BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX credential_serial ON credential (serial_key, tie);
CREATE INDEX credential_own ON credential (device_id) WHERE device_id IS NULL;

-- How many rows the two large tables have: "credential", and a device's state for each state.
CREATE TABLE tally (
    name TEXT NOT NULL PRIMARY KEY,
    n    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE refusal (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    correlation TEXT NOT NULL,
    protocol    TEXT NOT NULL,
    code        TEXT NOT NULL,
    peer        TEXT NOT NULL,
    what        TEXT NOT NULL,
    udid        BLOB
) STRICT;

-- The audit log (audit/log.h): leaves and full subtrees of a Merkle tree, and its signed heads.
CREATE TABLE audit_leaf (
    idx   INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    data  BLOB NOT NULL
) STRICT;

CREATE TABLE audit_tile (
    level INTEGER NOT NULL,
    idx   INTEGER NOT NULL,
    hash  BLOB NOT NULL,
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE tree_head (
    size      INTEGER PRIMARY KEY,
    at_ms     INTEGER NOT NULL,
    root      BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
