-- What is looked up by more than its number, found without reading every row: an answer takes as long after 100,000 deployments as after ten.
CREATE INDEX deployments_of_directive ON deployments (directive_id, number);
CREATE INDEX deployments_in_state ON deployments (state, number);
CREATE INDEX deployments_in_environment ON deployments (environment, number);
CREATE INDEX deployments_of_one_service ON deployments (service, number);
CREATE INDEX deployments_of_release ON deployments (digest, environment, service, number);
CREATE INDEX rollbacks_of_deployment ON deployments (rollback_of, number) WHERE rollback_of IS NOT NULL;
CREATE INDEX directives_in_status ON strategic_directives_v2 (status, number);
CREATE INDEX directives_of_place ON strategic_directives_v2 (service, environment, number);
CREATE INDEX plans_in_state ON plans (state, number);
CREATE INDEX jobs_of_directive ON jobs (directive_id, kind, number);
CREATE INDEX incidents_of_deployment ON incidents (deployment_id, number);
CREATE INDEX measurements_of_deployment ON measurements (deployment_id, number);
