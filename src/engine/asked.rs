//! What somebody is asked to decide: a kind and what names its subject, as they stand in an address, in a form and in a command.

use crate::{
    error::{Error, Result},
    model::{DecisionKind, PlanId, RunbookId},
};

/// A kind of decision.
struct Kind {
    kind: DecisionKind,
    /// Its word in an address.
    word: &'static str,
    /// What names the subject; what ends with `?` may be left out.
    fields: &'static [&'static str],
    /// What it begins with at the terminal; `{}` stands for each field in turn.
    command: &'static str,
}

const KINDS: &[Kind] = &[
    Kind { kind: DecisionKind::Plan, word: "plan", fields: &["plan"], command: "interlock approve {}" },
    Kind { kind: DecisionKind::Configuration, word: "configuration", fields: &[], command: "interlock apply" },
    Kind { kind: DecisionKind::SignOff, word: "sign-off", fields: &["directive", "fact"], command: "interlock sign-off {} {}" },
    Kind { kind: DecisionKind::Runbook, word: "runbook", fields: &["runbook"], command: "interlock runbook publish {}" },
    Kind { kind: DecisionKind::Approver, word: "approver", fields: &["fingerprint"], command: "interlock approver admit {}" },
    Kind { kind: DecisionKind::Unfreeze, word: "unfreeze", fields: &["freeze", "in?"], command: "interlock unfreeze {} --in {}" },
    Kind {
        kind: DecisionKind::Resolve,
        word: "resolve",
        fields: &["deployment", "choice", REASON],
        command: "interlock resolve {} {} --reason {}",
    },
    Kind { kind: DecisionKind::Restore, word: "restore", fields: &["deployment", REASON], command: "interlock restore {} --reason {}" },
    Kind { kind: DecisionKind::Rollback, word: "rollback", fields: &["to", REASON], command: "interlock rollback --to {} --reason {}" },
];

/// The field that says why; where a kind has it, it is part of what is signed.
pub const REASON: &str = "reason";

/// A decision that somebody is asked for.
pub struct Asked {
    kind: &'static Kind,
    fields: Vec<(&'static str, String)>,
}

impl Asked {
    /// Reads it from an address or a form, which say each field by its name; refused without what names the subject.
    pub fn read<'a>(word: &str, said: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let kind = KINDS.iter().find(|kind| kind.word == word).ok_or_else(|| Error::not_found("decision", word))?;
        let mut fields = Vec::new();
        for field in kind.fields {
            let name = field.trim_end_matches('?');
            match said(name).map(str::trim).filter(|value| !value.is_empty()) {
                Some(value) => fields.push((name, value.to_owned())),
                None if field.ends_with('?') || name == REASON => {}
                None => return Err(Error::invalid(format!("`{name}` is missing: a {word} is named by {}", kind.fields.join(", ")))),
            }
        }
        Ok(Asked { kind, fields })
    }

    /// Returns the decision over a plan.
    pub fn of_plan(plan: &PlanId) -> Self {
        Asked::of(DecisionKind::Plan, plan)
    }

    /// Returns the decision over a runbook.
    pub fn of_runbook(runbook: &RunbookId) -> Self {
        Asked::of(DecisionKind::Runbook, runbook)
    }

    fn of(kind: DecisionKind, subject: &impl ToString) -> Self {
        let kind = KINDS.iter().find(|known| known.kind == kind).expect("every kind is there");
        Asked { kind, fields: vec![(kind.fields[0], subject.to_string())] }
    }

    /// Reads it from a command of ours, as pages and answers tell people to type it; none where it signs nothing.
    pub fn of_command(command: &str) -> Option<Self> {
        let words: Vec<&str> = command.split_whitespace().collect();
        KINDS.iter().find_map(|kind| {
            let mut fields = kind.fields.iter().map(|field| field.trim_end_matches('?'));
            let mut found = Vec::new();
            for (at, pattern) in kind.command.split(' ').enumerate() {
                // What may be left out stands last, and a reason is still to be given.
                let rest = matches!(pattern, "--in" | "--reason");
                match (words.get(at), pattern) {
                    (None, _) if rest => return Some(Asked { kind, fields: found }),
                    (Some(_), "--reason") => return Some(Asked { kind, fields: found }),
                    (Some(word), "{}") if is_name(word) => found.push((fields.next()?, (*word).to_owned())),
                    (Some(word), pattern) if *word == pattern => {}
                    _ => return None,
                }
            }
            (words.len() == kind.command.split(' ').count()).then_some(Asked { kind, fields: found })
        })
    }

    /// Returns what kind it is.
    pub fn kind(&self) -> DecisionKind {
        self.kind.kind
    }

    /// Returns a field of it.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Returns its fields, for a form.
    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.fields
    }

    /// Tells whether the reason is part of what is signed.
    pub fn signs_reason(&self) -> bool {
        self.kind.fields.contains(&REASON)
    }

    /// Returns where its form is sent to.
    pub fn action(&self) -> String {
        format!("/decide/{}", self.kind.word)
    }

    /// Returns the page where it is decided.
    pub fn page(&self) -> String {
        if self.kind.kind == DecisionKind::Plan {
            return self.leads_to();
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish();
        if query.is_empty() { self.action() } else { format!("{}?{query}", self.action()) }
    }

    /// Returns the page of what it is about, where it leads once it is decided.
    pub fn leads_to(&self) -> String {
        let of = |field: &str| {
            let name = self.field(field).unwrap_or_default();
            form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>()
        };
        match self.kind.kind {
            DecisionKind::Plan => format!("/plans/{}", of("plan")),
            DecisionKind::Configuration => "/configuration".into(),
            DecisionKind::SignOff => format!("/directives/{}", of("directive")),
            DecisionKind::Runbook => format!("/runbooks/{}", of("runbook")),
            DecisionKind::Approver => "/people".into(),
            DecisionKind::Unfreeze => "/freezes".into(),
            DecisionKind::Resolve | DecisionKind::Restore => format!("/deployments/{}", of("deployment")),
            DecisionKind::Rollback => format!("/deployments/{}", of("to")),
        }
    }

    /// Returns what to type instead.
    pub fn command(&self) -> String {
        let mut command = self.kind.command.to_owned();
        for field in self.kind.fields {
            let value = match (self.field(field.trim_end_matches('?')), *field) {
                (_, REASON) => "\"…\"",
                (Some(value), _) => value,
                (None, _) => return command.split(" --").next().unwrap_or_default().to_owned(),
            };
            command = command.replacen("{}", value, 1);
        }
        command
    }
}

/// Tells whether a word of a command can be a name: no option, and no placeholder such as `PLAN` or `"…"`.
fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.chars().all(|character| character.is_ascii_alphanumeric() || "_-.".contains(character))
        && word.contains(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{freezing, stuck},
        model::Choice,
    };

    #[test]
    fn what_people_are_told_to_type_leads_to_the_page_that_signs_it() {
        for (command, page) in [
            ("interlock approve plan_1", "/plans/plan_1"),
            ("interlock apply", "/decide/configuration"),
            ("interlock sign-off SD-DEPLOY-001 uat", "/decide/sign-off?directive=SD-DEPLOY-001&fact=uat"),
            ("interlock runbook publish rb-web", "/decide/runbook?runbook=rb-web"),
            ("interlock approver admit 0a1b-2c3d-4e5f-6071", "/decide/approver?fingerprint=0a1b-2c3d-4e5f-6071"),
            (&freezing::command("frz_1"), "/decide/unfreeze?freeze=frz_1"),
            ("interlock unfreeze frz_1 --in production", "/decide/unfreeze?freeze=frz_1&in=production"),
            (&stuck::command(&"dep_1".into(), Choice::MarkDone), "/decide/resolve?deployment=dep_1&choice=mark-done"),
            ("interlock restore dep_1 --reason \"…\"", "/decide/restore?deployment=dep_1"),
            ("interlock rollback --to dep_1 --reason \"…\"", "/decide/rollback?to=dep_1"),
            ("interlock approve PLAN", ""),
            ("interlock freeze --all", ""),
            ("interlock approve plan_1; rm", ""),
            ("interlock hold-deployment dep_1 --held false", ""),
            ("", ""),
        ] {
            let asked = Asked::of_command(command);
            assert_eq!(asked.as_ref().map(Asked::page).unwrap_or_default(), page, "{command}");
            // What is typed instead is the very command.
            assert!(asked.is_none_or(|asked| asked.command() == command), "{command}");
        }
    }

    #[test]
    fn an_address_without_what_names_the_subject_is_refused() {
        let read = |word: &str, query: &'static str| {
            let fields: std::collections::BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            Asked::read(word, |name| fields.get(name).map(String::as_str)).map(|asked| asked.page())
        };
        assert_eq!(read("restore", "deployment=dep_1&reason=why+not").unwrap(), "/decide/restore?deployment=dep_1&reason=why+not");
        assert_eq!(read("restore", "deployment=dep_1").unwrap(), "/decide/restore?deployment=dep_1");
        assert!(read("restore", "reason=why").unwrap_err().message.contains("`deployment` is missing"));
        assert!(read("sign-off", "directive=sd_1&fact=+").is_err() && read("enrol", "").is_err());
        assert_eq!(read("plan", "plan=a%2Fb%3Fc").unwrap(), "/plans/a%2Fb%3Fc");
    }
}
