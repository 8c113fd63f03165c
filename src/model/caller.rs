//! As whom the service is asked, and for which project, in words that people may be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kept with a run, so that nobody has to guess later on which account it worked. None of it is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Caller {
    /// The source of the credentials, and the end of the access key or the name of the IAM user.
    pub credentials: String,
    /// What these credentials took on: whatever is done is done in its account.
    pub agency: Option<AgencyName>,
    /// The project's name, where it was asked for or told.
    pub project_name: Option<String>,
}

/// An agency, and the account that granted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgencyName {
    pub name: String,
    /// By its name, else by its id.
    pub account: String,
}

impl std::fmt::Display for AgencyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "agency {} of account {}", self.name, self.account)
    }
}

impl Caller {
    /// By what credentials, and as which agency.
    pub(crate) fn who(&self) -> String {
        match &self.agency {
            Some(agency) => format!("{}, as {agency}", self.credentials),
            None => self.credentials.clone(),
        }
    }

    /// A project by its name, where that is known, and its id.
    pub(crate) fn project(&self, id: &str) -> String {
        match &self.project_name {
            Some(name) if name != id => format!("{name} ({id})"),
            _ => id.to_owned(),
        }
    }
}
