-- What the creator of a directive says has changed (documentation, configuration, development, code), and whether nothing was built for it: then
-- its release is the one that served when it was opened.
ALTER TABLE strategic_directives_v2 ADD COLUMN claimed_change TEXT;
ALTER TABLE strategic_directives_v2 ADD COLUMN nothing_built BIGINT NOT NULL DEFAULT 0;
