//! Where credentials are looked for, and in which order (INTERFACE.md): the first source that holds any is taken. One
//! that holds half of them is an error, since passing it over would act as somebody else than was meant.

use secrecy::SecretString;

use super::sign::Key;
use super::{koocli, profile, variables};
use crate::api::env::Env;
use crate::error::Error;

/// How to prove who we are.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// An access key, which signs each request.
    Key(Key),
    /// A token from outside; it can't be renewed.
    Token(SecretString),
    /// A name and a password, which IAM gives tokens for.
    Login(Login),
    /// The agency of the cloud server that this runs on.
    Agency,
}

/// An IAM user.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub user: String,
    pub password: SecretString,
    /// Name of the account that the user belongs to.
    pub account: String,
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
}

impl Found {
    pub(crate) fn new(credentials: Credentials, source: impl Into<String>) -> Self {
        Self { credentials, source: source.into(), project_id: None, region: None, iam_endpoint: None }
    }

    /// What `plan` says of the credentials: source and the account part that may be shown, never a value.
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
            Credentials::Agency => format!("temporary access key from {}", self.source),
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

/// Looks through all sources but the agency, which only a request can find: that one is the answer where no other
/// source has anything.
///
/// # Errors
/// Of the first source that is half-set.
pub(crate) fn find(env: &dyn Env) -> Result<Search, Error> {
    let providers: [&dyn Provider; 6] = [
        &variables::Sdk,
        &variables::Terraform,
        &variables::Token,
        &variables::Password,
        &profile::Profile,
        &koocli::KooCli,
    ];
    let mut nothing = Vec::new();
    for provider in providers {
        match provider.look(env)? {
            Look::Found(found) => return Ok(Search { found: *found, nothing }),
            Look::Nothing(place) => nothing.push(place),
        }
    }
    Ok(Search { found: Found::new(Credentials::Agency, "the agency of this cloud server (ECS metadata)"), nothing })
}

/// What was found, and where nothing was.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub found: Found,
    /// The places that were looked at before, in words.
    pub nothing: Vec<String>,
}

impl Search {
    /// When the agency, the last resort, is not there either.
    pub(crate) fn no_credentials(&self, agency: &str) -> Error {
        let mut text = "no credentials found; looked at:".to_owned();
        for place in self.nothing.iter().map(String::as_str).chain([agency]) {
            text.push_str("\n  - ");
            text.push_str(place);
        }
        text.push_str("\nset HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or try it out without any by --simulate");
        Error::NoAccess(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(env: &dyn Env) -> String {
        find(env).unwrap().found.describe()
    }

    #[test]
    fn the_first_source_wins() {
        let all = [
            ("HUAWEICLOUD_SDK_AK", "SDKSDKSDKSDK"),
            ("HUAWEICLOUD_SDK_SK", "s"),
            ("HW_ACCESS_KEY", "TERRATERRATE"),
            ("HW_SECRET_KEY", "s"),
            ("HW_AUTH_TOKEN", "t"),
            ("HW_USER_NAME", "bob"),
            ("HW_USER_PASSWORD", "p"),
            ("HW_DOMAIN_NAME", "corp"),
            ("HOME", "/nowhere"),
        ];
        let expected = [
            (0, "access key SDKS… from HUAWEICLOUD_SDK_AK"),
            (2, "access key TERR… from HW_ACCESS_KEY"),
            (4, "token from HW_AUTH_TOKEN"),
            (5, "IAM user bob of account corp, from HW_USER_NAME"),
            (8, "temporary access key from the agency of this cloud server (ECS metadata)"),
        ];
        for (from, expected) in expected {
            assert_eq!(describe(&&all[from..]), expected);
        }
    }

    #[test]
    fn a_half_set_source_is_an_error_that_names_what_is_missing_and_is_not_passed_over() {
        let whole = [("HW_AUTH_TOKEN", "t")];
        for (set, missing) in [
            (vec!["HUAWEICLOUD_SDK_AK"], "HUAWEICLOUD_SDK_SK is missing"),
            (vec!["HUAWEICLOUD_SDK_SK"], "HUAWEICLOUD_SDK_AK is missing"),
            (vec!["HUAWEICLOUD_SDK_SECURITY_TOKEN"], "HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK are missing"),
            (vec!["HW_SECRET_KEY"], "HW_ACCESS_KEY is missing"),
        ] {
            let pairs: Vec<(&str, &str)> = set.iter().map(|name| (*name, "CANARY")).chain(whole).collect();
            let error = find(&pairs.as_slice()).unwrap_err();
            assert_eq!(error.exit(), crate::error::Exit::NoAccess);
            let text = error.to_string();
            assert!(text.contains(missing) && !text.contains("CANARY"), "{text}");
        }
        for (set, missing) in [
            (vec!["HW_USER_NAME"], "HW_USER_PASSWORD and HW_DOMAIN_NAME are missing"),
            (vec!["HW_USER_NAME", "HW_USER_PASSWORD"], "HW_DOMAIN_NAME is missing"),
            (vec!["HW_USER_PASSWORD", "HW_DOMAIN_NAME"], "HW_USER_NAME is missing"),
        ] {
            let pairs: Vec<(&str, &str)> = set.iter().map(|name| (*name, "x")).collect();
            let text = find(&pairs.as_slice()).unwrap_err().to_string();
            assert!(text.contains(missing), "{text}");
        }
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let text = find(&[("HUAWEICLOUD_SDK_AK", "a"), ("HUAWEICLOUD_SDK_SK", "")]).unwrap_err().to_string();
        assert!(text.contains("HUAWEICLOUD_SDK_SK is missing"), "{text}");
    }

    #[test]
    fn nothing_anywhere_lists_every_place() {
        let search = find(&[("HOME", "/nowhere")]).unwrap();
        let text = search.no_credentials("the agency: no answer").to_string();
        for place in [
            "HUAWEICLOUD_SDK_AK",
            "HW_ACCESS_KEY",
            "HW_AUTH_TOKEN",
            "HW_USER_NAME",
            ".huaweicloud/credentials",
            ".hcloud/config.json",
            "the agency: no answer",
        ] {
            assert!(text.contains(place), "{place} is not in: {text}");
        }
    }

    #[test]
    fn p19_what_was_found_shows_no_secret() {
        let env = [("HW_USER_NAME", "bob"), ("HW_USER_PASSWORD", "CANARY1"), ("HW_DOMAIN_NAME", "corp")];
        let search = find(&env).unwrap();
        let env = [
            ("HUAWEICLOUD_SDK_AK", "CANARY2CANARY2"),
            ("HUAWEICLOUD_SDK_SK", "CANARY3"),
            ("HUAWEICLOUD_SDK_SECURITY_TOKEN", "CANARY4"),
        ];
        let other = find(&env).unwrap();
        let shown = format!("{search:?} {} {other:?} {}", search.found.describe(), other.found.describe());
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}
