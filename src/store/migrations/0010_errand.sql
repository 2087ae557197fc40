-- Errands: what has to be asked of somebody outside (keeper/errand.h). due_at: of a queued one, not before; of a running one, when its lease ends; of
-- an ended one, when it may be forgotten.
CREATE TABLE errand (
    id         INTEGER PRIMARY KEY,
    host_id    INTEGER NOT NULL,
    device_id  INTEGER REFERENCES device (id),
    batch_id   INTEGER REFERENCES batch (id),
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    state      TEXT NOT NULL,
    tries      INTEGER NOT NULL,
    token      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    deadline   INTEGER NOT NULL,
    code       TEXT NOT NULL,
    what       TEXT NOT NULL,
    payload    BLOB,
    result     BLOB
) STRICT;
CREATE INDEX errand_state ON errand (state, due_at);
CREATE INDEX errand_subject ON errand (subject, kind, id);
CREATE INDEX errand_device ON errand (device_id);
CREATE INDEX errand_batch ON errand (batch_id);
