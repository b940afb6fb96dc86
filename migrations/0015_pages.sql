-- What pages ask of everything there is, found without reading all of it: they take as long after 100,000 deployments as after ten.
CREATE INDEX steps_decided ON deployment_steps (deployment_id) WHERE output LIKE '%"decided":{%';
CREATE INDEX measured_hours ON measurements (measured_at) WHERE kind = 'hour';
CREATE INDEX runbook_versions_of_directive ON runbook_versions (directive_id, version);
CREATE INDEX runbook_reviews_of ON runbook_reviews (runbook_id, number);
CREATE INDEX deliveries_to ON deliveries (destination, state, settled_at, queued_at);
CREATE INDEX deliveries_said ON deliveries (destination, queued_at DESC, message_id) WHERE said IS NOT NULL;
