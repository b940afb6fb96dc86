-- From a release to what serves: releases, evidence, verdicts, plans, deployments with their journal, leases, serving sets.
CREATE TABLE releases (
    digest TEXT PRIMARY KEY,
    service TEXT NOT NULL,
    version TEXT NOT NULL,
    commit_id TEXT,
    files BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE evidence (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    directive_id TEXT NOT NULL REFERENCES strategic_directives_v2 (id),
    gate TEXT NOT NULL,
    origin TEXT NOT NULL,
    format TEXT NOT NULL,
    commit_id TEXT,
    digest TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    measures TEXT,
    fault TEXT,
    exit_code BIGINT,
    detail TEXT NOT NULL,
    recorded_by TEXT NOT NULL,
    recorded_at BIGINT NOT NULL
);
CREATE INDEX evidence_of_directive ON evidence (directive_id, number);

-- The raw reports, each once, named by their SHA-256.
CREATE TABLE evidence_bodies (
    sha256 TEXT PRIMARY KEY,
    body BYTEA NOT NULL
);

CREATE TABLE verdicts (
    number BIGINT PRIMARY KEY,
    directive_id TEXT NOT NULL REFERENCES strategic_directives_v2 (id),
    gate TEXT NOT NULL,
    verdict TEXT NOT NULL,
    result TEXT NOT NULL,
    checked_at BIGINT NOT NULL
);
CREATE INDEX verdicts_of_directive ON verdicts (directive_id, gate, number);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    directive_id TEXT NOT NULL REFERENCES strategic_directives_v2 (id),
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'interrupted')),
    detail TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE UNIQUE INDEX one_running_job ON jobs (directive_id, kind) WHERE state = 'running';

-- The body is the plan's canonical JSON: its SHA-256 is the plan's name and what an approval signs.
CREATE TABLE plans (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL UNIQUE,
    directive_id TEXT NOT NULL REFERENCES strategic_directives_v2 (id),
    environment TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'awaiting_approval', 'approved', 'used', 'rejected', 'expired', 'void')),
    body TEXT NOT NULL,
    request_expires_at BIGINT,
    approval_expires_at BIGINT,
    decided_by TEXT,
    reason TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX plans_of_directive ON plans (directive_id, number);

CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    plan_id TEXT NOT NULL UNIQUE REFERENCES plans (id),
    directive_id TEXT NOT NULL REFERENCES strategic_directives_v2 (id),
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    rollback_of TEXT,
    version TEXT NOT NULL,
    digest TEXT NOT NULL,
    base TEXT,
    state TEXT NOT NULL CHECK (state IN
        ('queued', 'running', 'paused', 'verifying', 'succeeded', 'rolling_back', 'rolled_back', 'stuck')),
    epoch BIGINT NOT NULL,
    held_by TEXT,
    undo_reason TEXT,
    failure_code TEXT,
    undo_requested_at BIGINT,
    undo_requested_by TEXT,
    undo_requested_reason TEXT,
    undo_requested_code TEXT,
    rolled_back_by TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    shifted_at BIGINT,
    unshifted_at BIGINT,
    settled_at BIGINT,
    resolved_at BIGINT,
    updated_at BIGINT NOT NULL
);
-- One deployment per environment; a stuck one blocks it until a person has resolved it.
CREATE UNIQUE INDEX one_deployment_per_environment ON deployments (environment)
    WHERE state IN ('queued', 'running', 'paused', 'verifying', 'rolling_back') OR (state = 'stuck' AND resolved_at IS NULL);
CREATE INDEX deployments_of_service ON deployments (service, environment, number);

-- The journal: written before and after each step, the truth after a crash.
CREATE TABLE deployment_steps (
    deployment_id TEXT NOT NULL REFERENCES deployments (id),
    ordinal BIGINT NOT NULL,
    step TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'intent', 'executing', 'done', 'failed', 'unknown', 'undoing', 'undone')),
    attempt BIGINT NOT NULL DEFAULT 0,
    started_at BIGINT,
    ended_at BIGINT,
    output TEXT NOT NULL DEFAULT 'null',
    PRIMARY KEY (deployment_id, ordinal),
    UNIQUE (deployment_id, step)
);

-- The right to change an environment; the epoch only grows.
CREATE TABLE leases (
    environment TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    taken_at BIGINT NOT NULL
);

-- The last verified set of each service, with what is needed to restore it after a reboot.
CREATE TABLE serving (
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    body TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (service, environment)
);

CREATE TABLE incidents (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    deployment_id TEXT NOT NULL REFERENCES deployments (id),
    rule TEXT NOT NULL,
    severity TEXT NOT NULL,
    summary TEXT NOT NULL,
    action TEXT NOT NULL,
    evidence TEXT NOT NULL,
    opened_at BIGINT NOT NULL
);

CREATE TABLE measurements (
    number BIGINT PRIMARY KEY,
    deployment_id TEXT NOT NULL REFERENCES deployments (id),
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    measured_at BIGINT NOT NULL
);

CREATE TABLE artifacts (
    directive_id TEXT NOT NULL REFERENCES strategic_directives_v2 (id),
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    written_at BIGINT NOT NULL,
    PRIMARY KEY (directive_id, name)
);
