//! What a source of credentials is, and what it holds. The sources themselves stand beside this; [`super::chain`] asks
//! them in their order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;

use super::sign::Key;
use crate::api::env::Env;
use crate::error::Error;
use crate::model::{AgencyName, Caller};

/// A credentials file is small; a larger one is something else.
const MAX_FILE: u64 = 1 << 20;

/// How to prove who we are.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// An access key, which signs each request.
    Key(Key),
    /// A token from outside; it can't be renewed.
    Token(SecretString),
    /// A name and a password, which IAM gives tokens for.
    Login(Login),
    /// Temporary keys that the cloud server which this runs on is given.
    CloudServer,
}

/// An IAM user.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub user: String,
    pub password: SecretString,
    /// Name of the account that the user belongs to.
    pub account: String,
}

/// The shortest and the longest time that IAM makes temporary keys of an agency for, in seconds.
const DURATION_S: std::ops::RangeInclusive<u32> = 900..=86_400;

/// A right to act within another account, which that account has granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agency {
    pub name: String,
    /// The account that granted it: its name, its id, or both.
    pub account_name: Option<String>,
    pub account_id: Option<String>,
    /// How long its temporary keys shall hold, in seconds; as long as IAM thinks fit where nobody said.
    pub duration_s: Option<u32>,
}

impl Agency {
    /// Takes an agency from what a source calls its name, its account by name and by id, and its duration: each with the
    /// source's word for it. `None` where the source says nothing of any.
    ///
    /// # Errors
    /// Where it is half-set, or the duration is none that IAM takes.
    pub(super) fn of(source: &str, parts: [(&str, Option<String>); 4]) -> Result<Option<Self>, Error> {
        let [(name_word, name), (account, account_name), (account_by_id, account_id), (duration_word, duration)] =
            parts;
        let duration_s = match &duration {
            None => None,
            Some(text) => match text.parse::<u32>() {
                Ok(seconds) if DURATION_S.contains(&seconds) => Some(seconds),
                _ => {
                    return Err(Error::NoAccess(format!(
                        "{duration_word} of {source} is no number of seconds from {} to {}; set it again",
                        DURATION_S.start(),
                        DURATION_S.end()
                    )));
                }
            },
        };
        match name {
            Some(name) if account_name.is_some() || account_id.is_some() => {
                Ok(Some(Self { name, account_name, account_id, duration_s }))
            }
            Some(_) => Err(half(source, &[&format!("{account} (or {account_by_id})")])),
            None if account_name.is_none() && account_id.is_none() && duration.is_none() => Ok(None),
            None => Err(half(source, &[name_word])),
        }
    }

    /// As people are told of it.
    pub(crate) fn shown(&self) -> AgencyName {
        let account = self.account_name.as_ref().or(self.account_id.as_ref());
        AgencyName { name: self.name.clone(), account: account.cloned().unwrap_or_default() }
    }
}

/// Credentials, and what their source says besides.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub credentials: Credentials,
    /// The variables or the file, for people.
    pub source: String,
    pub project_id: Option<String>,
    pub region: Option<String>,
    pub iam_endpoint: Option<String>,
    /// Taken on by these credentials before anything else is done.
    pub agency: Option<Agency>,
    /// Where the key stands in a file.
    pub reread: Option<Reread>,
}

impl Found {
    pub(crate) fn new(credentials: Credentials, source: impl Into<String>) -> Self {
        Self {
            credentials,
            source: source.into(),
            project_id: None,
            region: None,
            iam_endpoint: None,
            agency: None,
            reread: None,
        }
    }

    /// As whom the service is asked, by what of it may be told; the project is still to be found.
    pub(crate) fn caller(&self) -> Caller {
        let agency = self.agency.as_ref().map(Agency::shown);
        Caller { credentials: self.describe(), agency, project_name: None }
    }

    /// The source of the credentials and the part of them that may be shown, never a value.
    pub(crate) fn describe(&self) -> String {
        match &self.credentials {
            Credentials::Key(key) => {
                let kind = if key.security_token.is_some() { "temporary access key" } else { "access key" };
                format!("{kind} {} from {}", key.shown(), self.source)
            }
            Credentials::Token(_) => format!("token from {}", self.source),
            Credentials::Login(login) => {
                format!("IAM user {} of account {}, from {}", login.user, login.account, self.source)
            }
            Credentials::CloudServer => format!("temporary access key from {}", self.source),
        }
    }
}

/// What looking into one source brought.
pub(crate) enum Look {
    Found(Box<Found>),
    /// Nothing there; in words where it was looked, for the message when no source has anything.
    Nothing(String),
}

/// One place where credentials may be.
pub(crate) trait Provider {
    /// # Errors
    /// Where the source is half-set or can't be read: it is not passed over.
    fn look(&self, env: &dyn Env) -> Result<Look, Error>;
}

/// What a value must be like to be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Keys, tokens and ids: what an HTTP header takes, without blanks.
    Key,
    /// Names of users, accounts, projects, agencies.
    Name,
    /// Nearly anything.
    Password,
}

impl Form {
    /// What is wrong with a value that can't be meant, in words that follow its name; the value is not repeated.
    pub(super) fn fault(self, value: &str) -> Option<&'static str> {
        let is_quoted = ['"', '\'', '`']
            .iter()
            .any(|quote| value.len() > 1 && value.starts_with(*quote) && value.ends_with(*quote));
        if value.chars().any(char::is_control) {
            return Some("holds a line break or another control character inside its value; set it again");
        }
        match self {
            Self::Key | Self::Name if is_quoted => {
                Some("stands in quotes, which are no part of it; set it without them")
            }
            Self::Key if !value.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Some("holds a blank or another character that it can't have; set it again")
            }
            _ => None,
        }
    }
}

/// Reads keys once more from the file that they came from: somebody may have put new ones there.
#[derive(Clone)]
pub(crate) struct Reread(Arc<dyn Fn() -> Result<Look, Error> + Send + Sync>);

impl Reread {
    pub(super) fn new(look: impl Fn() -> Result<Look, Error> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    /// # Errors
    /// In plain words, where there is no key any more.
    pub(super) fn key(&self) -> Result<Key, String> {
        match (self.0)().map_err(|error| error.to_string())? {
            Look::Found(found) => match found.credentials {
                Credentials::Key(key) => Ok(key),
                _ => Err("the file that the key came from holds another kind of credentials now".to_owned()),
            },
            Look::Nothing(place) => Err(place),
        }
    }
}

impl std::fmt::Debug for Reread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reread")
    }
}

/// A half-set source.
pub(super) fn half(source: &str, missing: &[&str]) -> Error {
    let verb = if missing.len() == 1 { "is" } else { "are" };
    Error::NoAccess(format!(
        "the credentials of {source} are half-set: {} {verb} missing; set what is missing, or remove the rest so that the \
         next source is tried",
        missing.join(" and ")
    ))
}

/// A file that may hold credentials.
#[derive(Debug, Clone)]
pub(super) struct NamedFile {
    pub(super) path: PathBuf,
    /// The variable that names it; `None` where it is the usual one.
    variable: Option<&'static str>,
}

/// The file that `variable` names, else `default` in the home directory.
pub(super) fn named_file(env: &dyn Env, variable: &'static str, default: &str) -> Option<NamedFile> {
    if let Some(path) = env.var(variable) {
        return Some(NamedFile { path: path.into(), variable: Some(variable) });
    }
    let home = env.first(&["HOME", "USERPROFILE"])?;
    Some(NamedFile { path: Path::new(&home).join(default), variable: None })
}

impl NamedFile {
    /// Its text; `None` where it is not there, and nobody named it.
    ///
    /// # Errors
    /// Where the file can't be read, or was named and is not there.
    pub(super) fn read(&self) -> Result<Option<String>, Error> {
        let (path, named) = (&self.path, self.variable.is_some());
        let cannot = |problem: &str| {
            let by = self.variable.map_or_else(String::new, |variable| format!(" (named by {variable})"));
            Error::NoAccess(format!("cannot read the credentials file {}{by}: {problem}", path.display()))
        };
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => return Err(cannot("it is not a file")),
            Ok(metadata) if metadata.len() > MAX_FILE => return Err(cannot("it is larger than 1 MiB")),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return Ok(None),
            // HOME may be a file, or nothing at all.
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory && !named => return Ok(None),
            Err(error) => return Err(cannot(&error.to_string())),
        }
        let bytes = std::fs::read(path).map_err(|error| cannot(&error.to_string()))?;
        String::from_utf8(bytes).map(Some).map_err(|_| cannot("it is not UTF-8 text"))
    }
}
