-- CAs that have handed over (docs/rotation.md): from `at` on, whoever was to get certificates from ca_id gets them from successor_id.
CREATE TABLE ca_successor (
    ca_id        INTEGER NOT NULL PRIMARY KEY REFERENCES ca (id),
    successor_id INTEGER NOT NULL REFERENCES ca (id),
    at           INTEGER NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;
