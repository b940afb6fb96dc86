-- What counts of a directive's reports, found by an index alone: handing over another costs no more when there are many.
CREATE INDEX evidence_newest ON evidence (directive_id, gate, origin, commit_id, digest, number);
