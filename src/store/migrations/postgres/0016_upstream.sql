-- Upstream CAs; see ../0016_upstream.sql.
CREATE TABLE upstream (
    ca_id       BIGINT PRIMARY KEY REFERENCES ca (id),
    kek_id      BIGINT NOT NULL,
    driver      TEXT NOT NULL,
    url         TEXT NOT NULL,
    names       TEXT NOT NULL,
    trust       BYTEA,
    client_cert BYTEA,
    secret      BYTEA
);
