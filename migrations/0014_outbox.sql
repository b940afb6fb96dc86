-- What people elsewhere are to be told. A row of `outbox` names the entry of the audit log that it tells of, and is written with it: nothing
-- is told that did not happen, and nothing is lost that did. `notice` says it in words, once it is known whom to tell. No secret and no
-- address is here: a delivery names its destination, and configuration knows the rest.
CREATE TABLE outbox (
    id TEXT PRIMARY KEY,
    seq BIGINT NOT NULL UNIQUE,
    addressed_at BIGINT,
    topic TEXT,
    notice TEXT
);
CREATE INDEX outbox_by_topic ON outbox (topic);
-- `held_until`: whoever sends it now has it until then, and nobody else. `spec_sha256`: the destination as it was when it said that it is gone.
CREATE TABLE deliveries (
    message_id TEXT NOT NULL REFERENCES outbox (id),
    destination TEXT NOT NULL,
    environment TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'given_up', 'gone')),
    tries BIGINT NOT NULL DEFAULT 0,
    queued_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    held_until BIGINT,
    said TEXT,
    settled_at BIGINT,
    spec_sha256 TEXT,
    PRIMARY KEY (message_id, destination)
);
CREATE INDEX deliveries_by_state ON deliveries (state, next_at);
