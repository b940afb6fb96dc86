-- What a failed deployment leaves behind: a draft directive that carries it, and how many failures in a row led to it.
ALTER TABLE strategic_directives_v2 ADD COLUMN follows TEXT;
ALTER TABLE strategic_directives_v2 ADD COLUMN follow_depth BIGINT NOT NULL DEFAULT 0;
