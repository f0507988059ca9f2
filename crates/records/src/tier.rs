//! How much is measured of a run.

use crate::usage::mistake;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// How much is measured; each tier has those before it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// What training shows anyhow, and gradient profiles.
    #[default]
    Profiles,
    /// What some more backward passes show.
    Gradients,
    /// What the Jacobian of every step shows.
    Dynamics,
}

impl Tier {
    /// All of them, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Profiles, Self::Gradients, Self::Dynamics];

    /// The tier called `name`.
    ///
    /// # Errors
    /// A [`Usage`](crate::usage::Usage) error if there is none.
    pub fn by_name(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|tier| tier.name() == name) {
            Some(tier) => Ok(tier),
            None => mistake!("measures {name}: expected profiles, gradients or dynamics"),
        }
    }

    /// The name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Profiles => "profiles",
            Self::Gradients => "gradients",
            Self::Dynamics => "dynamics",
        }
    }
}
