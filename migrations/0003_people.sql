-- What people decide, and the record of everything: approvers, decisions, freezes, runbook texts, configuration, the audit chain.
CREATE TABLE approvers (
    name TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    public_key TEXT NOT NULL UNIQUE,
    enrolled_by TEXT,
    enrolled_at BIGINT NOT NULL
);

-- Each signed document as it was signed; a nonce is used once.
CREATE TABLE decisions (
    number BIGINT PRIMARY KEY,
    nonce TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    subject_sha256 TEXT NOT NULL,
    environment TEXT,
    verdict TEXT NOT NULL,
    approver TEXT NOT NULL REFERENCES approvers (name),
    audit_head TEXT NOT NULL,
    body TEXT NOT NULL,
    directive_id TEXT,
    fact TEXT,
    digest TEXT,
    decided_at BIGINT NOT NULL
);
CREATE INDEX decisions_over_subject ON decisions (subject_sha256);
CREATE INDEX decisions_of_directive ON decisions (directive_id);

CREATE TABLE freezes (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    environment TEXT,
    reason TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    created_by TEXT NOT NULL,
    lifted_by TEXT,
    lifted_at BIGINT
);

CREATE TABLE runbook_versions (
    runbook_id TEXT NOT NULL REFERENCES venture_deployment_runbook (id),
    version BIGINT NOT NULL,
    directive_id TEXT NOT NULL,
    deployment_id TEXT,
    state TEXT NOT NULL CHECK (state IN ('draft', 'in_review', 'published', 'returned', 'superseded')),
    body TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    lint TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (runbook_id, version)
);

CREATE TABLE runbook_reviews (
    number BIGINT PRIMARY KEY,
    runbook_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT,
    reviewer TEXT NOT NULL,
    nonce TEXT NOT NULL,
    reviewed_at BIGINT NOT NULL,
    FOREIGN KEY (runbook_id, version) REFERENCES runbook_versions (runbook_id, version)
);

CREATE TABLE config_revisions (
    revision BIGINT PRIMARY KEY,
    body TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Which revision is in force in an environment, and which one waits for its approver.
CREATE TABLE config_environments (
    environment TEXT PRIMARY KEY,
    in_force BIGINT REFERENCES config_revisions (revision),
    pending BIGINT REFERENCES config_revisions (revision)
);

-- How often a caller was refused the same thing in a row.
CREATE TABLE refusals (
    principal TEXT NOT NULL,
    operation TEXT NOT NULL,
    arguments_sha256 TEXT NOT NULL,
    code TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    refused_at BIGINT NOT NULL,
    PRIMARY KEY (principal, operation, arguments_sha256)
);

CREATE TABLE principals (
    principal TEXT NOT NULL,
    kind TEXT NOT NULL,
    client TEXT,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (principal, kind)
);

-- A hash chain: each row is appended in the transaction of the change it records.
CREATE TABLE audit_log (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    principal TEXT NOT NULL,
    kind TEXT NOT NULL,
    via TEXT NOT NULL,
    client TEXT,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
);

-- Its end: one row, updated first in each transaction, so that writers wait for each other on both databases.
CREATE TABLE audit_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
