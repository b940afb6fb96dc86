//! The counters as Prometheus reads them (text format 0.0.4), each family once and whole.

use super::control::{Measured, VersionCount};
use interlock_model::Split;
use std::fmt::Write;

/// The upper bounds of the duration histogram, in milliseconds.
const BOUNDS_MS: [u64; 14] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000];

/// What is known of one service.
pub struct Reading {
    /// Its name.
    pub name: String,
    /// Its counters.
    pub measured: Measured,
    /// Requests that wait.
    pub waiting: u64,
    /// Who gets its traffic.
    pub split: Split,
}

/// Returns the text.
pub fn text(listen: &str, services: &[Reading], unrouted: u64) -> String {
    let mut text = String::new();
    let place = |reading: &Reading| format!("listen=\"{}\",service=\"{}\"", escaped(listen), escaped(&reading.name));
    let versions = || {
        services.iter().flat_map(|reading| {
            let place = place(reading);
            reading.measured.versions.iter().map(move |(name, count)| (format!("{place},version=\"{}\"", escaped(name)), count))
        })
    };
    head(&mut text, "interlock_requests_total", "counter", "Requests that ended, by the class of their status; none where no answer came.");
    for (labels, count) in versions() {
        for (class, requests) in &count.classes {
            let class = if *class == 0 { "none".to_owned() } else { format!("{class}xx") };
            line(&mut text, "interlock_requests_total", &format!("{labels},class=\"{class}\""), requests);
        }
    }
    head(&mut text, "interlock_router_errors_total", "counter", "Requests of a version that the router failed.");
    versions().for_each(|(labels, count)| line(&mut text, "interlock_router_errors_total", &labels, &count.router_errors));
    head(&mut text, "interlock_requests_in_flight", "gauge", "Requests in flight.");
    versions().for_each(|(labels, count)| line(&mut text, "interlock_requests_in_flight", &labels, &count.in_flight));
    head(&mut text, "interlock_request_duration_seconds", "histogram", "Time to the head of the answer.");
    versions().for_each(|(labels, count)| histogram(&mut text, &labels, count));
    head(&mut text, "interlock_split_weight", "gauge", "The weight of an instance in the split in force.");
    for reading in services {
        for share in &reading.split.0 {
            let (version, instance) = (escaped(&share.version), escaped(share.instance.as_str()));
            let labels = format!("{},version=\"{version}\",instance=\"{instance}\"", place(reading));
            line(&mut text, "interlock_split_weight", &labels, &u64::from(share.weight));
        }
    }
    type Counter = fn(&Reading) -> u64;
    let of_services: [(&str, &str, &str, Counter); 6] = [
        ("interlock_router_failures_total", "counter", "The router's own 502, 503 and 504 while a set served, and cut answers.", |one| {
            one.measured.router_failures
        }),
        ("interlock_drained_total", "counter", "Websockets told to reconnect and streams ended at a drain.", |one| one.measured.drained),
        ("interlock_probes_total", "counter", "The router's own requests.", |one| one.measured.probes),
        ("interlock_probes_failed_total", "counter", "The router's own requests that failed.", |one| one.measured.failed_probes),
        ("interlock_lost_workers_total", "counter", "Workers of the proxy that ended unasked.", |one| one.measured.lost_workers),
        ("interlock_requests_waiting", "gauge", "Requests that wait because the service is held.", |one| one.waiting),
    ];
    for (name, kind, help, count) in of_services {
        head(&mut text, name, kind, help);
        services.iter().for_each(|reading| line(&mut text, name, &place(reading), &count(reading)));
    }
    head(&mut text, "interlock_requests_unrouted_total", "counter", "Requests for a host that no service answers for.");
    line(&mut text, "interlock_requests_unrouted_total", &format!("listen=\"{}\"", escaped(listen)), &unrouted);
    text
}

/// Returns several proxies' texts as one: each family once and whole.
pub fn merged(texts: &[String]) -> String {
    let mut families: Vec<(&str, String)> = Vec::new();
    for block in texts.iter().flat_map(|text| text.split("# HELP ").skip(1)) {
        let mut lines = block.split_inclusive('\n');
        let (help, kind) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let name = help.split(' ').next().unwrap_or_default();
        let index = families.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            families.push((name, format!("# HELP {help}{kind}")));
            families.len() - 1
        });
        families[index].1.extend(lines);
    }
    families.into_iter().map(|(_, text)| text).collect()
}

fn histogram(text: &mut String, labels: &str, count: &VersionCount) {
    let name = "interlock_request_duration_seconds";
    for bound in BOUNDS_MS {
        let within: u64 = count.latency_ms.range(..=bound).map(|(_, requests)| requests).sum();
        line(text, &format!("{name}_bucket"), &format!("{labels},le=\"{}\"", bound as f64 / 1000.0), &within);
    }
    let all: u64 = count.latency_ms.values().sum();
    line(text, &format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), &all);
    let _ = writeln!(text, "{name}_sum{{{labels}}} {}", count.latency_sum_us as f64 / 1e6);
    line(text, &format!("{name}_count"), labels, &all);
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, count: &u64) {
    let _ = writeln!(text, "{name}{{{labels}}} {count}");
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlock_model::split::Share;
    use std::collections::BTreeSet;

    fn reading(name: &str) -> Reading {
        let count = VersionCount {
            requests: 7,
            errors: 1,
            router_errors: 1,
            in_flight: 2,
            latency_ms: [(1, 3), (40, 2), (90_000, 1)].into(),
            classes: [(0, 1), (2, 5), (5, 1)].into(),
            latency_sum_us: 1_500_000,
        };
        let share = Share { instance: "i-1".into(), address: ([127, 0, 0, 1], 1).into(), version: "1\"\\".into(), weight: 90 };
        let measured = Measured { versions: [("1\"\\".to_owned(), count)].into(), router_failures: 1, ..Measured::default() };
        Reading { name: name.into(), measured, waiting: 3, split: Split(vec![share]) }
    }

    #[test]
    fn the_text_says_what_was_counted() {
        let text = text("127.0.0.1:80", &[reading("web")], 4);
        let labels = r#"listen="127.0.0.1:80",service="web",version="1\"\\""#;
        for line in [
            format!("interlock_requests_total{{{labels},class=\"2xx\"}} 5"),
            format!("interlock_requests_total{{{labels},class=\"none\"}} 1"),
            format!("interlock_router_errors_total{{{labels}}} 1"),
            format!("interlock_requests_in_flight{{{labels}}} 2"),
            format!("interlock_request_duration_seconds_bucket{{{labels},le=\"0.001\"}} 3"),
            format!("interlock_request_duration_seconds_bucket{{{labels},le=\"0.05\"}} 5"),
            format!("interlock_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 6"),
            format!("interlock_request_duration_seconds_sum{{{labels}}} 1.5"),
            format!("interlock_request_duration_seconds_count{{{labels}}} 6"),
            format!("interlock_split_weight{{{labels},instance=\"i-1\"}} 90"),
            "interlock_requests_waiting{listen=\"127.0.0.1:80\",service=\"web\"} 3".to_owned(),
            "interlock_requests_unrouted_total{listen=\"127.0.0.1:80\"} 4".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn several_proxies_make_one_text_with_each_family_once() {
        let one = text("127.0.0.1:80", &[reading("web"), reading("shop")], 0);
        let two = text("127.0.0.1:81", &[reading("web")], 0);
        let all = merged(&[one.clone(), two.clone()]);
        let heads: Vec<_> = all.lines().filter(|line| line.starts_with("# TYPE")).collect();
        assert_eq!(heads.len(), heads.iter().collect::<BTreeSet<_>>().len());
        let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(samples(&all), samples(&one).union(&samples(&two)).cloned().collect());
        let mut family = "";
        for line in all.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(head) => family = head.split(' ').next().unwrap(),
                None => assert!(line.starts_with('#') || line.starts_with(family), "{line} under {family}"),
            }
        }
    }
}
