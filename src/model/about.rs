//! What people want to know about a service that no deployment needs: where it is hosted, where its logs and dashboards are, whom to call.

use serde::{Deserialize, Serialize};

/// `[services.X.about]`; a place may say it otherwise. Names and addresses only: no value of a variable is ever held here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Who hosts it: `AWS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Where: `eu-central-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What builds it: `GitHub Actions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<String>,
    /// Variables it is configured by, without their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    /// Where its logs go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// What the business counts: `orders per minute`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub business_metrics: Vec<String>,
    /// Addresses of dashboards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dashboards: Vec<String>,
    /// The address of its logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
    /// Who is called, in this order, and who else is to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Contact>,
}

/// A variable of the environment it runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Whether its value is a secret.
    pub sensitive: bool,
}

/// Where logs go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    /// The platform: `CloudWatch`.
    pub platform: String,
    /// How long they are kept there, as people say it: `30 days`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
}

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// As what: `on call`.
    pub role: String,
    /// Where: an address, a number, a channel.
    pub reach: String,
}

impl About {
    /// Tells whether nothing is said: then it stands in no document, and in no hash.
    pub fn is_default(&self) -> bool {
        *self == About::default()
    }

    /// Returns it with what a place says otherwise.
    pub fn at_place(self, place: About) -> About {
        let either = |place: Option<String>, service: Option<String>| place.or(service);
        fn listed<T>(place: Vec<T>, service: Vec<T>) -> Vec<T> {
            if place.is_empty() { service } else { place }
        }
        About {
            provider: either(place.provider, self.provider),
            region: either(place.region, self.region),
            ci: either(place.ci, self.ci),
            variables: listed(place.variables, self.variables),
            logging: place.logging.or(self.logging),
            business_metrics: listed(place.business_metrics, self.business_metrics),
            dashboards: listed(place.dashboards, self.dashboards),
            logs: either(place.logs, self.logs),
            contacts: listed(place.contacts, self.contacts),
        }
    }
}
