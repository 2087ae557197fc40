-- CAs whose key is somebody else's: how to reach them (keeper/upstream.h). secret is sealed under the key-encryption key kek_id; 0: there is none.
CREATE TABLE upstream (
    ca_id       INTEGER PRIMARY KEY REFERENCES ca (id),
    kek_id      INTEGER NOT NULL,
    driver      TEXT NOT NULL,
    url         TEXT NOT NULL,
    names       TEXT NOT NULL,
    trust       BLOB,
    client_cert BLOB,
    secret      BLOB
) STRICT;
