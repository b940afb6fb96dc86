//! How far a work order is proven, from 0 to 5: each score with its reason, computed from the record. Pure.

/// One thing a score is given for.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// What.
    pub of: &'static str,
    /// From 0 to 5; none where the record has nothing to score.
    pub score: Option<f64>,
    /// Why.
    pub reason: String,
}

/// What the scores are computed from.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// Gates that pass, of those that were evaluated.
    pub gates: (usize, usize),
    /// Evidence the server observed or a person vouched for, of all there is.
    pub evidence: (usize, usize),
    /// Whether a person approved the plan; none where nobody was asked.
    pub approved: Option<bool>,
    /// Whether the way back was tried.
    pub way_back_tried: bool,
    /// Whether what served before can be brought back.
    pub way_back_ready: bool,
    /// Whether it was deployed, answered its smoke checks, and was watched to the end.
    pub verified: [bool; 3],
    /// Requests the release has answered, and how many are enough to judge; none where it was not deployed.
    pub requests: Option<(u64, u64)>,
    /// Whether a test alert has arrived, proven or signed.
    pub monitored: bool,
    /// How the runbook stands: `published` …; none where there is none.
    pub runbook: Option<&'static str>,
    /// Claims that are verified, of all.
    pub claims: (usize, usize),
}

/// Returns the scores, in the order they are shown.
pub fn scores(proof: &Proof) -> Vec<Score> {
    let score = |of, score: Option<f64>, reason: String| Score { of, score, reason };
    let share = |of, (good, all): (usize, usize), what: &str, none: &str| match all {
        0 => score(of, None, none.into()),
        all => score(of, Some(good as f64 * 5.0 / all as f64), format!("{good} of {all} {what}")),
    };
    let [deployed, smoke, watched] = proof.verified;
    let is = |so: bool, word: &str| if so { word.to_owned() } else { format!("not {word}") };
    vec![
        share("Gates", proof.gates, "evaluated gates pass", "no gate was evaluated"),
        share("Evidence", proof.evidence, "reports were observed by the server, or vouched for", "no report is there"),
        match proof.approved {
            None => score("Approval", None, "the environment asks for none".into()),
            Some(true) => score("Approval", Some(5.0), "a person has signed the plan".into()),
            Some(false) => score("Approval", Some(0.0), "nobody has signed the plan".into()),
        },
        match (proof.way_back_tried, proof.way_back_ready) {
            (true, _) => score("Way back", Some(5.0), "it was tried".into()),
            (false, true) => score("Way back", Some(3.0), "it is ready and was not tried".into()),
            (false, false) => score("Way back", Some(0.0), "it is not known to be ready".into()),
        },
        score(
            "Verification",
            Some(f64::from(u8::from(deployed) + 2 * u8::from(smoke) + 2 * u8::from(watched))),
            [is(deployed, "deployed"), is(smoke, "answered as said"), is(watched, "watched to the end")].join(", "),
        ),
        match proof.requests {
            None => score("Traffic", None, "it was not deployed".into()),
            Some((seen, enough)) if seen >= enough => score("Traffic", Some(5.0), format!("{seen} requests, {enough} are enough to judge")),
            Some((0, _)) => score("Traffic", Some(0.0), "no request".into()),
            Some((seen, enough)) => score("Traffic", Some(2.0), format!("{seen} requests; {enough} are needed to judge")),
        },
        match proof.monitored {
            true => score("Monitoring", Some(5.0), "a test alert has arrived".into()),
            false => score("Monitoring", Some(0.0), "no test alert is known to have arrived".into()),
        },
        match proof.runbook {
            Some("published") => score("Runbook", Some(5.0), "a person has published it".into()),
            Some("in_review") => score("Runbook", Some(3.0), "it waits for review".into()),
            Some(state) => score("Runbook", Some(1.0), format!("it is {state}")),
            None => score("Runbook", Some(0.0), "there is none".into()),
        },
        share("Claims", proof.claims, "claims are verified", "nothing is claimed"),
    ]
}

/// Returns the mean of what was scored; none where nothing was.
pub fn overall(scores: &[Score]) -> Option<f64> {
    let scored: Vec<f64> = scores.iter().filter_map(|score| score.score).collect();
    (!scored.is_empty()).then(|| scored.iter().sum::<f64>() / scored.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proven_is_scored_and_what_nobody_knows_is_not() {
        let nothing = scores(&Proof::default());
        let scored: Vec<_> = nothing.iter().filter_map(|score| Some((score.of, score.score?))).collect();
        assert_eq!(scored, [("Way back", 0.0), ("Verification", 0.0), ("Monitoring", 0.0), ("Runbook", 0.0)]);
        assert_eq!((overall(&nothing), overall(&[])), (Some(0.0), None));
        let all = Proof {
            gates: (4, 4),
            evidence: (1, 2),
            approved: Some(true),
            way_back_tried: true,
            way_back_ready: true,
            verified: [true, true, false],
            requests: Some((19, 20)),
            monitored: true,
            runbook: Some("in_review"),
            claims: (3, 4),
        };
        let scores = scores(&all);
        let values: Vec<f64> = scores.iter().map(|score| score.score.unwrap()).collect();
        assert_eq!(values, [5.0, 2.5, 5.0, 5.0, 3.0, 2.0, 5.0, 3.0, 3.75]);
        assert_eq!(scores[4].reason, "deployed, answered as said, not watched to the end");
        assert!((overall(&scores).unwrap() - 34.25 / 9.0).abs() < 1e-9);
    }
}
