//! Where credentials are looked for, and in which order: the first source that holds any is taken. One
//! that holds half of them is an error, since passing it over would act as somebody else than was meant.

use std::path::PathBuf;

use super::provider::{Credentials, Form, Found, Look, Provider};
use super::{koocli, profile, variables};
use crate::api::env::Env;
use crate::error::Error;

/// Looks through all sources but the metadata of a cloud server, which only a request can find: that one is the answer
/// where no other source has anything.
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
    check_variables(env)?;
    let agency = variables::agency(env)?;
    let mut nothing = Vec::new();
    for (n, provider) in providers.into_iter().enumerate() {
        match provider.look(env)? {
            Look::Found(mut found) => {
                if agency.is_some() && found.agency.is_some() && agency != found.agency {
                    return Err(Error::NoAccess(format!(
                        "HW_ASSUME_ROLE_AGENCY_NAME chooses another agency than {} does; remove one of the two",
                        found.source
                    )));
                }
                found.agency = agency.or(found.agency);
                // Files that were chosen by name and would not be looked at: somebody else was meant.
                let passed_over = CHOOSE_A_FILE.iter().find(|(at, name)| n < *at && env.var(name).is_some());
                return match passed_over {
                    Some((_, name)) => Err(Error::NoAccess(format!(
                        "{name} chooses other credentials than those of {}, which come first; remove one of the two",
                        found.source
                    ))),
                    None => Ok(Search { found: *found, nothing }),
                };
            }
            Look::Nothing(place) => nothing.push(place),
        }
    }
    let metadata = Found::new(Credentials::CloudServer, "the agency of this cloud server (ECS metadata)");
    Ok(Search { found: Found { agency, ..metadata }, nothing })
}

/// The files that credentials are looked for in, whether or not they are there.
pub(crate) fn files(env: &dyn Env) -> impl Iterator<Item = PathBuf> {
    [profile::file(env), koocli::file(env)].into_iter().flatten().map(|file| file.path)
}

/// Variables that choose a file or a profile, and the place of their source in the order.
const CHOOSE_A_FILE: [(usize, &str); 3] =
    [(4, "HUAWEICLOUD_SDK_CREDENTIALS_FILE"), (5, "HW_SHARED_CONFIG_FILE"), (5, "HW_PROFILE")];

/// Variables by which the official SDKs and the Terraform provider act as somebody else, in ways that are not supported
/// here. To pass one over would act on another account than was meant.
const NOT_SUPPORTED: [&str; 14] = [
    "HUAWEICLOUD_SDK_IDP_ID",
    "HUAWEICLOUD_SDK_ID_TOKEN_FILE",
    "HUAWEICLOUD_OIDC_PROVIDER_URN",
    "HUAWEICLOUD_OIDC_AGENCY_URN",
    "HUAWEICLOUD_OIDC_ID_TOKEN",
    "HUAWEICLOUD_OIDC_ID_TOKEN_FILE",
    "HUAWEICLOUD_OIDC_TOKEN_FILE",
    "HC_CONTAINER_CREDENTIALS_FULL_URI",
    "HC_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "HW_ASSUME_ROLE_IDP_ID",
    "HW_ASSUME_ROLE_ID_TOKEN",
    "HW_ASSUME_ROLE_ID_TOKEN_FILE",
    "HW_USER_ID",
    "HW_PASSCODE",
];

/// Variables whose value goes into a header, an address or a log-in as it is.
const TAKEN_AS_THEY_ARE: [(&str, Form); 18] = [
    ("HUAWEICLOUD_SDK_AK", Form::Key),
    ("HUAWEICLOUD_SDK_SK", Form::Key),
    ("HUAWEICLOUD_SDK_SECURITY_TOKEN", Form::Key),
    ("HUAWEICLOUD_SDK_PROJECT_ID", Form::Key),
    ("HW_ACCESS_KEY", Form::Key),
    ("HW_SECRET_KEY", Form::Key),
    ("HW_SECURITY_TOKEN", Form::Key),
    ("HW_AUTH_TOKEN", Form::Key),
    ("HW_USER_NAME", Form::Name),
    ("HW_USER_PASSWORD", Form::Password),
    ("HW_DOMAIN_NAME", Form::Name),
    ("HW_REGION_NAME", Form::Name),
    ("HW_PROJECT_ID", Form::Key),
    ("HW_PROJECT_NAME", Form::Name),
    ("HW_ASSUME_ROLE_AGENCY_NAME", Form::Name),
    ("HW_ASSUME_ROLE_DOMAIN_NAME", Form::Name),
    ("HW_ASSUME_ROLE_DOMAIN_ID", Form::Key),
    ("HW_ASSUME_ROLE_DURATION", Form::Key),
];

/// Variables that nobody sets to nothing: what should have filled them in did not, and the next source would act as
/// somebody else.
const NEVER_BLANK: [&str; 6] =
    ["HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HW_ACCESS_KEY", "HW_SECRET_KEY", "HW_AUTH_TOKEN", "HW_USER_PASSWORD"];

/// Refuses what can't be meant, by the name of its variable; the value is not repeated.
fn check_variables(env: &dyn Env) -> Result<(), Error> {
    if let Some(name) = NOT_SUPPORTED.iter().find(|name| env.var(name).is_some()) {
        return Err(Error::NoAccess(format!(
            "{name} chooses an identity in a way that is not supported here; remove it, and set the credentials that the run \
             shall use"
        )));
    }
    if let Some(name) = NEVER_BLANK.iter().find(|name| env.is_blank(name)) {
        return Err(Error::NoAccess(format!("{name} is set, and empty; set it to its value, or unset it")));
    }
    for (name, form) in TAKEN_AS_THEY_ARE {
        if let Some(fault) = env.var(name).and_then(|value| form.fault(&value)) {
            return Err(Error::NoAccess(format!("{name} {fault}")));
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn describe(env: &dyn Env) -> String {
        find(env).unwrap().found.caller().who()
    }

    #[test]
    fn the_first_source_wins() {
        let all = [
            ("HUAWEICLOUD_SDK_AK", "SDKSDKSD0001"),
            ("HUAWEICLOUD_SDK_SK", "s"),
            ("HW_ACCESS_KEY", "TERRATER0002"),
            ("HW_SECRET_KEY", "s"),
            ("HW_AUTH_TOKEN", "t"),
            ("HW_USER_NAME", "bob"),
            ("HW_USER_PASSWORD", "p"),
            ("HW_DOMAIN_NAME", "corp"),
            ("HOME", "/nowhere"),
        ];
        let expected = [
            (0, "access key …0001 from HUAWEICLOUD_SDK_AK"),
            (2, "access key …0002 from HW_ACCESS_KEY"),
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

    /// Everything that one way to have credentials reads.
    const WAYS: [&[(&str, &str)]; 4] = [
        &[
            ("HUAWEICLOUD_SDK_AK", "AKAKAKAK7ABC"),
            ("HUAWEICLOUD_SDK_SK", "secret"),
            ("HUAWEICLOUD_SDK_SECURITY_TOKEN", "token"),
            ("HUAWEICLOUD_SDK_PROJECT_ID", "p1"),
            ("HW_PROJECT_NAME", "team one"),
            ("HW_ASSUME_ROLE_AGENCY_NAME", "ops"),
            ("HW_ASSUME_ROLE_DOMAIN_NAME", "acme"),
            ("HW_ASSUME_ROLE_DOMAIN_ID", "0a1b"),
            ("HW_ASSUME_ROLE_DURATION", "3600"),
        ],
        &[
            ("HW_ACCESS_KEY", "AKAKAKAK7ABC"),
            ("HW_SECRET_KEY", "secret"),
            ("HW_SECURITY_TOKEN", "token"),
            ("HW_PROJECT_ID", "p1"),
            ("HW_REGION_NAME", "cn-north-4"),
        ],
        &[("HW_AUTH_TOKEN", "token")],
        &[("HW_USER_NAME", "bob"), ("HW_USER_PASSWORD", "pass word"), ("HW_DOMAIN_NAME", "corp")],
    ];

    /// All that is taken from an environment, secrets included.
    fn taken(env: &dyn Env) -> Result<String, Error> {
        let found = find(env)?.found;
        let secret = match &found.credentials {
            Credentials::Key(key) => [Some(&key.access), Some(&key.secret), key.security_token.as_ref()]
                .map(|part| part.map(|part| part.expose_secret().to_owned()))
                .map(Option::unwrap_or_default)
                .join(" "),
            Credentials::Token(token) => token.expose_secret().to_owned(),
            Credentials::Login(login) => format!("{} {} {}", login.user, login.password.expose_secret(), login.account),
            Credentials::CloudServer => String::new(),
        };
        let Found { project_id, region, agency, .. } = found;
        Ok(format!("{secret} {project_id:?} {region:?} {agency:?} {:?}", env.var("HW_PROJECT_NAME")))
    }

    #[test]
    fn each_variable_works_with_what_is_left_around_its_value_or_is_named() {
        for way in WAYS {
            let whole = taken(&way).unwrap();
            for (n, (name, value)) in way.iter().enumerate() {
                for (before, after, works) in [
                    ("", "\n", true),
                    ("", "\r\n", true),
                    ("\n", "\r", true),
                    (" ", "\t", true),
                    ("\u{feff}", "", true),
                    ("\u{a0}", "\u{3000}", true),
                    ("\"", "\"", false),
                    ("'", "'", false),
                    ("a\r\n", "", false),
                    ("a\u{0}", "", false),
                ] {
                    let around = format!("{before}{value}{after}");
                    let mut env = way.to_vec();
                    env[n].1 = &around;
                    match taken(&env.as_slice()) {
                        Ok(taken) if works => assert_eq!(taken, whole, "{name} {around:?}"),
                        // A password may be anything.
                        Ok(taken) => {
                            assert!(*name == "HW_USER_PASSWORD" && taken.contains(&around), "{name} {around:?}");
                        }
                        Err(error) => {
                            assert!(!works && error.to_string().starts_with(name), "{name} {around:?}: {error}");
                            assert_eq!(error.exit(), crate::error::Exit::NoAccess);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_key_that_is_set_to_nothing_is_named_and_not_passed_over() {
        for name in NEVER_BLANK {
            for blank in ["", " ", "\r\n", "\u{feff}"] {
                let text = find(&[(name, blank), ("HW_AUTH_TOKEN", "t")]).unwrap_err().to_string();
                assert!(text.starts_with(&format!("{name} is set, and empty")), "{text}");
            }
        }
        assert!(find(&[("HUAWEICLOUD_SDK_SECURITY_TOKEN", ""), ("HW_AUTH_TOKEN", "t")]).is_ok());
    }

    #[test]
    fn a_variable_that_can_not_be_meant_is_named_and_its_value_is_not_told() {
        let key = [("HUAWEICLOUD_SDK_AK", "a"), ("HUAWEICLOUD_SDK_SK", "s")];
        for other in [
            ("HUAWEICLOUD_SDK_SECURITY_TOKEN", "CAN\nARY"),
            ("HW_USER_PASSWORD", "CAN\rARY"),
            ("HUAWEICLOUD_SDK_IDP_ID", "CANARY"),
            ("HC_CONTAINER_CREDENTIALS_FULL_URI", "CANARY"),
            ("HW_ASSUME_ROLE_ID_TOKEN", "CANARY"),
            ("HW_ASSUME_ROLE_AGENCY_NAME", "CAN\nARY"),
            ("HW_PROFILE", "CANARY"),
            ("HW_SHARED_CONFIG_FILE", "CANARY"),
        ] {
            let error = find(&[key[0], key[1], other]).unwrap_err();
            assert_eq!(error.exit(), crate::error::Exit::NoAccess);
            let text = error.to_string();
            assert!(text.starts_with(other.0) && !text.contains("ARY"), "{text}");
        }
    }

    const KEY: [(&str, &str); 2] = [("HUAWEICLOUD_SDK_AK", "AKAKAKAK7ABC"), ("HUAWEICLOUD_SDK_SK", "s")];

    #[test]
    fn an_agency_is_taken_on_by_any_source_of_credentials() {
        let agency = [
            ("HW_ASSUME_ROLE_AGENCY_NAME", "ops"),
            ("HW_ASSUME_ROLE_DOMAIN_NAME", "acme"),
            ("HW_ASSUME_ROLE_DURATION", "3600"),
            ("HOME", "/nowhere"),
        ];
        let login = [("HW_USER_NAME", "bob"), ("HW_USER_PASSWORD", "p"), ("HW_DOMAIN_NAME", "corp")];
        for (base, expected) in [
            (&KEY[..], "access key …7ABC from HUAWEICLOUD_SDK_AK"),
            (&login, "IAM user bob of account corp, from HW_USER_NAME"),
            (&[("HW_AUTH_TOKEN", "t")], "token from HW_AUTH_TOKEN"),
            (&[], "temporary access key from the agency of this cloud server (ECS metadata)"),
        ] {
            let env = [base, &agency].concat();
            assert_eq!(describe(&env.as_slice()), format!("{expected}, as agency ops of account acme"));
        }
        let env = [&KEY[..], &[("HW_ASSUME_ROLE_AGENCY_NAME", "ops"), ("HW_ASSUME_ROLE_DOMAIN_ID", "0a1b")]].concat();
        assert!(describe(&env.as_slice()).ends_with(", as agency ops of account 0a1b"));
    }

    #[test]
    fn a_half_set_agency_is_an_error_that_names_what_is_missing() {
        let name = ("HW_ASSUME_ROLE_AGENCY_NAME", "ops");
        let account = ("HW_ASSUME_ROLE_DOMAIN_NAME", "acme");
        for (set, words) in [
            (vec![name], "HW_ASSUME_ROLE_DOMAIN_NAME (or HW_ASSUME_ROLE_DOMAIN_ID) is missing"),
            (vec![account], "HW_ASSUME_ROLE_AGENCY_NAME is missing"),
            (vec![("HW_ASSUME_ROLE_DOMAIN_ID", "a")], "HW_ASSUME_ROLE_AGENCY_NAME is missing"),
            (vec![("HW_ASSUME_ROLE_DURATION", "900")], "HW_ASSUME_ROLE_AGENCY_NAME is missing"),
            (vec![name, account, ("HW_ASSUME_ROLE_DURATION", "60")], "HW_ASSUME_ROLE_DURATION"),
            (vec![name, account, ("HW_ASSUME_ROLE_DURATION", "1h")], "from 900 to 86400"),
        ] {
            let env = [&KEY[..], &set].concat();
            let error = find(&env.as_slice()).unwrap_err();
            assert_eq!(error.exit(), crate::error::Exit::NoAccess);
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_variable_and_a_file_that_choose_two_agencies_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        std::fs::write(&file, "[basic]\nak = a\nsk = s\nagency_name = ops\nagency_domain_name = acme\n").unwrap();
        let file = ("HUAWEICLOUD_SDK_CREDENTIALS_FILE", file.to_str().unwrap());
        assert!(describe(&[file]).ends_with(", as agency ops of account acme"));
        let agency = |account| [file, ("HW_ASSUME_ROLE_AGENCY_NAME", "ops"), ("HW_ASSUME_ROLE_DOMAIN_NAME", account)];
        assert!(describe(&agency("acme")).ends_with(", as agency ops of account acme"));
        assert!(find(&agency("other")).unwrap_err().to_string().contains("another agency"));
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
            ("HUAWEICLOUD_SDK_AK", "CANARY2CANARY2abcd"),
            ("HUAWEICLOUD_SDK_SK", "CANARY3"),
            ("HUAWEICLOUD_SDK_SECURITY_TOKEN", "CANARY4"),
        ];
        let other = find(&env).unwrap();
        let shown = format!("{search:?} {} {other:?} {}", search.found.describe(), other.found.describe());
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}
