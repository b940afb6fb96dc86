//! Stickiness: whether a client that comes again gets the release it had, while that one still has a weight.

use serde::{Deserialize, Serialize};

/// What a returning client is known by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stickiness {
    /// Nothing: each request goes by weight.
    #[default]
    None,
    /// A cookie that the router sets and takes away again before the application sees it.
    Cookie,
    /// The value of this request header; requests without it go by weight.
    Header {
        /// The header's name.
        name: String,
    },
}

impl Stickiness {
    /// Tells whether each request goes by weight.
    pub fn is_none(&self) -> bool {
        *self == Stickiness::None
    }
}
