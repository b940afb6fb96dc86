//! What the configuration says about a service stands in the files a person reads.

use crate::{support::databases::databases, world::Shop};

const ABOUT: &str = r#"
[services.web.about]
provider = "AWS"
logging = { platform = "CloudWatch", retention = "30 days" }
logs = "https://logs.test/web"
dashboards = ["https://dashboards.test/web"]
business_metrics = ["orders per minute"]
variables = [{ name = "MODE", purpose = "which menu is shown" }]
contacts = [{ role = "on call", reach = "ann@shop.test" }]
"#;

#[tokio::test]
async fn the_files_of_a_deployment_say_where_it_is_hosted_logged_and_whom_to_call() {
    for database in databases().await {
        let shop = Shop::open_with(&database.url, "env = { MODE = \"hunter2\", API_KEY = \"env:PATH\" }").await;
        shop.configure(&format!("{}{ABOUT}", shop.text)).await;
        assert_eq!(shop.deploy("1.0.0").await["state"], "succeeded");
        let read = |path: &str| std::fs::read_to_string(shop.engine.workspace.root.join(path)).unwrap();
        let (document, status) = (read("docs/deployment.md"), read("status.md"));
        for line in [
            "- Provider: AWS",
            "- Region: not said",
            "- `API_KEY` (sensitive): not said",
            "- `MODE` (not sensitive): which menu is shown",
            "- Logging: CloudWatch, kept 30 days",
            "- Business metrics: orders per minute",
            "- Dashboards: https://dashboards.test/web",
            "- on call: ann@shop.test",
            "- escalation: oncall@shop.test",
        ] {
            assert!(document.lines().any(|found| found == line), "`{line}` is missing in\n{document}");
        }
        for line in ["- Logs: https://logs.test/web", "- Dashboard: https://dashboards.test/web"] {
            assert!(status.lines().any(|found| found == line), "`{line}` is missing in\n{status}");
        }
        for (kind, line) in [
            ("handover", "- Dashboard: https://dashboards.test/web"),
            ("handover", "- `on call`: `ann@shop.test`"),
            ("incident_procedures", "- Logs: https://logs.test/web"),
            ("go_live", "- `on call`: `ann@shop.test`"),
        ] {
            let written = shop.must("write_document", serde_json::json!({ "kind": kind })).await;
            let text = read(written["path"].as_str().unwrap());
            assert!(text.lines().any(|found| found == line), "`{line}` is missing in {kind}\n{text}");
        }
        let plan = shop.must("write_document", serde_json::json!({ "kind": "deployment_plan" })).await;
        assert_eq!(plan["missing"], serde_json::json!(["Region", "CI platform", "`API_KEY` (sensitive)"]), "what nobody said is told");
        assert!(!document.contains("hunter2") && !status.contains("hunter2"), "a variable's value is in no file");
    }
}
