-- ../0006_hosts.sql in PostgreSQL's types. The numbers of hosts are given by the program, without gaps.
CREATE TABLE host (
    id         BIGINT PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    added_at   BIGINT NOT NULL,
    joined_at  BIGINT NOT NULL,
    removed_at BIGINT NOT NULL,
    log_spki   BYTEA
);
INSERT INTO host (id, name, added_at, joined_at, removed_at, log_spki)
    SELECT 1, 'host-1', 0, 0, 0, value FROM meta WHERE key = 'log-spki';

CREATE TABLE lease (
    host_id  BIGINT NOT NULL REFERENCES host (id),
    batch_id BIGINT NOT NULL REFERENCES batch (id),
    n        BIGINT NOT NULL,
    PRIMARY KEY (host_id, batch_id)
) WITH (fillfactor = 50); -- n changes with each device

CREATE TABLE sealed_key (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    pem  BYTEA NOT NULL
);
