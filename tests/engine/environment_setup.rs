//! What a deployment needs around it: each thing that is missing is told with what supplies it, and stands as missing until it is there.

use crate::{
    support::databases::databases,
    world::{Shop, person},
};
use serde_json::{Value, json};
use std::{fs, net::TcpListener};

async fn facts(shop: &Shop, directive: &str) -> Value {
    shop.must("run_predeploy_checks", json!({ "directive": directive })).await["environment_setup"].take()
}

fn missing<'a>(facts: &'a Value, fact: &str) -> &'a Value {
    let found = facts.as_array().unwrap().iter().find(|one| one["fact"] == fact).unwrap();
    assert_eq!(found["holds"], false, "{facts:#}");
    assert!(facts.as_array().unwrap().iter().all(|one| one["fact"] == fact || one["holds"] == true), "only {fact}: {facts:#}");
    &found["missing"][0]
}

#[tokio::test]
async fn each_thing_the_environment_lacks_is_told_with_what_supplies_it() {
    for database in databases().await {
        let shop = Shop::open(&database.url).await;
        let (root, listener) = (shop.engine.workspace.root.clone(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let secret = root.join("key");
        fs::write(&secret, "hunter2").unwrap();
        let place = format!("env = {{ KEY = \"file:{}\" }}\ndependencies = [{{ name = \"db\", tcp = \"{address}\" }}]\n", secret.display());
        shop.configure(&shop.text.replace("\n[environments.staging.gates]", &format!("{place}\n[environments.staging.gates]"))).await;
        let directive = shop.order("staging", "1.0.0").await;
        let whole = facts(&shop, &directive).await;
        assert!(whole.as_array().unwrap().len() == 3 && whole.as_array().unwrap().iter().all(|fact| fact["holds"] == true), "{whole:#}");
        let status = async || shop.must("get_status", json!({ "directive": directive })).await;
        assert_eq!(status().await["environment_setup"], Value::Null, "nothing is missing");

        fs::remove_file(&secret).unwrap();
        let lacks = facts(&shop, &directive).await;
        let supplied = missing(&lacks, "secrets");
        assert!(supplied["how"].as_str().unwrap().contains(&format!("`install -m 600 /dev/stdin {}`", secret.display())), "{supplied}");
        let shown = status().await["environment_setup"][0].take();
        assert!(shown.as_str().unwrap().starts_with("secrets: a value for `KEY`: "), "{}: {shown}", database.name);
        fs::write(&secret, "hunter2").unwrap();

        drop(listener);
        let lacks = facts(&shop, &directive).await;
        let supplied = missing(&lacks, "infrastructure");
        assert!(supplied["how"].as_str().unwrap().starts_with(&format!("start what is to listen at {address} (`db`)")), "{supplied}");
        let _again = TcpListener::bind(address).unwrap();

        // Production stands under a signature: what was applied for it waits.
        let in_production = shop.order("production", "1.0.0").await;
        let applied = shop.engine.apply(&person(), &shop.text.replace("keep  = 5", "keep  = 6")).await.unwrap();
        assert!(applied.proposal.is_some());
        let lacks = facts(&shop, &in_production).await;
        let supplied = missing(&lacks, "configuration");
        assert_eq!(supplied["how"], "interlock apply", "{supplied}");
    }
}
