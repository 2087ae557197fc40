-- Several hosts on one database, each with a keeper of its own. The first one makes the registry and is number 1. A host's leaves, tiles and
-- heads have its number in the upper bits of idx and size: host h owns [(h - 1) * 2^40, h * 2^40), so what one host wrote before there were
-- others stands where it stood. Its counts in `tally` end in "@h" when it is not the first.
CREATE TABLE host (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    added_at   INTEGER NOT NULL,
    joined_at  INTEGER NOT NULL, -- 0: not yet
    removed_at INTEGER NOT NULL, -- 0: it may write
    log_spki   BLOB              -- what its heads are signed with
) STRICT;
INSERT INTO host (id, name, added_at, joined_at, removed_at, log_spki)
    SELECT 1, 'host-1', 0, 0, 0, value FROM meta WHERE key = 'log-spki';

-- Quota taken out of batch.used in blocks, so that hosts do not wait for each other at one row: n is what is left of a host's block.
CREATE TABLE lease (
    host_id  INTEGER NOT NULL REFERENCES host (id),
    batch_id INTEGER NOT NULL REFERENCES batch (id),
    n        INTEGER NOT NULL,
    PRIMARY KEY (host_id, batch_id)
) STRICT, WITHOUT ROWID;

-- The CAs' private keys as they are in DATA/keys, sealed, for the other hosts. Empty while there is one host.
CREATE TABLE sealed_key (
    name TEXT NOT NULL PRIMARY KEY,
    pem  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
