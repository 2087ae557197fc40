-- Whose a device has been, and what is agreed about whose it will be. Acts on many devices at once.

CREATE TABLE ownership (
    id        INTEGER PRIMARY KEY,
    device_id INTEGER NOT NULL REFERENCES device (id),
    from_id   INTEGER REFERENCES org (id),
    to_id     INTEGER REFERENCES org (id),
    at        INTEGER NOT NULL,
    until     INTEGER NOT NULL,
    revoked   INTEGER NOT NULL,
    how       TEXT NOT NULL,
    actor     TEXT NOT NULL
) STRICT;
CREATE INDEX ownership_device ON ownership (device_id);

-- One at most for each device: what was declined or withdrawn is in the audit log.
CREATE TABLE offer (
    id         INTEGER PRIMARY KEY,
    device_id  INTEGER NOT NULL UNIQUE REFERENCES device (id),
    from_id    INTEGER NOT NULL REFERENCES org (id),
    to_id      INTEGER NOT NULL REFERENCES org (id),
    created_at INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    actor      TEXT NOT NULL
) STRICT;

-- The rentals that run. The index is what housekeeping looks at.
CREATE TABLE rental (
    id         INTEGER PRIMARY KEY,
    device_id  INTEGER NOT NULL UNIQUE REFERENCES device (id),
    owner_id   INTEGER NOT NULL REFERENCES org (id),
    tenant_id  INTEGER NOT NULL REFERENCES org (id),
    created_at INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX rental_end ON rental (ends_at);

-- An act on many devices: which, and how far it has come. cursor: id of the last row looked at; listed: the devices are those of job_item.
CREATE TABLE job (
    id          INTEGER PRIMARY KEY,
    act         TEXT NOT NULL,
    reason      INTEGER NOT NULL,
    listed      INTEGER NOT NULL,
    state       TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL,
    last_id     INTEGER NOT NULL,
    cursor_id   INTEGER NOT NULL,
    total       INTEGER NOT NULL,
    looked_at   INTEGER NOT NULL,
    done        INTEGER NOT NULL,
    already     INTEGER NOT NULL,
    refused     INTEGER NOT NULL,
    revoked     INTEGER NOT NULL,
    actor       TEXT NOT NULL,
    request     TEXT NOT NULL
) STRICT;

-- UDIDs that a job was given one by one.
CREATE TABLE job_item (
    id     INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES job (id),
    udid   BLOB NOT NULL
) STRICT;
CREATE INDEX job_item_job ON job_item (job_id, id);

CREATE TABLE job_refusal (
    id     INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES job (id),
    udid   BLOB NOT NULL,
    code   TEXT NOT NULL,
    what   TEXT NOT NULL
) STRICT;
CREATE INDEX job_refusal_job ON job_refusal (job_id, id);
