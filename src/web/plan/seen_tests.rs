//! What is seen is what is signed: random plans with hostile texts in every field, shown at the terminal and on the page, are put together
//! again from what stands there, byte for byte; and the same look catches renderers that leave out, alter or hide.

use super::{
    Decider, body,
    drawn_plan::{BORROWED, HIDDEN, HOSTILE, plan},
    known::Known,
};
use crate::{
    decisions::{self, Review},
    model::{DecisionKind, Plan, PlanState, Sha256, Timestamp, canonical_json},
    store::{Approvals, PlanRecord},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, thread};

const PLANS: u64 = 10_000;

/// What a person has before them.
struct Shown {
    /// What `interlock approve` prints before it asks.
    terminal: String,
    /// The page.
    page: String,
}

fn shown(plan: &Plan, bytes: &[u8]) -> Shown {
    let document = String::from_utf8(bytes.to_vec()).unwrap();
    let review = Review {
        kind: DecisionKind::Plan,
        subject_sha256: Sha256::of(bytes),
        document,
        environment: Some(plan.environment.clone()),
        audit_head: Sha256::of(b"head"),
        role: None,
        advice: None,
    };
    let terminal = format!("{}\n{}", decisions::whole(&review).unwrap(), decisions::render(&review).unwrap());
    Shown { terminal, page: body(&known(plan), bytes, &Decider::reading()).unwrap().0 }
}

fn known(plan: &Plan) -> Known {
    let record = PlanRecord {
        id: plan.id(),
        plan: plan.clone(),
        state: PlanState::AwaitingApproval,
        created_at: Timestamp(0),
        created_by: "agent".into(),
        request_expires_at: None,
        approval_expires_at: None,
        decided_by: None,
        reason: None,
    };
    Known {
        record,
        sha256: plan.sha256(),
        now: Timestamp(60_000),
        deployment: None,
        base_plan: plan.attempt.is_multiple_of(4).then(|| drawn(plan.watch.p95_ms).0),
        changed: None,
        evidence: Vec::new(),
        gates_now: Vec::new(),
        spec: None,
        earlier: Default::default(),
        client: None,
        quiet_hours: String::new(),
        decisions: Vec::new(),
        approvals: Approvals { given: Vec::new(), needed: 1, asked_by: Default::default() },
        overtaken: None,
    }
}

/// Returns where a field stands and what it says, from a line of the terminal or an entry of the page.
fn read(name: &str, value: &str) -> Result<(Vec<Value>, Value), String> {
    let fault = |why: &dyn std::fmt::Display| format!("`{name}`: {why}");
    let (mut rest, mut path) = (name, Vec::new());
    loop {
        let end = match rest.starts_with('"') {
            true => {
                let mut names = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                path.push(Value::from(names.next().ok_or("no name")?.map_err(|error| fault(&error))?));
                names.byte_offset()
            }
            false => {
                let end = rest.find(['.', ' ']).unwrap_or(rest.len());
                path.push(rest[..end].parse::<u64>().map_or_else(|_| Value::from(&rest[..end]), Value::from));
                end
            }
        };
        match rest[end..].strip_prefix('.') {
            Some(more) => rest = more,
            None => break,
        }
    }
    Ok((path, serde_json::from_str(value).map_err(|error| fault(&error))?))
}

/// Puts a document together from its fields.
fn together(fields: Vec<(Vec<Value>, Value)>) -> Result<Value, String> {
    let mut whole = Value::Null;
    for (path, value) in fields {
        let mut at = &mut whole;
        for step in path {
            at = match step {
                Value::String(name) => {
                    if at.is_null() {
                        *at = Value::Object(Map::new());
                    }
                    at.as_object_mut().ok_or("a list has a name in it")?.entry(name).or_insert(Value::Null)
                }
                number => {
                    if at.is_null() {
                        *at = Value::Array(Vec::new());
                    }
                    let (list, place) = (at.as_array_mut().ok_or("no list has places")?, number.as_u64().unwrap_or(0) as usize);
                    if place == list.len() + 1 {
                        list.push(Value::Null);
                    }
                    place.checked_sub(1).and_then(|place| list.get_mut(place)).ok_or("a place is left out")?
                }
            };
        }
        if !at.is_null() {
            return Err("a field is there twice".into());
        }
        *at = value;
    }
    Ok(whole)
}

fn of_terminal(terminal: &str) -> Result<Value, String> {
    let lines = terminal.lines().skip(1).take_while(|line| !line.is_empty());
    // A name may hold `: ` in quotes, so the value begins at the last place from which on all is JSON.
    let field = |line: &str| {
        let line = line.strip_prefix("  ").ok_or("a line that is no field")?;
        let parsed = line.match_indices(": ").find_map(|(at, _)| read(&line[..at], &line[at + 2..]).ok());
        parsed.ok_or_else(|| format!("no field: {line}"))
    };
    together(lines.map(field).collect::<Result<_, String>>()?)
}

fn of_page(page: &str) -> Result<Value, String> {
    let list = page.split("<dl class=\"fields\">").nth(1).and_then(|rest| rest.split("</dl>").next()).ok_or("no fields")?;
    let plain = |html: &str| match html.contains('<') {
        true => Err(format!("markup in {html}")),
        false => Ok(html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")),
    };
    let entry = |entry: &str| {
        let (name, value) = entry.split_once("</dt><dd>").ok_or("an entry without a value")?;
        read(&plain(name)?, &plain(value.strip_suffix("</dd>").ok_or("an entry without an end")?)?)
    };
    together(list.split("<dt>").skip(1).map(entry).collect::<Result<_, String>>()?)
}

/// Says what a person would not see, or see as something else.
fn fault(shown: &Shown, plan: &Plan, bytes: &[u8]) -> Option<String> {
    for (medium, said, found) in [("terminal", &shown.terminal, of_terminal(&shown.terminal)), ("page", &shown.page, of_page(&shown.page))]
    {
        match found {
            Err(why) => return Some(format!("the {medium} cannot be read: {why}")),
            Ok(found) if canonical_json(&found) != bytes => return Some(format!("the {medium} shows another plan")),
            Ok(_) => {}
        }
        // None of ours holds one, so each would be the plan's.
        let seen = without_addresses(said);
        if let Some(raw) = seen.chars().find(|&raw| raw != '\n' && (raw.is_control() || !raw.is_ascii() && HIDDEN.contains(&raw))) {
            return Some(format!("the {medium} prints U+{:04X}", raw as u32));
        }
        if let Some(borrowed) =
            HOSTILE.iter().filter(|part| BORROWED.iter().any(|letter| part.contains(*letter))).find(|part| seen.contains(**part))
        {
            return Some(format!("the {medium} prints `{borrowed}` as if it were Latin"));
        }
    }
    // What is asked over stands where people look: at the end of the terminal's lines, at the beginning of the page.
    let last = shown.terminal.trim_end().lines().rev().take(2).collect::<Vec<_>>();
    let lengths = format!(" fields in {} bytes: ", bytes.len());
    if last[0] != format!("sha256 {}", plan.sha256()) || !last[1].contains(&lengths) {
        return Some("the terminal does not end with what is asked".into());
    }
    let page = without_addresses(&shown.page);
    match page.find("aria-label=\"Decision card\"") {
        Some(at) if at < page.find("<dl class=\"fields\">").unwrap_or(0) && at < 30_000 => None,
        _ => Some("the page does not begin with the decision".into()),
    }
}

/// Returns a page without where its links lead: nobody sees that before following one.
fn without_addresses(page: &str) -> String {
    let mut parts = page.split("href=\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |seen, part| seen + part.split_once('"').map_or("", |(_, rest)| rest))
}

fn drawn(seed: u64) -> (Plan, Vec<u8>) {
    let plan = plan(&mut StdRng::seed_from_u64(seed));
    let bytes = canonical_json(&plan);
    (plan, bytes)
}

/// What the plans of some seeds have had in them.
#[derive(Default)]
struct Reached {
    hostile: u64,
    kinds: BTreeSet<String>,
    padding: usize,
}

/// Looks at the plan of each seed.
fn reached(seeds: impl Iterator<Item = u64>) -> Reached {
    let mut reached = Reached::default();
    for seed in seeds {
        let (plan, bytes) = drawn(seed);
        let shown = shown(&plan, &bytes);
        if let Some(fault) = fault(&shown, &plan, &bytes) {
            panic!("seed {seed}: {fault}\n{}", shown.terminal);
        }
        assert_eq!(serde_json::from_slice::<Plan>(&bytes).unwrap(), plan, "seed {seed}");
        let text = String::from_utf8(bytes).unwrap();
        let padding = text.matches("padding\\n").count();
        if padding > 0 {
            assert!(
                [&shown.terminal, &shown.page].iter().all(|said| said.contains(" characters, 50")),
                "seed {seed}: how long is not said"
            );
        }
        reached.hostile += u64::from(text.contains(|character: char| !character.is_ascii() && HIDDEN.contains(&character)));
        reached.padding = reached.padding.max(padding);
        let is_name = |step: &&str| step.parse::<u32>().is_err();
        let fields = decisions::fields(&text).unwrap().into_iter().filter(|field| !field.path.contains('"'));
        reached.kinds.extend(fields.map(|field| field.path.split('.').filter(is_name).collect::<Vec<_>>().join(".")));
    }
    reached
}

#[test]
fn what_is_seen_of_a_plan_is_what_is_signed() {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let all: Vec<Reached> = thread::scope(|scope| {
        let of = |core| scope.spawn(move || reached((core..PLANS).step_by(cores as usize)));
        let running: Vec<_> = (0..cores).map(of).collect();
        running.into_iter().map(|core| core.join().expect("no plan is shown otherwise")).collect()
    });
    let hostile: u64 = all.iter().map(|one| one.hostile).sum();
    let padding = all.iter().map(|one| one.padding).max().unwrap_or_default();
    let kinds = all.iter().flat_map(|one| &one.kinds).collect::<BTreeSet<_>>().len();
    println!(
        "figure: {PLANS} plans put together again, {hostile} with what nobody sees, {kinds} kinds of fields, {padding} lines of padding"
    );
    assert!(hostile > PLANS / 2 && kinds > 85 && padding >= 5_000, "{hostile} {kinds} {padding}");
}

#[test]
fn what_leaves_out_alters_or_hides_is_seen() {
    for seed in 0..100 {
        let (plan, bytes) = drawn(seed);
        let mut random = StdRng::seed_from_u64(seed);
        let honest = || shown(&plan, &bytes);
        assert_eq!(fault(&honest(), &plan, &bytes), None, "seed {seed}");
        let terminal = honest().terminal;
        let lines: Vec<&str> = terminal.lines().collect();
        let fields = lines.iter().take_while(|line| !line.is_empty()).count();
        let at = random.random_range(1..fields);
        let without = || lines.iter().enumerate().filter(|(number, _)| *number != at).map(|(_, line)| format!("{line}\n")).collect();
        let altered = || {
            let line = |(number, line): (usize, &&str)| {
                if number == at { format!("{}0\"\n", line.trim_end_matches('"')) } else { format!("{line}\n") }
            };
            lines.iter().enumerate().map(line).collect()
        };
        let entry = format!(
            "<dt>{}",
            honest().page.split("<dl class=\"fields\">").nth(1).unwrap().split("<dt>").nth(at).unwrap().split("</dd>").next().unwrap()
        );
        let card = "aria-label=\"Decision card\">";
        let planted = [
            ("a field left out at the terminal", Shown { terminal: without(), ..honest() }),
            ("a field altered at the terminal", Shown { terminal: altered(), ..honest() }),
            ("a bidi character at the terminal", Shown { terminal: terminal.replacen("Plan ", "Plan \u{202e}", 1), ..honest() }),
            (
                "a letter that is not Latin at the terminal",
                Shown { terminal: terminal.replacen("Plan ", "Plan p\u{430}yment ", 1), ..honest() },
            ),
            ("an escape sequence at the terminal", Shown { terminal: terminal.replacen("Plan ", "Plan \u{1b}[2J", 1), ..honest() }),
            ("padding behind what is asked", Shown { terminal: terminal.clone() + &"\n".repeat(3) + "all is well", ..honest() }),
            ("a field left out on the page", Shown { page: honest().page.replacen(&format!("{entry}</dd>"), "", 1), ..honest() }),
            ("a field altered on the page", Shown { page: honest().page.replacen(&entry, &format!("{entry}0"), 1), ..honest() }),
            ("a zero-width character on the page", Shown { page: honest().page.replacen(card, &format!("{card}\u{200b}"), 1), ..honest() }),
            ("padding before the card", Shown { page: "<br>".repeat(20_000) + &honest().page, ..honest() }),
        ];
        for (what, shown) in planted {
            assert!(fault(&shown, &plan, &bytes).is_some(), "seed {seed}: {what} is not seen");
        }
    }
}
