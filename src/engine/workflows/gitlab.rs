//! The pipeline for GitLab CI: the release lies in the project's package registry, signed by the job's OIDC identity.

use super::{DEPLOYING, MARK, Pipeline, indented};
use std::fmt::Write;

/// Returns `.gitlab-ci.yml`.
pub(super) fn pipeline(pipeline: &Pipeline) -> String {
    let mut text = format!("{MARK}\n");
    for line in pipeline.story() {
        let _ = writeln!(text, "{}", format!("# {line}").trim_end());
    }
    text.push_str("# The runner named by INTERLOCK_RUNNER, and the one that builds, have cosign, curl, jq and git.\n");
    // A pipeline that was asked for names where to; any other says nothing.
    let to = |environment: &str| format!("$INTERLOCK_ENVIRONMENT == \"{environment}\"");
    let asked: Vec<String> = pipeline.automatic.iter().map(|environment| to(environment)).collect();
    let built = std::iter::once("$INTERLOCK_ENVIRONMENT == null".to_owned()).chain(asked).collect::<Vec<_>>().join(" || ");
    let tags = if pipeline.by_hand.is_empty() { "" } else { "    - if: $CI_COMMIT_TAG =~ /^v/\n" };
    let filled = |template: &str| template.replace("{branch}", &pipeline.branch).replace("{service}", &pipeline.service);
    text.push_str(
        &filled(BUILD)
            .replace("{tags}", tags)
            .replace("{built}", &built)
            .replace("{build}", &indented(&pipeline.build, 6))
            .replace("{pack}", &indented(&pipeline.pack(), 6)),
    );
    let branch = &pipeline.branch;
    for environment in &pipeline.automatic {
        let asked = to(environment);
        let rules = format!("    - if: $CI_COMMIT_BRANCH == \"{branch}\" && ($INTERLOCK_ENVIRONMENT == null || {asked})\n");
        text.push_str(&deploy(&filled(DEPLOY), environment, "2 hours", &rules));
    }
    for environment in &pipeline.by_hand {
        let asked = to(environment);
        let rules = format!(
            "    - if: {asked}\n    - if: $CI_COMMIT_TAG =~ /^v/\n    \
             - if: $CI_COMMIT_BRANCH == \"{branch}\" && $INTERLOCK_ENVIRONMENT == null\n      when: manual\n      allow_failure: true\n"
        );
        text.push_str(&deploy(&filled(DEPLOY), environment, "6 hours", &rules));
    }
    text
}

fn deploy(template: &str, environment: &str, timeout: &str, rules: &str) -> String {
    template
        .replace("{rules}", rules)
        .replace("{timeout}", timeout)
        .replace("{deploying}", &indented(DEPLOYING, 6))
        .replace("{environment}", environment)
}

const BUILD: &str = r#"
workflow:
  name: "deploy {service} $INTERLOCK_ENVIRONMENT $INTERLOCK_RUN"
  rules:
    - if: $CI_COMMIT_BRANCH == "{branch}"
{tags}
stages: [build, deploy]

build:
  stage: build
  timeout: 1 hour
  rules:
    - if: $CI_COMMIT_BRANCH == "{branch}" && ({built})
  id_tokens:
    SIGSTORE_ID_TOKEN:
      aud: sigstore
  script:
    - |
      set -eu
      export VERSION="$(printf '%.12s' "$CI_COMMIT_SHA")"
{build}{pack}      cosign sign-blob --yes --bundle release.sigstore.json release.tar.gz
      for file in release.tar.gz release.sigstore.json; do
        curl --fail --silent --show-error --header "JOB-TOKEN: $CI_JOB_TOKEN" --upload-file "$file" \
          "$CI_API_V4_URL/projects/$CI_PROJECT_ID/packages/generic/{service}/$CI_COMMIT_SHA/$file"
      done
"#;

const DEPLOY: &str = r#"
deploy-{environment}:
  stage: deploy
  timeout: {timeout}
  tags: [$INTERLOCK_RUNNER]
  needs: [{job: build, optional: true}]
  environment: {environment}
  resource_group: deploy-{service}-{environment}
  interruptible: false
  rules:
{rules}  variables:
    GIT_STRATEGY: none
    SERVICE: {service}
    ENVIRONMENT: {environment}
    COMMIT: $CI_COMMIT_SHA
  script:
    - |
      set -eu
      for file in release.tar.gz release.sigstore.json; do
        curl --fail --silent --show-error --header "JOB-TOKEN: $CI_JOB_TOKEN" --output "$file" \
          "$CI_API_V4_URL/projects/$CI_PROJECT_ID/packages/generic/{service}/$COMMIT/$file"
      done
      cosign verify-blob --bundle release.sigstore.json --certificate-oidc-issuer "$CI_SERVER_URL" \
        --certificate-identity "$CI_PROJECT_URL//.gitlab-ci.yml@refs/heads/{branch}" release.tar.gz
      DIGEST="$(sha256sum release.tar.gz | cut -d ' ' -f 1)"
{deploying}"#;
