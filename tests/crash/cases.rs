//! Where a deployment may be disturbed: the places each kind of deployment passes, in their order, on each of its ways.

use interlock::cli::demo::app::Fault;

/// How a shop's service is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    BlueGreen,
    /// 10 %, 50 %, all.
    Canary,
    /// Two instances, one after the other.
    Rolling,
    /// Blue-green, with commands that prepare, back up, migrate and hook.
    Data,
}

/// How a deployment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the new release.
    Forward,
    /// Back by itself: what is wrong with the release shows only through the listener.
    Failing,
    /// Back because somebody asks for it while it bakes.
    Aborted,
    /// A deployment that has succeeded is taken back: a deployment of its own.
    OnDemand,
}

/// What is deployed, and how it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trip {
    pub course: Course,
    pub way: Way,
}

/// Whom a case kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Server,
    Worker,
    /// The shim of the newest instance that runs.
    NewShim,
    /// The shim of what served before.
    OldShim,
}

/// One deployment, and who is killed when it stands where.
#[derive(Debug, Clone)]
pub struct Case {
    pub trip: Trip,
    pub victim: Victim,
    pub place: String,
    /// Where the server that was started again is killed once more.
    pub then: Option<String>,
}

/// The places of one step. The server writes down what it will do, does it, and writes down what came out.
const EDGES: [&str; 4] = ["before-intent", "after-intent", "after-effect", "after-result"];

/// While the step's own command runs.
pub const WITHIN: &str = "within";

impl Trip {
    /// Returns every step of its plan, in order.
    pub fn steps(self) -> Vec<&'static str> {
        let steps = match (self.course, self.way) {
            (Course::BlueGreen, _) => "recheck start-1 verify-instances rehearse shift verify-listener drain bake retire",
            (Course::Canary, _) => {
                "recheck start-1 verify-instances rehearse shift-10 analyse-10 shift-50 analyse-50 shift verify-listener drain bake retire"
            }
            (Course::Rolling, _) => {
                "recheck start-1 verify-instances-1 rehearse replace-1 retire-1 start-2 verify-instances-2 replace-2 retire-2 \
                 verify-listener bake retire"
            }
            (Course::Data, Way::OnDemand) => {
                "recheck return-data start-1 verify-instances shift verify-listener drain bake retire hook-after-rollback"
            }
            (Course::Data, _) => {
                "recheck prepare backup migrate hook-before-start start-1 verify-instances rehearse hook-before-shift shift \
                 verify-listener hook-after-shift drain bake retire hook-after-success"
            }
        };
        steps.split_whitespace().collect()
    }

    /// Returns what is undone on its way back, in order.
    fn undone(self) -> Vec<&'static str> {
        match (self.course, self.way) {
            (_, Way::Forward | Way::OnDemand) => vec![],
            (Course::BlueGreen, _) => vec!["undo-shift", "undo-start-1"],
            (Course::Canary, _) => vec!["undo-shift", "undo-shift-50", "undo-shift-10", "undo-start-1"],
            (Course::Rolling, _) => vec!["undo-replace-2", "undo-start-2", "undo-replace-1", "undo-start-1"],
            (Course::Data, _) => vec!["undo-migrate", "undo-shift", "undo-start-1"],
        }
    }

    /// Returns the last step it takes forward.
    pub fn last_step(self) -> &'static str {
        match self.way {
            Way::Forward | Way::OnDemand => self.steps().last().expect("a plan has a step"),
            Way::Failing => "verify-listener",
            Way::Aborted => "bake",
        }
    }

    /// Tells whether it ends where it began.
    pub fn goes_back(self) -> bool {
        matches!(self.way, Way::Failing | Way::Aborted)
    }

    /// Returns every failpoint it passes forward, in order.
    pub fn forward(self) -> Vec<String> {
        let steps = self.steps();
        let taken = steps.iter().position(|step| *step == self.last_step()).expect("it is a step of the plan");
        let mut places = vec!["claim:before".to_owned(), "claim:after".to_owned()];
        places.extend(steps[..=taken].iter().flat_map(|step| edges(step)));
        places.extend((!self.goes_back()).then(|| "finish:after".to_owned()));
        places
    }

    /// Returns every failpoint of its way back, in order; none where it has none.
    pub fn back(self) -> Vec<String> {
        if !self.goes_back() {
            return vec![];
        }
        let undone = self.undone().into_iter().flat_map(edges);
        ["turn-back:after".to_owned()].into_iter().chain(undone).chain(["finish-undo:after".to_owned()]).collect()
    }

    /// Returns every failpoint it passes, in order.
    pub fn places(self) -> Vec<String> {
        [self.forward(), self.back()].concat()
    }

    /// Returns the failpoints of some steps, and the middle of those that run a command.
    pub fn of_steps(self, steps: &[&str], within: &[&str]) -> Vec<String> {
        let middle = within.iter().map(|step| format!("{step}:{WITHIN}"));
        steps.iter().flat_map(|step| edges(step)).chain(middle).collect()
    }

    /// Returns what is deployed.
    pub fn fault(self) -> Fault {
        if self.way == Way::Failing { Fault::LiveForwarded } else { Fault::None }
    }

    /// Returns how it settles when nobody but the server is killed.
    pub fn settles(self) -> &'static str {
        if self.goes_back() { "rolled_back" } else { "succeeded" }
    }

    /// Returns the percentage of the traffic that is the new set's by the record when it stands at this place.
    pub fn share_at(self, place: &str) -> u32 {
        let (step, edge) = place.split_once(':').expect("a place of a step");
        let place = if edge == WITHIN { format!("{step}:after-intent") } else { place.to_owned() };
        let places = self.places();
        let here = places.iter().position(|one| *one == place).unwrap_or_else(|| panic!("{self:?} does not pass {place}"));
        let mut moved = places[..=here].iter().filter_map(|one| one.strip_suffix(":after-effect")).filter_map(|step| match step {
            "shift" | "replace-2" => Some(100),
            "replace-1" | "shift-50" => Some(50),
            "shift-10" => Some(10),
            _ if step.starts_with("undo-shift") || step.starts_with("undo-replace") => Some(0),
            _ => None,
        });
        moved.next_back().unwrap_or(0)
    }

    /// Returns a case in which the server is killed.
    pub fn kill(self, place: impl Into<String>) -> Case {
        Case { trip: self, victim: Victim::Server, place: place.into(), then: None }
    }

    /// Returns what its steps and its way back do with commands, in their order, by the name in the log.
    pub fn commands(self) -> &'static [(&'static str, &'static str)] {
        const FORWARD: &[(&str, &str)] = &[
            ("prepare", "prepare"),
            ("backup", "backup"),
            ("backup", "verify"),
            ("migrate", "migrate"),
            ("hook-before-start", "before-start"),
            ("hook-before-shift", "before-shift"),
            ("hook-after-shift", "after-shift"),
            ("hook-after-success", "after-success"),
        ];
        const FAILING: &[(&str, &str)] = &[
            ("prepare", "prepare"),
            ("backup", "backup"),
            ("backup", "verify"),
            ("migrate", "migrate"),
            ("hook-before-start", "before-start"),
            ("hook-before-shift", "before-shift"),
            ("undo-migrate", "down"),
            ("settled", "after-rollback"),
        ];
        match (self.course, self.way) {
            (Course::Data, Way::Forward) => FORWARD,
            (Course::Data, Way::OnDemand) => &[("return-data", "down"), ("hook-after-rollback", "after-rollback")],
            (Course::Data, _) => FAILING,
            _ => &[],
        }
    }
}

fn edges(step: &str) -> impl Iterator<Item = String> + use<'_> {
    EDGES.iter().map(move |edge| format!("{step}:{edge}"))
}
