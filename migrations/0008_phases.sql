-- The text of every phase file that a directive was begun under: a directive goes by it to its end, whatever is applied or shipped later.
CREATE TABLE phases (
    sha256 TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    kept_at BIGINT NOT NULL
);

-- Directives whose phase left nothing to do, each with the fact that says so.
CREATE TABLE phase_skips (
    directive_id TEXT PRIMARY KEY REFERENCES strategic_directives_v2 (id),
    fact TEXT NOT NULL,
    reason TEXT NOT NULL,
    skipped_by TEXT NOT NULL,
    skipped_at BIGINT NOT NULL
);
