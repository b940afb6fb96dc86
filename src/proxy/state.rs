//! What survives a worker: `state.json`, written whole or not at all. A file that cannot be read is no state: nothing is guessed.

use super::control::{ProbePlan, Rules, StateSource};
use anyhow::Context;
use interlock_model::{Epoch, Split, Stickiness, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The file's version.
const VERSION: u32 = 2;

/// What a proxy remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The file's version.
    pub v: u32,
    /// The boot it was written in: after another, its addresses belong to nobody knows whom.
    pub boot_id: String,
    /// The services of this listener. One without a name is from before services had any; the first to be named takes its place.
    pub services: BTreeMap<String, Service>,
}

/// What is remembered of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// The highest epoch seen.
    pub epoch: Epoch,
    /// The split in force.
    pub split: Split,
    /// The proxy's own requests.
    #[serde(default)]
    pub probe: Option<ProbePlan>,
    /// Since when something has been in force without a break.
    #[serde(default)]
    pub serving_since: Option<Timestamp>,
    /// The hosts it answers for; empty for all that no other service names.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// What a returning client is known by.
    #[serde(default)]
    pub stickiness: Stickiness,
    /// Whether its requests are written to the access log.
    #[serde(default = "yes")]
    pub access_log: bool,
    /// Until when new requests wait.
    #[serde(default)]
    pub held_until: Option<Timestamp>,
    /// Whether it was taken off the listener: then only its epoch counts.
    #[serde(default)]
    pub gone: bool,
}

impl Default for Service {
    fn default() -> Self {
        Service {
            epoch: Epoch::default(),
            split: Split::default(),
            probe: None,
            serving_since: None,
            hosts: Vec::new(),
            stickiness: Stickiness::None,
            access_log: true,
            held_until: None,
            gone: false,
        }
    }
}

impl Service {
    /// Takes over those rules that are said.
    pub fn follow(&mut self, rules: Rules) {
        let Rules { hosts, stickiness, access_log } = rules;
        self.hosts = hosts.unwrap_or(std::mem::take(&mut self.hosts));
        self.stickiness = stickiness.unwrap_or(std::mem::take(&mut self.stickiness));
        self.access_log = access_log.unwrap_or(self.access_log);
    }

    /// Returns the same with nothing but its epoch.
    pub fn withdrawn(&self) -> Self {
        Service { epoch: self.epoch, gone: true, ..Service::default() }
    }
}

impl Saved {
    /// Returns the services on the listener.
    pub fn present(&self) -> impl Iterator<Item = (&String, &Service)> {
        self.services.iter().filter(|(_, service)| !service.gone)
    }

    /// Returns the name under which a service is known; `None` asks for the only one.
    pub fn known_as(&self, asked: Option<&str>) -> Result<String, String> {
        let names: Vec<&String> = self.present().map(|(name, _)| name).collect();
        match (asked, names.as_slice()) {
            (None, []) => Ok(String::new()),
            (None, [only]) => Ok((*only).clone()),
            (None, several) => Err(format!("{} services share this listener; say which one is meant", several.len())),
            (Some(asked), [only]) if only.is_empty() && !self.services.contains_key(asked) => Ok(String::new()),
            (Some(asked), _) => Ok(asked.to_owned()),
        }
    }

    /// Says who is in the way of a service that answers for these hosts.
    pub fn conflict(&self, name: &str, hosts: &[String]) -> Option<String> {
        for (other, service) in self.present().filter(|(other, _)| *other != name) {
            if service.hosts.is_empty() && hosts.is_empty() {
                return Some(format!("`{other}` answers for every host that no other names; `{name}` must name the hosts it answers for"));
            }
            if let Some(host) = hosts.iter().find(|host| service.hosts.contains(host)) {
                return Some(format!("the host `{host}` is taken by `{other}`"));
            }
        }
        None
    }

    /// Returns the last state, and where it came from.
    pub fn load(dir: &Path, boot_id: &str) -> (Self, StateSource) {
        let empty = Saved { v: VERSION, boot_id: boot_id.to_owned(), ..Saved::default() };
        let (saved, source) = match (read(&dir.join("state.json")), read(&dir.join("state.json.prev"))) {
            (Copy::Whole(saved), _) => (saved, StateSource::Saved),
            (Copy::Absent, Copy::Whole(saved)) => (saved, StateSource::Previous),
            (Copy::Absent, Copy::Absent) => return (empty, StateSource::New),
            // What was in force before may be what was taken out of force for a reason: of it only the epoch counts.
            (_, Copy::Whole(saved)) => return (saved.epochs_only(boot_id), StateSource::Unreadable),
            _ => return (empty, StateSource::Unreadable),
        };
        if saved.boot_id != boot_id {
            return (saved.epochs_only(boot_id), StateSource::EarlierBoot);
        }
        (saved, source)
    }

    fn epochs_only(self, boot_id: &str) -> Self {
        let services = self.services.iter().map(|(name, service)| (name.clone(), service.withdrawn())).collect();
        Saved { v: VERSION, boot_id: boot_id.to_owned(), services }
    }

    /// Makes this state the durable one; the one before stays as `state.json.prev`.
    pub fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let (current, previous) = (dir.join("state.json"), dir.join("state.json.prev"));
        let fresh = dir.join("state.json.tmp");
        let whole = Saved { v: VERSION, ..self.clone() };
        write_durably(&fresh, &serde_json::to_vec(&whole).context("writing the proxy's state")?)?;
        // A copy that cannot be read must not push out the one that can.
        if matches!(read(&current), Copy::Whole(_)) {
            fs::rename(&current, &previous).context("keeping the proxy's previous state")?;
        }
        fs::rename(&fresh, &current).context("replacing the proxy's state")?;
        File::open(dir).and_then(|folder| folder.sync_all()).context("making the proxy's state durable")
    }
}

fn yes() -> bool {
    true
}

enum Copy {
    Whole(Saved),
    Absent,
    Broken,
}

/// The first shape: one service, without a name.
#[derive(Deserialize)]
struct First {
    boot_id: String,
    #[serde(flatten)]
    service: Service,
}

fn read(path: &Path) -> Copy {
    match fs::read(path) {
        Ok(bytes) => understand(&bytes).map_or(Copy::Broken, Copy::Whole),
        Err(err) if err.kind() == ErrorKind::NotFound => Copy::Absent,
        Err(_) => Copy::Broken,
    }
}

fn understand(bytes: &[u8]) -> Option<Saved> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    match value.get("v")?.as_u64()? {
        1 => {
            let First { boot_id, service } = serde_json::from_value(value).ok()?;
            Some(Saved { v: VERSION, boot_id, services: [(String::new(), service)].into() })
        }
        2 => serde_json::from_value(value).ok(),
        _ => None,
    }
}

/// Writes a file and waits until its bytes are on the disk.
pub fn write_durably(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(|| format!("writing `{}`", path.display()))
}

/// Returns the id of the running boot; empty where the system has none.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Returns when a living process started, in clock ticks since boot.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and brackets; fields count from behind its last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let is_dead = matches!(fields.next(), Some("Z" | "X"));
    fields.nth(18)?.parse().ok().filter(|_| !is_dead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlock_model::split::Share;

    fn split(version: &str) -> Split {
        Split(vec![Share { instance: "a".into(), address: ([127, 0, 0, 1], 9).into(), version: version.into(), weight: 1 }])
    }

    fn state(epoch: i64) -> Saved {
        let service = Service { epoch: Epoch(epoch), split: split("1"), ..Service::default() };
        Saved { v: VERSION, boot_id: "b".into(), services: [("web".to_owned(), service)].into() }
    }

    #[test]
    fn a_state_cut_anywhere_is_none_and_only_the_epoch_before_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Saved::load(dir.path(), "b").1, StateSource::New);
        state(1).save(dir.path()).unwrap();
        state(2).save(dir.path()).unwrap();
        assert_eq!(Saved::load(dir.path(), "b"), (state(2), StateSource::Saved));
        let whole = fs::read(dir.path().join("state.json")).unwrap();
        assert!(whole.len() > 100);
        for length in 0..whole.len() {
            fs::write(dir.path().join("state.json"), &whole[..length]).unwrap();
            let (saved, source) = Saved::load(dir.path(), "b");
            assert_eq!((saved.present().count(), source), (0, StateSource::Unreadable), "cut at {length}");
            assert_eq!(saved.services["web"].epoch, Epoch(1), "cut at {length}");
        }
        state(3).save(dir.path()).unwrap();
        assert_eq!(Saved::load(dir.path(), "b"), (state(3), StateSource::Saved));
        for name in ["state.json", "state.json.prev"] {
            fs::write(dir.path().join(name), "{").unwrap();
        }
        let (nothing, source) = Saved::load(dir.path(), "b");
        assert_eq!((nothing.services.len(), source), (0, StateSource::Unreadable));
    }

    #[test]
    fn a_crash_between_the_two_renames_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        state(1).save(dir.path()).unwrap();
        fs::rename(dir.path().join("state.json"), dir.path().join("state.json.prev")).unwrap();
        assert_eq!(Saved::load(dir.path(), "b"), (state(1), StateSource::Previous));
    }

    #[test]
    fn after_a_reboot_only_the_epoch_counts() {
        let dir = tempfile::tempdir().unwrap();
        state(7).save(dir.path()).unwrap();
        let (saved, source) = Saved::load(dir.path(), "another");
        assert_eq!((saved.present().count(), saved.services["web"].epoch, source), (0, Epoch(7), StateSource::EarlierBoot));
    }

    #[test]
    fn the_first_shape_is_one_service_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let first = r#"{"v":1,"boot_id":"b","epoch":5,"split":[{"instance":"a","address":"127.0.0.1:9","version":"1","weight":1}],
            "probe":{"path":"/","interval_ms":20},"serving_since":12}"#;
        fs::write(dir.path().join("state.json"), first).unwrap();
        let (saved, source) = Saved::load(dir.path(), "b");
        let service = &saved.services[""];
        assert_eq!((source, service.epoch, &service.split, service.access_log), (StateSource::Saved, Epoch(5), &split("1"), true));
        assert!(service.probe.is_some() && service.serving_since.is_some());
        assert_eq!((saved.known_as(Some("web")), saved.known_as(None)), (Ok(String::new()), Ok(String::new())));
        fs::write(dir.path().join("state.json"), r#"{"v":3,"boot_id":"b","services":{}}"#).unwrap();
        assert_eq!(Saved::load(dir.path(), "b").1, StateSource::Unreadable, "a later shape is not guessed at");
    }

    #[test]
    fn a_host_has_one_service() {
        let with = |hosts: &[&str]| Service { hosts: hosts.iter().map(|host| (*host).into()).collect(), ..Service::default() };
        let mut saved = Saved { services: [("a".to_owned(), with(&["a.test", "*.a.test"]))].into(), ..Saved::default() };
        let conflict = |saved: &Saved, name: &str, hosts: &[&str]| saved.conflict(name, &with(hosts).hosts);
        assert_eq!(conflict(&saved, "b", &["b.test", "x.a.test"]), None);
        assert_eq!(conflict(&saved, "a", &[]), None, "nobody is in its own way");
        assert_eq!(conflict(&saved, "b", &["*.a.test"]).unwrap(), "the host `*.a.test` is taken by `a`");
        assert_eq!(conflict(&saved, "b", &[]), None, "what nobody names is free");
        saved.services.insert("a".into(), with(&[]));
        assert_eq!(conflict(&saved, "b", &["b.test"]), None);
        assert!(conflict(&saved, "b", &[]).unwrap().contains("must name the hosts"), "one has the rest");
        saved.services.insert("a".into(), saved.services["a"].withdrawn());
        assert_eq!(conflict(&saved, "b", &[]), None, "who has gone claims nothing");
        assert_eq!(saved.known_as(None), Ok(String::new()));
        saved.services.extend([("b".to_owned(), with(&["b.test"])), ("c".to_owned(), with(&["c.test"]))]);
        assert!(saved.known_as(None).is_err() && saved.known_as(Some("b")) == Ok("b".into()));
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        assert!(start_time(std::process::id() as i32).is_some());
        assert_eq!(start_time(i32::MAX), None);
    }
}
