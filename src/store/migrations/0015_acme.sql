-- ACME (docs/acme.md). Keys of external account bindings are rows of mac_key, so that they are sealed, and move to a new key-encryption key, with
-- all others. Exactly one of org_id, product_id and batch_id says whose devices the accounts of a binding may order for.
CREATE TABLE acme_eab (
    id         INTEGER PRIMARY KEY,
    kid        TEXT NOT NULL UNIQUE,
    secret_id  INTEGER NOT NULL REFERENCES mac_key (id),
    org_id     INTEGER REFERENCES org (id),
    product_id INTEGER REFERENCES product (id),
    batch_id   INTEGER REFERENCES batch (id),
    uses       INTEGER NOT NULL,
    used       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    names      TEXT NOT NULL,
    note       TEXT NOT NULL
) STRICT;

CREATE TABLE acme_account (
    id         INTEGER PRIMARY KEY,
    eab_id     INTEGER NOT NULL REFERENCES acme_eab (id),
    status     TEXT NOT NULL,
    thumbprint BLOB NOT NULL UNIQUE,
    spki       BLOB NOT NULL,
    contact    TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- An order with its authorizations and challenges, which have no life without it: one row, so that a step of a client is one write. document: JSON
-- (keeper/acme_order.c). drop_at: when nobody asks for it any more.
CREATE TABLE acme_order (
    id            INTEGER PRIMARY KEY,
    account_id    INTEGER NOT NULL REFERENCES acme_account (id),
    credential_id INTEGER REFERENCES credential (id),
    status        TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    drop_at       INTEGER NOT NULL,
    document      BLOB NOT NULL
) STRICT;
CREATE INDEX acme_order_account ON acme_order (account_id, id);
CREATE INDEX acme_order_open ON acme_order (account_id) WHERE status IN ('pending', 'ready', 'processing');
CREATE INDEX acme_order_credential ON acme_order (credential_id) WHERE credential_id IS NOT NULL;
CREATE INDEX acme_order_drop ON acme_order (drop_at);
