//! The real server tells a real receiver: a freeze is told although the server is killed before it is sent, and the command line says what came
//! back.

mod support;

use serde_json::json;
use support::{
    databases::Database,
    on_both,
    pages::send,
    receiver::{Receiver, SECRET, verified},
    standby::until,
    wire::{finish, http},
    workspace::Workspace,
};

on_both!(what_is_recorded_is_told_by_the_next_server);

async fn what_is_recorded_is_told_by_the_next_server(database: Database) {
    let receiver = Receiver::start().await;
    let configuration = format!(
        "[project]\nname = \"shop\"\n[services.web]\ncommand = [\"{{release}}/web\"]\nhealth = {{ alive = true }}\n\
         [environments.staging.services.web]\nrouter = {{ kind = \"proxy\", listen = \"127.0.0.1:39181\" }}\n\
         [notify.pager]\nkind = \"webhook\"\nurl = \"http://{}/hook\"\nsecret = \"env:PAGER_SECRET\"\nprivate = true\n\
         [notify.lost]\nkind = \"webhook\"\nurl = \"env:NOBODY_SET_THIS\"\nsecret = \"env:PAGER_SECRET\"\nevents = [\"stuck\"]\n",
        receiver.address
    );
    let mut shop = Workspace::new(database, &configuration);
    let marks = tempfile::tempdir().unwrap();
    let marks = marks.path().to_str().unwrap();
    let armed = [("PAGER_SECRET", SECRET), ("INTERLOCK_FAILPOINT", "notify:addressed"), ("INTERLOCK_FAILPOINT_DIR", marks)];
    shop.serve(&armed).await.unwrap();
    let run = async |shop: &Workspace, words: &[&str]| finish(&mut shop.interlock(words)).await;
    assert!(run(&shop, &["apply"]).await.status.success());
    assert!(run(&shop, &["freeze", "staging", "--reason", "the till is empty"]).await.status.success());
    until("the failpoint", || std::path::Path::new(marks).join("notify_addressed").exists()).await.unwrap();
    assert_eq!(shop.ended().await.unwrap(), Some(9), "killed");
    assert_eq!(receiver.came().len(), 0, "it was killed before it sent anything");

    shop.serve(&[("PAGER_SECRET", SECRET)]).await.unwrap();
    let came = receiver.until(1).await;
    assert_eq!((came.len(), came[0].kind().as_str()), (1, "frozen"));
    let (address, _) = shop.listens();
    assert_eq!(came[0].says()["data"]["url"], format!("http://localhost:{}/freezes", address.port()));
    if let Some(hold) = verified(&came, SECRET) {
        assert_eq!(hold, [true]);
    }

    let tried = run(&shop, &["notify", "test", "pager"]).await;
    let said = String::from_utf8_lossy(&tried.stdout).into_owned();
    assert!(tried.status.success() && said.contains("`pager` took it: answered 200: ok"), "{tried:?}");
    assert_eq!(receiver.came()[1].kind(), "test");
    let lost = run(&shop, &["notify", "test", "lost"]).await;
    let said = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert!(!lost.status.success() && said.contains("secret `env:NOBODY_SET_THIS`: the variable is not set"), "{lost:?}");
    let listed = run(&shop, &["notify", "list"]).await;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("pager: webhook of asks, decided") && listed.contains("1 arrived, the last at"), "{listed}");

    // Prometheus and people see how they fare.
    let (address, token) = shop.listens();
    let (_, metrics) = http(address, "GET", "/metrics", &format!("authorization: Bearer {token}\r\n"), "").await.unwrap();
    for line in ["interlock_notifications_delivered{destination=\"pager\"} 1", "interlock_notifications_waiting{destination=\"lost\"} 0"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let link = shop.client().call("open", json!({ "to": "/configuration" })).await.unwrap();
    let host = format!("localhost:{}", address.port());
    let enter = link["url"].as_str().unwrap().split_once(&host).unwrap().1;
    let entered = send(address, "GET", enter, &[("host", &host)], "").await;
    let cookie = entered.header("set-cookie").unwrap().split(';').next().unwrap();
    let page = send(address, "GET", "/configuration", &[("host", &host), ("cookie", cookie)], "").await.body;
    assert!(page.contains("<h2>Notifications</h2>") && page.contains("pager <span class=\"quiet\">webhook</span>"), "{page}");

    // Nothing that the server or the command line has written holds the secret; what is no secret is found there.
    let logs: String = std::fs::read_dir(shop.logs_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect();
    assert!(logs.contains("told `pager` of") && !logs.contains(SECRET) && !said.contains(SECRET) && !listed.contains(SECRET), "{logs}");
    assert!(!metrics.contains(SECRET) && !page.contains(SECRET));
}
