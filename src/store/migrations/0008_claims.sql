-- Claims: who holds the code may take what it stands for (docs/codes.md). One device; or a batch, as a range of ids; or a list, claim_item.
-- Taking goes on in steps: cursor_id is the last device (or item) looked at, last_id the last one to look at.
CREATE TABLE claim (
    id         INTEGER PRIMARY KEY,
    digest_key INTEGER NOT NULL,
    device_id  INTEGER REFERENCES device (id),
    batch_id   INTEGER REFERENCES batch (id),
    from_id    INTEGER NOT NULL REFERENCES org (id),
    org_id     INTEGER REFERENCES org (id),
    last_id    INTEGER NOT NULL,
    cursor_id  INTEGER NOT NULL,
    moved      INTEGER NOT NULL,
    passed     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    taken_at   INTEGER NOT NULL,
    done_at    INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    note       TEXT NOT NULL,
    digest     BLOB NOT NULL
) STRICT;
CREATE INDEX claim_digest ON claim (digest_key);

CREATE TABLE claim_item (
    id        INTEGER PRIMARY KEY,
    claim_id  INTEGER NOT NULL REFERENCES claim (id),
    device_id INTEGER NOT NULL REFERENCES device (id)
) STRICT;
CREATE INDEX claim_item_claim ON claim_item (claim_id, id);
