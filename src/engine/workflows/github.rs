//! The workflow for GitHub Actions: what it logs in to and where the release lies in between differs, the way through Interlock does not.

use super::{DEPLOYING, MARK, Pipeline, WorkflowPlatform, indented};
use std::fmt::Write;

/// An action at a commit: tags move, commits do not.
struct Action {
    name: &'static str,
    commit: &'static str,
    /// The tag that stood at this commit.
    tag: &'static str,
}

const CHECKOUT: Action = Action { name: "actions/checkout", commit: "3d3c42e5aac5ba805825da76410c181273ba90b1", tag: "v7.0.1" };
const UPLOAD: Action = Action { name: "actions/upload-artifact", commit: "bbbca2ddaa5d8feaa63e36b76fdaad77386f024f", tag: "v7.0.0" };
const ATTEST: Action =
    Action { name: "actions/attest-build-provenance", commit: "a2bbfa25375fe432b6a289bc6b6cd05ecd0c4c32", tag: "v4.1.0" };
const AWS: Action =
    Action { name: "aws-actions/configure-aws-credentials", commit: "e6de054238d6b7531b4efff3b6587d9aade6a06c", tag: "v6.2.3" };
const AZURE: Action = Action { name: "azure/login", commit: "f5d393ae46f8fde4be8b75f32e3fc50e654ad0ca", tag: "v3.0.1" };
const GCP: Action = Action { name: "google-github-actions/auth", commit: "7c6bc770dae815cd3e89ee6cdf493a5fab2cc093", tag: "v3.0.0" };

/// What differs between the platforms.
struct Between {
    /// The variables and secrets it reads, for who sets them.
    variables: &'static str,
    /// Permissions of the build job, and of the jobs that deploy.
    permissions: [&'static str; 2],
    /// Environment of the build job, and of the jobs that deploy.
    env: [&'static str; 2],
    /// Steps that keep `release.tar.gz` by its digest.
    keep: String,
    /// Steps before a release is fetched.
    log_in: String,
    /// Finds `DIGEST` of a commit that the branch has built.
    find: &'static str,
    /// Fetches `release.tar.gz` of `DIGEST`.
    fetch: &'static str,
}

/// Returns the workflow's text.
pub(super) fn workflow(platform: WorkflowPlatform, pipeline: &Pipeline) -> String {
    let between = between(platform);
    let mut text = format!("{MARK}\n");
    for line in pipeline.story().chain(between.variables.lines()) {
        let _ = writeln!(text, "{}", format!("# {line}").trim_end());
    }
    let tags = if pipeline.by_hand.is_empty() { "" } else { "    tags: [\"v*\"]\n" };
    let options: Vec<&str> = pipeline.automatic.iter().chain(&pipeline.by_hand).map(String::as_str).collect();
    text.push_str(
        &HEAD
            .replace("{service}", &pipeline.service)
            .replace("{branch}", &pipeline.branch)
            .replace("{tags}", tags)
            .replace("{options}", &options.join(", ")),
    );
    text.push_str(&build(pipeline, &between));
    for environment in &pipeline.automatic {
        let when = format!("github.event_name == 'push' || inputs.environment == '{environment}'");
        text.push_str(&deploy(pipeline, &between, environment, &when, true));
    }
    for environment in &pipeline.by_hand {
        let when = format!("github.ref_type == 'tag' || inputs.environment == '{environment}'");
        text.push_str(&deploy(pipeline, &between, environment, &when, false));
    }
    text
}

const HEAD: &str = r#"name: deploy {service}
run-name: deploy {service} (${{ inputs.environment || github.ref_name }}) ${{ inputs.interlock }}

on:
  push:
    branches: ["{branch}"]
{tags}  workflow_dispatch:
    inputs:
      environment:
        description: Where to
        required: true
        type: choice
        options: [{options}]
      interlock:
        description: Names this run to whoever asked for it
        required: false
        type: string

permissions: {}

defaults:
  run:
    shell: bash

jobs:
"#;

fn build(pipeline: &Pipeline, between: &Between) -> String {
    let others: String = pipeline.by_hand.iter().map(|environment| format!(" && inputs.environment != '{environment}'")).collect();
    BUILD
        .replace("{when}", &format!("github.ref == 'refs/heads/{}'{others}", pipeline.branch))
        .replace("{permissions}", &indented(between.permissions[0], 6))
        .replace("{env}", &env(between.env[0]))
        .replace("{checkout}", &uses(&CHECKOUT))
        .replace("{build}", &indented(&pipeline.build, 10))
        .replace("{pack}", &indented(&pipeline.pack(), 10))
        + &between.keep
}

const BUILD: &str = r#"  build:
    if: {when}
    runs-on: ubuntu-latest
    timeout-minutes: 60
    permissions:
{permissions}    outputs:
      digest: ${{ steps.release.outputs.digest }}
{env}    steps:
{checkout}        with:
          persist-credentials: false
      - name: Build
        run: |
          export VERSION="${GITHUB_SHA:0:12}"
{build}      - name: Name the release by its digest
        id: release
        run: |
{pack}          digest="$(sha256sum release.tar.gz | cut -d ' ' -f 1)"
          echo "DIGEST=$digest" >>"$GITHUB_ENV"
          echo "digest=$digest" >>"$GITHUB_OUTPUT"
"#;

fn deploy(pipeline: &Pipeline, between: &Between, environment: &str, when: &str, is_automatic: bool) -> String {
    let run = |name: &str, script: &str| format!("      - name: {name}\n        run: |\n{}", indented(script, 10));
    let find = match is_automatic {
        true => String::new(),
        false => run("Find what the branch has built of this commit", between.find),
    };
    let digest = if is_automatic { "DIGEST: ${{ needs.build.outputs.digest }}\n" } else { "" };
    DEPLOY
        .replace("{when}", when)
        .replace("{needs}", if is_automatic { "    needs: build\n" } else { "" })
        .replace("{minutes}", if is_automatic { "120" } else { "360" })
        .replace("{permissions}", &indented(between.permissions[1], 6))
        .replace("{env}", &indented(&format!("{}{digest}", between.env[1]), 6))
        .replace("{log_in}", &between.log_in)
        .replace("{find}", &find)
        .replace("{fetch}", &run("Fetch the release", between.fetch))
        .replace("{deploying}", &indented(DEPLOYING, 10))
        .replace("{environment}", environment)
        .replace("{service}", &pipeline.service)
        .replace("{branch}", &pipeline.branch)
        .replace("{file}", &pipeline.file())
}

const DEPLOY: &str = r#"
  deploy-{environment}:
    if: {when}
{needs}    runs-on: ${{ vars.INTERLOCK_RUNNER || 'self-hosted' }}
    timeout-minutes: {minutes}
    environment: {environment}
    concurrency:
      group: deploy-{service}-{environment}
      cancel-in-progress: false
    permissions:
{permissions}    env:
      INTERLOCK_WORKSPACE: ${{ vars.INTERLOCK_WORKSPACE }}
      SERVICE: {service}
      ENVIRONMENT: {environment}
      COMMIT: ${{ github.sha }}
{env}    steps:
{log_in}{find}{fetch}      - name: Deploy through Interlock
        run: |
{deploying}"#;

fn env(lines: &str) -> String {
    if lines.is_empty() { String::new() } else { format!("    env:\n{}", indented(lines, 6)) }
}

fn uses(action: &Action) -> String {
    format!("      - uses: {}@{} # {}\n", action.name, action.commit, action.tag)
}

fn between(platform: WorkflowPlatform) -> Between {
    let log_in = |action: &Action, with: &str| format!("{}        with:\n{}", uses(action), indented(with, 10));
    let in_cloud = |variables, action: &Action, with: &str, keep: &str, find, fetch| Between {
        variables,
        permissions: ["contents: read\nid-token: write\n", "id-token: write\n"],
        env: ["RELEASES: ${{ vars.INTERLOCK_RELEASES }}\n", "RELEASES: ${{ vars.INTERLOCK_RELEASES }}\n"],
        keep: log_in(action, with) + "      - name: Keep the release by its digest\n        run: |\n" + &indented(keep, 10),
        log_in: log_in(action, with),
        find,
        fetch,
    };
    match platform {
        WorkflowPlatform::Aws => in_cloud(
            "  AWS_ROLE_ARN, AWS_REGION: the role that GitHub's OIDC may take, one for the build and one an environment\n\
             \x20 INTERLOCK_RELEASES: the bucket of releases",
            &AWS,
            "role-to-assume: ${{ vars.AWS_ROLE_ARN }}\naws-region: ${{ vars.AWS_REGION }}\n",
            "aws s3 cp release.tar.gz \"s3://$RELEASES/sha256/$DIGEST.tar.gz\"\n\
             printf '%s' \"$DIGEST\" | aws s3 cp - \"s3://$RELEASES/commits/$GITHUB_SHA\"\n",
            "digest=\"$(aws s3 cp \"s3://$RELEASES/commits/$COMMIT\" -)\"\n\
             [[ \"$digest\" =~ ^[0-9a-f]{64}$ ]]\necho \"DIGEST=$digest\" >>\"$GITHUB_ENV\"\n",
            "aws s3 cp \"s3://$RELEASES/sha256/$DIGEST.tar.gz\" release.tar.gz\n",
        ),
        WorkflowPlatform::Azure => in_cloud(
            "  AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_SUBSCRIPTION_ID: what GitHub's OIDC is federated with, one for the build and one an environment\n\
             \x20 INTERLOCK_RELEASES: the storage account with a container `releases`",
            &AZURE,
            "client-id: ${{ vars.AZURE_CLIENT_ID }}\ntenant-id: ${{ vars.AZURE_TENANT_ID }}\nsubscription-id: ${{ vars.AZURE_SUBSCRIPTION_ID }}\n",
            "az storage blob upload --auth-mode login --account-name \"$RELEASES\" --container-name releases --overwrite true \\\n  \
             --name \"sha256/$DIGEST.tar.gz\" --file release.tar.gz\n\
             az storage blob upload --auth-mode login --account-name \"$RELEASES\" --container-name releases --overwrite true \\\n  \
             --name \"commits/$GITHUB_SHA\" --data \"$DIGEST\"\n",
            "az storage blob download --auth-mode login --account-name \"$RELEASES\" --container-name releases --no-progress \\\n  \
             --name \"commits/$COMMIT\" --file digest\n\
             [[ \"$(cat digest)\" =~ ^[0-9a-f]{64}$ ]]\necho \"DIGEST=$(cat digest)\" >>\"$GITHUB_ENV\"\n",
            "az storage blob download --auth-mode login --account-name \"$RELEASES\" --container-name releases --no-progress \\\n  \
             --name \"sha256/$DIGEST.tar.gz\" --file release.tar.gz\n",
        ),
        WorkflowPlatform::Gcp => in_cloud(
            "  GCP_WORKLOAD_IDENTITY_PROVIDER, GCP_SERVICE_ACCOUNT: what GitHub's OIDC is exchanged for, one for the build and one an environment\n\
             \x20 INTERLOCK_RELEASES: the bucket of releases",
            &GCP,
            "workload_identity_provider: ${{ vars.GCP_WORKLOAD_IDENTITY_PROVIDER }}\nservice_account: ${{ vars.GCP_SERVICE_ACCOUNT }}\n",
            "gcloud storage cp release.tar.gz \"gs://$RELEASES/sha256/$DIGEST.tar.gz\"\n\
             printf '%s' \"$DIGEST\" | gcloud storage cp - \"gs://$RELEASES/commits/$GITHUB_SHA\"\n",
            "digest=\"$(gcloud storage cat \"gs://$RELEASES/commits/$COMMIT\")\"\n\
             [[ \"$digest\" =~ ^[0-9a-f]{64}$ ]]\necho \"DIGEST=$digest\" >>\"$GITHUB_ENV\"\n",
            "gcloud storage cp \"gs://$RELEASES/sha256/$DIGEST.tar.gz\" release.tar.gz\n",
        ),
        WorkflowPlatform::Github => attested("", ""),
        WorkflowPlatform::Vercel => attested(
            "  VERCEL_CLI, VERCEL_ORG_ID, VERCEL_PROJECT_ID: the version of Vercel's command line, and the project\n\
             \x20 VERCEL_TOKEN (a secret): Vercel takes no OIDC of GitHub's",
            "VERCEL_TOKEN: ${{ secrets.VERCEL_TOKEN }}\nVERCEL_CLI: ${{ vars.VERCEL_CLI }}\n\
             VERCEL_ORG_ID: ${{ vars.VERCEL_ORG_ID }}\nVERCEL_PROJECT_ID: ${{ vars.VERCEL_PROJECT_ID }}\n",
        ),
        WorkflowPlatform::Gitlab => unreachable!("GitLab's pipeline is another file"),
    }
}

/// Keeps the release at GitHub, with an attestation by OIDC of which workflow built it of which commit.
fn attested(variables: &'static str, build_env: &'static str) -> Between {
    Between {
        variables,
        permissions: ["contents: read\nid-token: write\nattestations: write\n", "actions: read\nattestations: read\n"],
        env: [build_env, "GH_TOKEN: ${{ github.token }}\n"],
        keep: format!(
            "{}        with:\n          subject-path: release.tar.gz\n{}        with:\n          name: release\n          path: release.tar.gz\n          \
             if-no-files-found: error\n",
            uses(&ATTEST),
            uses(&UPLOAD)
        ),
        log_in: String::new(),
        find: "run=\"$(gh run list --repo \"$GITHUB_REPOSITORY\" --workflow \"{file}\" --branch \"{branch}\" --event push \\\n  \
               --commit \"$COMMIT\" --status success --limit 1 --json databaseId --jq '.[0].databaseId // empty')\"\n\
               if [ -z \"$run\" ]; then echo \"nothing was built of $COMMIT on {branch}\" >&2; exit 1; fi\n\
               echo \"BUILT_BY=$run\" >>\"$GITHUB_ENV\"\n",
        fetch: "rm -f release.tar.gz\n\
                gh run download \"${BUILT_BY:-$GITHUB_RUN_ID}\" --repo \"$GITHUB_REPOSITORY\" --name release\n\
                gh attestation verify release.tar.gz --repo \"$GITHUB_REPOSITORY\" --source-digest \"$COMMIT\" \\\n  \
                --signer-workflow \"$GITHUB_REPOSITORY/.github/workflows/{file}\"\n\
                if [ -z \"${DIGEST:-}\" ]; then echo \"DIGEST=$(sha256sum release.tar.gz | cut -d ' ' -f 1)\" >>\"$GITHUB_ENV\"; fi\n",
    }
}
