//! Who may send.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use crate::api::auth::sign::Key;

/// Judges a request's credentials; `Err` is status, code and message of the refusal.
pub(crate) type Check = dyn Fn(&Parts, &[u8]) -> Result<(), (u16, String, String)> + Send + Sync;

/// Who may send. Whatever is chosen, a temporary key that IAM gave for an agency must sign rightly, and ends.
#[derive(Clone, Default)]
pub enum Auth {
    /// Anybody.
    #[default]
    Open,
    /// Who has a token: one of `valid`, or one that the IAM call issued to `login` (to anybody, if not given).
    Token { valid: Vec<String>, login: Option<Login> },
    /// Who signs with one of these keys. After five refusals in a row the key is locked for five minutes.
    Keys(KeyRing),
    /// Whoever passes the check. After five refusals in a row the key is locked for five minutes.
    Custom(Arc<Check>),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Token { .. } => "Token",
            Self::Keys(_) => "Keys",
            Self::Custom(_) => "Custom",
        })
    }
}

/// The keys of an account, and what they may take on.
#[derive(Clone)]
pub struct KeyRing {
    pub keys: Vec<Key>,
    /// Agencies that trust this account, by their name and the name or id of the account that granted them; any at all
    /// where none is named.
    pub agencies: Vec<(String, String)>,
}

/// An IAM user.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
    /// The account's name.
    pub domain: String,
}
