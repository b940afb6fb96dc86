-- What the venture lifecycles describe: ventures, their stages, the directives that order work, and the runbooks. Names and
-- columns are the seeds' own; what Interlock adds to a directive stands below them. Times are UTC milliseconds, flags 0 or 1.
CREATE TABLE ventures (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'active',
    current_lifecycle_stage BIGINT CHECK (current_lifecycle_stage BETWEEN 1 AND 25),
    current_workflow_stage BIGINT CHECK (current_workflow_stage BETWEEN 1 AND 40),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Two lifecycles (`vision_v2` with 25 stages, `workflow` with 40) share stage numbers.
CREATE TABLE lifecycle_stage_config (
    lifecycle TEXT NOT NULL,
    stage_number BIGINT NOT NULL,
    stage_name TEXT NOT NULL,
    description TEXT,
    phase_number BIGINT NOT NULL,
    phase_name TEXT NOT NULL,
    work_type TEXT NOT NULL CHECK (work_type IN ('artifact_only', 'automated_check', 'decision_gate', 'sd_required')),
    sd_required BIGINT NOT NULL DEFAULT 0,
    sd_suffix TEXT,
    advisory_enabled BIGINT NOT NULL DEFAULT 0,
    depends_on TEXT NOT NULL DEFAULT '[]',
    required_artifacts TEXT NOT NULL DEFAULT '[]',
    metadata TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (lifecycle, stage_number)
);

CREATE TABLE venture_stage_work (
    venture_id TEXT NOT NULL REFERENCES ventures (id),
    lifecycle TEXT NOT NULL,
    lifecycle_stage BIGINT NOT NULL,
    sd_id TEXT,
    stage_status TEXT NOT NULL DEFAULT 'not_started'
        CHECK (stage_status IN ('not_started', 'in_progress', 'blocked', 'completed', 'skipped')),
    work_type TEXT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    health_score TEXT CHECK (health_score IN ('green', 'yellow', 'red')),
    advisory_data TEXT,
    PRIMARY KEY (venture_id, lifecycle, lifecycle_stage)
);

CREATE TABLE strategic_directives_v2 (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL CHECK (length(title) <= 500),
    version TEXT NOT NULL DEFAULT '1.0',
    status TEXT NOT NULL CHECK (status IN
        ('draft', 'pending_approval', 'active', 'in_progress', 'completed', 'cancelled', 'archived', 'deferred')),
    category TEXT NOT NULL,
    sd_type TEXT NOT NULL DEFAULT 'infrastructure',
    priority TEXT NOT NULL CHECK (priority IN ('critical', 'high', 'medium', 'low')),
    description TEXT NOT NULL,
    rationale TEXT NOT NULL,
    scope TEXT NOT NULL,
    target_application TEXT,
    current_phase TEXT,
    strategic_intent TEXT,
    strategic_objectives TEXT,
    success_criteria TEXT,
    key_changes TEXT,
    key_principles TEXT,
    risks TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    number BIGINT NOT NULL UNIQUE,
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    release_version TEXT NOT NULL,
    commit_id TEXT,
    digest TEXT NOT NULL,
    venture_id TEXT,
    depends_on TEXT NOT NULL DEFAULT '[]',
    phase TEXT,
    phase_sha256 TEXT,
    status_reason TEXT
);
CREATE UNIQUE INDEX one_open_directive ON strategic_directives_v2 (service, environment, digest)
    WHERE status IN ('active', 'in_progress');

-- The head of each runbook; its texts are in runbook_versions.
CREATE TABLE venture_deployment_runbook (
    id TEXT PRIMARY KEY,
    venture_id TEXT,
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    latest_version BIGINT NOT NULL,
    published_version BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
