-- Freezes that recur, lifts of a freeze of all environments in one of them, and when each freeze was declared.
ALTER TABLE freezes ADD COLUMN created_at BIGINT;
-- JSON: the RFC 5545 rule, how long a window lasts, the zone, and what the rule counts from.
ALTER TABLE freezes ADD COLUMN recurrence TEXT;

CREATE TABLE freeze_lifts (
    freeze_id TEXT NOT NULL REFERENCES freezes (id),
    environment TEXT NOT NULL,
    lifted_by TEXT NOT NULL,
    lifted_at BIGINT NOT NULL,
    PRIMARY KEY (freeze_id, environment)
);
