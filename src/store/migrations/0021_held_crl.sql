-- Revocation lists that others have signed: of a CA here whose key is elsewhere (ca_id), or of a certificate that an organisation is trusted for (trust_id).
-- number: big-endian, 20 bytes; der and number empty, dates 0: none has come yet. url: where it is fetched, '': it is brought. hard: 1: when it is over,
-- nothing of that issuer counts until a newer one is there. asked_at: when it was asked for last, problem: why that failed, or ''.
CREATE TABLE held_crl (
    id          INTEGER PRIMARY KEY,
    ca_id       INTEGER UNIQUE REFERENCES ca (id),
    trust_id    INTEGER UNIQUE REFERENCES trust (id),
    url         TEXT NOT NULL,
    hard        INTEGER NOT NULL,
    number      BLOB NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    entries     INTEGER NOT NULL,
    asked_at    INTEGER NOT NULL,
    problem     TEXT NOT NULL,
    der         BLOB NOT NULL
) STRICT;
