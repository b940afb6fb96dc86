-- What agents claim in a directive's dossier, the read-only commands that regenerate it, and what came of each: first and last.
CREATE TABLE dossiers (
    directive_id TEXT PRIMARY KEY REFERENCES strategic_directives_v2 (id),
    claims TEXT NOT NULL,
    commands TEXT NOT NULL,
    runs TEXT NOT NULL,
    kept_by TEXT NOT NULL,
    kept_at BIGINT NOT NULL
);
