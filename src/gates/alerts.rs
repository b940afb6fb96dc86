//! Nothing that watches the service raises an alert.

use super::{
    Ask, needing,
    sign_off::{SignedFact, or_word},
};
use crate::model::{GateResult, Sha256, Verdict, Who, monitoring::FiringAlert, text::visible_line};

/// The gate's name.
pub const NAME: &str = "alerts";

/// What a person signs where nothing watches.
pub const FACT: &str = "alerts";

/// How many alerts are named.
const NAMED: usize = 5;

/// What one of those who watch has said.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// `Alertmanager` or `Prometheus`.
    pub source: &'static str,
    /// What fires, or why that is not known.
    pub firing: Result<Vec<FiringAlert>, String>,
}

/// What is known of the alerts of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What everybody who watches says.
    pub said: Vec<Said>,
    /// How many rules that may be about it Prometheus evaluates, or why that is not known; none where no Prometheus is named.
    pub rules: Option<Result<usize, String>>,
}

/// Judges what those who watch have said: one alert fails, and whoever does not answer lets nothing pass. Live: asked again at execution.
/// Where nobody is configured, or nobody would ever fire, a person says it.
pub fn evaluate(ask: Ask<'_>, heard: &Heard, digest: &Sha256, signed: &[SignedFact<'_>]) -> GateResult {
    let rule = "no alert of the service fires";
    let said = &heard.said;
    let result = |verdict, reason: String| GateResult { live: true, ..ask.result(NAME, rule, verdict, reason) };
    if said.is_empty() {
        let open = result(Verdict::Inconclusive, "`[monitoring]` names no Alertmanager and no Prometheus: nobody can be asked".into());
        return or_word(ask, open, FACT, digest, signed);
    }
    let mut firing: Vec<(&str, &FiringAlert)> =
        said.iter().flat_map(|one| one.firing.iter().flatten().map(|alert| (one.source, alert))).collect();
    firing.sort_by_key(|(source, alert)| (*alert, *source));
    if !firing.is_empty() {
        let mut named: Vec<String> = firing.iter().take(NAMED).map(|(source, alert)| shown(source, alert)).collect();
        if firing.len() > NAMED {
            named.push(format!("{} more", firing.len() - NAMED));
        }
        let failed = result(Verdict::Fail, format!("{} alert{}: {}", firing.len(), plural(firing.len()), named.join(", ")));
        // Prometheus knows no silence.
        let how = match firing.iter().all(|(source, _)| *source == "Alertmanager") {
            true => "end what they tell of, or silence in Alertmanager what is known; then call `run_predeploy_checks`",
            false => {
                "end what they tell of, or leave what is known out by `firing` of `[monitoring]` and run `interlock apply`; then call `run_predeploy_checks`"
            }
        };
        return GateResult { value: Some(format!("{} firing", firing.len())), ..needing(failed, "no alert that fires", Who::Person, how) };
    }
    let unsaid = |source: &str, why: &str| format!("{source} does not say: {}", visible_line(why, 300));
    let mut silent: Vec<String> = said.iter().filter_map(|one| Some(unsaid(one.source, one.firing.as_ref().err()?))).collect();
    if let (true, Some(Err(why))) = (silent.is_empty(), &heard.rules) {
        silent.push(unsaid("Prometheus", why));
    }
    if !silent.is_empty() {
        let how = "see that it runs and answers at the address of `[monitoring]`; then call `run_predeploy_checks`";
        return needing(result(Verdict::Inconclusive, silent.join("; ")), "an answer of what watches", Who::Person, how);
    }
    // None of no rule is no answer: one who was just started, or whom nobody tells anything, is as silent.
    let nobody = match heard.rules {
        Some(Ok(0)) => Some("Prometheus evaluates no rule that may be about it: no alert would ever fire; `setup_monitoring` writes some"),
        None => Some("`[monitoring]` names no Prometheus: whether an alert would ever fire is not known"),
        _ => None,
    };
    if let Some(why) = nobody {
        return or_word(ask, result(Verdict::Inconclusive, why.into()), FACT, digest, signed);
    }
    let sources: Vec<&str> = said.iter().map(|one| one.source).collect();
    GateResult { value: Some("0 firing".into()), ..result(Verdict::Pass, format!("none, by {}", sources.join(" and "))) }
}

fn shown(source: &str, alert: &FiringAlert) -> String {
    let name = if alert.name.is_empty() { "a series without a name".into() } else { format!("`{}`", visible_line(&alert.name, 80)) };
    let word = |text: &str, before: &str| if text.is_empty() { String::new() } else { format!("{before}{}", visible_line(text, 40)) };
    format!("{name} ({source}{}{})", word(&alert.severity, ", "), word(&alert.since, ", since "))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { " fires" } else { "s fire" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn alert(name: &str) -> FiringAlert {
        FiringAlert { name: name.into(), severity: "critical".into(), since: String::new() }
    }

    #[test]
    fn one_alert_fails_and_one_who_does_not_answer_lets_nothing_pass() {
        let (directive, digest, by) = ("SD-DEPLOY-001".into(), Sha256::of(b"a"), "dana".into());
        let ask = Ask { directive: &directive, by: "phase phase-06", now: Timestamp(100) };
        let said = |source, firing| Said { source, firing };
        let heard = |said: &[Said]| Heard { said: said.to_vec(), rules: Some(Ok(3)) };
        let judged = |said: &[Said]| evaluate(ask, &heard(said), &digest, &[]);
        let (none, lost) = (|| Ok(Vec::new()), || Err("no answer within 5000 ms".to_owned()));
        let passed = judged(&[said("Alertmanager", none()), said("Prometheus", none())]);
        assert_eq!((passed.verdict, passed.reason.as_str()), (Verdict::Pass, "none, by Alertmanager and Prometheus"));
        let open = judged(&[said("Alertmanager", none()), said("Prometheus", lost())]);
        assert_eq!((open.verdict, open.who), (Verdict::Inconclusive, Some(Who::Person)));
        assert_eq!(open.reason, "Prometheus does not say: no answer within 5000 ms");
        // What fires is known, whoever else is silent.
        let failed = judged(&[said("Alertmanager", lost()), said("Prometheus", Ok(vec![alert("Slow"), alert("Late")]))]);
        assert_eq!(failed.verdict, Verdict::Fail);
        assert_eq!(failed.reason, "2 alerts fire: `Late` (Prometheus, critical), `Slow` (Prometheus, critical)");
        let many: Vec<FiringAlert> = (0..7).map(|number| alert(&format!("A{number}"))).collect();
        assert!(judged(&[said("Alertmanager", Ok(many))]).reason.ends_with("`A4` (Alertmanager, critical), 2 more"));

        // A person's word counts where nobody can be asked, and nowhere else.
        let word = SignedFact { fact: FACT, digest: &digest, accepted: true, by: &by, at: Timestamp(50) };
        let open = evaluate(ask, &heard(&[]), &digest, &[]);
        assert_eq!((open.verdict, open.how.as_deref()), (Verdict::Inconclusive, Some("interlock sign-off SD-DEPLOY-001 alerts")));
        let signed = evaluate(ask, &heard(&[]), &digest, &[word]);
        assert_eq!((signed.verdict, signed.value.as_deref(), signed.live), (Verdict::Pass, Some("dana"), false), "{signed:?}");
        assert_eq!((signed.gate.as_str(), open.gate.as_str()), (NAME, NAME));
        assert_eq!(evaluate(ask, &heard(&[said("Alertmanager", lost())]), &digest, &[word]).verdict, Verdict::Inconclusive);
        assert_eq!(evaluate(ask, &heard(&[said("Alertmanager", Ok(vec![alert("Slow")]))]), &digest, &[word]).verdict, Verdict::Fail);

        // Where nobody would ever fire, none is no answer, and a person's word counts again.
        let of_rules =
            |rules, signed: &[SignedFact<'_>]| evaluate(ask, &Heard { said: vec![said("Alertmanager", none())], rules }, &digest, signed);
        for rules in [None, Some(Ok(0))] {
            let open = of_rules(rules.clone(), &[]);
            assert_eq!((open.verdict, open.how.as_deref()), (Verdict::Inconclusive, Some("interlock sign-off SD-DEPLOY-001 alerts")));
            assert_eq!(of_rules(rules, &[word]).verdict, Verdict::Pass);
        }
        let open = of_rules(Some(Err("no answer".into())), &[word]);
        assert_eq!((open.verdict, open.reason.as_str()), (Verdict::Inconclusive, "Prometheus does not say: no answer"));
        assert_eq!(of_rules(Some(Ok(1)), &[]).verdict, Verdict::Pass);
    }
}
