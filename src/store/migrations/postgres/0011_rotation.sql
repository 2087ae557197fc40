-- CAs that have handed over; see ../0011_rotation.sql.
CREATE TABLE ca_successor (
    ca_id        BIGINT NOT NULL PRIMARY KEY REFERENCES ca (id),
    successor_id BIGINT NOT NULL REFERENCES ca (id),
    at           BIGINT NOT NULL,
    created_at   BIGINT NOT NULL
);
