//! The fake world keeps the promises that engine tests rest on: it fails before, crashes after, counts, fences and serves.

use interlock::{
    model::{Epoch, Lease, ServiceSpec, Sha256, Split, service::*},
    targets::{InstanceSpec, Router, RouterError, Target, TargetError, fake::*, probe::Probe, share},
};
use std::time::Duration;

fn lease(epoch: i64) -> Lease {
    Lease { environment: "staging".into(), holder: "test".into(), epoch: Epoch(epoch) }
}

fn instance(id: &str, version: &str) -> InstanceSpec {
    let spec = serde_json::json!({
        "service": "web", "environment": "staging", "owner": null, "escalation": null, "command": ["web"],
        "health": {"check": "alive", "interval_ms": 1, "timeout_ms": 1, "successes": 1, "deadline_ms": 1},
        "version": null, "smoke": [], "drain_ms": 1, "bake_ms": 1, "keep": 1, "instances": 1, "env": {}, "dependencies": [],
        "target": {"kind": "local"}, "router": {"kind": "proxy", "listen": "127.0.0.1:1"},
    });
    let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
    InstanceSpec { id: id.into(), version: version.into(), digest: Sha256::of(b"r"), release_dir: "/r".into(), spec }
}

#[tokio::test]
async fn instances_show_their_version_over_http() {
    let world = FakeWorld::new();
    world.behave("2.0.0", Behaviour { status: 200, shows: "1.9.9".into(), exits: false });
    world.behave("3.0.0", Behaviour { status: 200, shows: "3.0.0".into(), exits: true });
    let check = IdentityCheck { http: "/version".into(), token: "{version}".into() };
    let good = world.target().start(&lease(1), &instance("a", "1.0.0")).await.unwrap();
    Probe::new(good.address).identity(&check, "1.0.0").await.unwrap();
    let wrong = world.target().start(&lease(1), &instance("b", "2.0.0")).await.unwrap();
    assert!(Probe::new(wrong.address).identity(&check, "2.0.0").await.is_err());
    let exited = world.target().start(&lease(1), &instance("c", "3.0.0")).await.unwrap();
    assert_eq!((exited.running, exited.last_exit.as_deref()), (false, Some("exit 1")));
    assert_eq!(world.running().len(), 2);
    world.target().stop(&lease(1), &good.instance, Duration::ZERO).await.unwrap();
    assert!(Probe::new(good.address).identity(&check, "1.0.0").await.is_err());
    world.reboot();
    assert!(world.running().is_empty());
}

#[tokio::test]
async fn mischief_strikes_at_its_call_and_epochs_hold() {
    let world = FakeWorld::new();
    let (target, router) = (world.target(), world.router());
    for (number, mischief) in [(1, Mischief::Fail), (2, Mischief::Crash), (4, Mischief::Hang), (5, Mischief::Crash)] {
        world.on_call(number, mischief);
    }
    let spec = instance("a", "1.0.0");
    target.start(&lease(2), &spec).await.unwrap_err();
    assert!(world.running().is_empty(), "nothing was done");
    target.start(&lease(2), &spec).await.unwrap_err();
    assert_eq!(world.running().len(), 1, "it was done, and still an error came");
    let observed = target.start(&lease(2), &spec).await.unwrap();
    let split = Split(vec![share(&observed)]);
    tokio::time::timeout(Duration::from_millis(20), router.set(&split, Epoch(2))).await.unwrap_err();
    assert!(world.serving().is_empty());
    router.set(&split, Epoch(2)).await.unwrap_err();
    router.set(&split, Epoch(2)).await.unwrap();
    assert_eq!((world.serving(), world.versions(), world.calls()), (vec!["1.0.0".into()], vec!["1.0.0".into()], 6));
    assert!(matches!(router.set(&Split::default(), Epoch(1)).await, Err(RouterError::StaleEpoch { .. })));
    assert!(matches!(target.stop(&lease(1), &spec.id, Duration::ZERO).await, Err(TargetError::StaleEpoch { .. })));
    assert_eq!(world.log()[5..], ["set 1.0.0", "set ", "stop a"]);
}
