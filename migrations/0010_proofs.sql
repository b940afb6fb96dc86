-- What was tried out about a service where it runs, outside of a deployment, and what was seen: that an alert arrives, that a backup can be
-- brought back. Each try is a row, also one that has shown nothing; the newest counts.
CREATE TABLE proofs (
    id TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    directive_id TEXT NOT NULL REFERENCES strategic_directives_v2 (id),
    service TEXT NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('alert', 'backup')),
    detail TEXT NOT NULL,
    proven_by TEXT NOT NULL,
    proven_at BIGINT NOT NULL
);
CREATE INDEX proofs_of_place ON proofs (service, environment, kind, number);
