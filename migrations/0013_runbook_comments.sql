-- What people say of single lines of a runbook's version. It decides nothing: publishing and returning stay signed decisions. `quote` is what
-- the line says in that version, so that whoever writes the next one sees whether it still does.
CREATE TABLE runbook_comments (
    number BIGINT PRIMARY KEY,
    runbook_id TEXT NOT NULL REFERENCES venture_deployment_runbook (id),
    version BIGINT NOT NULL,
    line BIGINT NOT NULL,
    quote TEXT NOT NULL,
    body TEXT NOT NULL,
    author TEXT NOT NULL,
    commented_at BIGINT NOT NULL
);
CREATE INDEX runbook_comments_of ON runbook_comments (runbook_id, number);
