-- An approver may have several keys, and one may be a passkey. `approvers.public_key` stays what each was enrolled with; what counts are the
-- rows here. `body` is the key as JSON; `sign_count` is the highest counter a passkey has shown; one that went back counts no longer.
CREATE TABLE approver_keys (
    public_key TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    approver TEXT NOT NULL REFERENCES approvers (name),
    kind TEXT NOT NULL CHECK (kind IN ('ed25519', 'passkey')),
    body TEXT NOT NULL,
    credential_id TEXT UNIQUE,
    sign_count BIGINT NOT NULL DEFAULT 0,
    cloned_at BIGINT,
    enrolled_by TEXT,
    enrolled_at BIGINT NOT NULL
);
CREATE INDEX approver_keys_of ON approver_keys (approver, number);
INSERT INTO approver_keys (public_key, number, approver, kind, body, enrolled_by, enrolled_at)
    SELECT public_key, number, name, 'ed25519', '"' || public_key || '"', enrolled_by, enrolled_at FROM approvers;

-- Of a plan's approvals those count that were given since its request was last opened: after the decision with this number.
ALTER TABLE plans ADD COLUMN decisions_before BIGINT NOT NULL DEFAULT 0;

-- One-time links by which a browser makes a passkey; of the link itself only the hash is kept. `enrolment` is what waits for an approver's
-- decision; the first approver's needs none.
CREATE TABLE enrolment_links (
    token_sha256 TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    enrolment TEXT,
    public_key TEXT
);
