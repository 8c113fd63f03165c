//! Credentials in environment variables: those of the official SDKs, and those of the Terraform provider.

use super::provider::{Agency, Credentials, Found, Login, Look, Provider, half};
use super::sign::Key;
use crate::api::env::Env;
use crate::error::Error;

/// `HUAWEICLOUD_SDK_AK`, `HUAWEICLOUD_SDK_SK`, `HUAWEICLOUD_SDK_SECURITY_TOKEN`, `HUAWEICLOUD_SDK_PROJECT_ID`.
pub(crate) struct Sdk;

impl Provider for Sdk {
    fn look(&self, env: &dyn Env) -> Result<Look, Error> {
        let names = ["HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN"];
        look_for_key(env, names, |found| found.project_id = env.var("HUAWEICLOUD_SDK_PROJECT_ID"))
    }
}

/// `HW_ACCESS_KEY`, `HW_SECRET_KEY`, `HW_SECURITY_TOKEN`, `HW_PROJECT_ID`, `HW_REGION_NAME`.
pub(crate) struct Terraform;

impl Provider for Terraform {
    fn look(&self, env: &dyn Env) -> Result<Look, Error> {
        let names = ["HW_ACCESS_KEY", "HW_SECRET_KEY", "HW_SECURITY_TOKEN"];
        look_for_key(env, names, |found| add_terraform(found, env))
    }
}

/// `HW_AUTH_TOKEN`.
pub(crate) struct Token;

impl Provider for Token {
    fn look(&self, env: &dyn Env) -> Result<Look, Error> {
        let name = "HW_AUTH_TOKEN";
        let Some(token) = env.var(name) else { return Ok(Look::Nothing(format!("environment: {name}"))) };
        let mut found = Found::new(Credentials::Token(token.into()), name);
        add_terraform(&mut found, env);
        Ok(Look::Found(Box::new(found)))
    }
}

/// `HW_USER_NAME`, `HW_USER_PASSWORD`, `HW_DOMAIN_NAME`.
pub(crate) struct Password;

impl Provider for Password {
    fn look(&self, env: &dyn Env) -> Result<Look, Error> {
        let names = ["HW_USER_NAME", "HW_USER_PASSWORD", "HW_DOMAIN_NAME"];
        match names.map(|name| env.var(name)) {
            [Some(user), Some(password), Some(account)] => {
                let login = Login { user, password: password.into(), account };
                let mut found = Found::new(Credentials::Login(login), names[0]);
                add_terraform(&mut found, env);
                Ok(Look::Found(Box::new(found)))
            }
            // The name of the account alone is no attempt to log in: Terraform reads it with keys, too.
            [None, None, _] => Ok(Look::Nothing(format!("environment: {}", names.join(", ")))),
            values => {
                let missing: Vec<&str> = names
                    .into_iter()
                    .zip(&values)
                    .filter_map(|(name, value)| value.is_none().then_some(name))
                    .collect();
                Err(half("the environment", &missing))
            }
        }
    }
}

/// The agency that the Terraform provider's variables name, whatever the source of the credentials.
///
/// # Errors
/// Where it is half-set.
pub(super) fn agency(env: &dyn Env) -> Result<Option<Agency>, Error> {
    let names = [
        "HW_ASSUME_ROLE_AGENCY_NAME",
        "HW_ASSUME_ROLE_DOMAIN_NAME",
        "HW_ASSUME_ROLE_DOMAIN_ID",
        "HW_ASSUME_ROLE_DURATION",
    ];
    Agency::of("the environment", names.map(|name| (name, env.var(name))))
}

/// * `names`: of the variables for key, secret and security token.
fn look_for_key(env: &dyn Env, names: [&'static str; 3], add: impl FnOnce(&mut Found)) -> Result<Look, Error> {
    match names.map(|name| env.var(name)) {
        [Some(access), Some(secret), token] => {
            let key = Key::new(&access, &secret, token.as_deref());
            let mut found = Found::new(Credentials::Key(key), names[0]);
            add(&mut found);
            Ok(Look::Found(Box::new(found)))
        }
        [None, None, None] => Ok(Look::Nothing(format!("environment: {}, {}", names[0], names[1]))),
        [access, secret, _] => {
            let missing: Vec<&str> = names
                .into_iter()
                .zip([access, secret])
                .filter_map(|(name, value)| value.is_none().then_some(name))
                .collect();
            Err(half("the environment", &missing))
        }
    }
}

fn add_terraform(found: &mut Found, env: &dyn Env) {
    found.project_id = env.var("HW_PROJECT_ID");
    found.region = env.var("HW_REGION_NAME");
    found.iam_endpoint = env.var("HW_AUTH_URL");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_source_says_of_project_and_region_comes_along() {
        let env = [("HW_AUTH_TOKEN", "t"), ("HW_PROJECT_ID", "p"), ("HW_REGION_NAME", "cn-north-4")];
        let Look::Found(found) = Token.look(&env).unwrap() else { panic!() };
        assert_eq!((found.project_id.as_deref(), found.region.as_deref()), (Some("p"), Some("cn-north-4")));
        let env = [
            ("HUAWEICLOUD_SDK_AK", "a"),
            ("HUAWEICLOUD_SDK_SK", "s"),
            ("HUAWEICLOUD_SDK_PROJECT_ID", "q"),
            ("HW_PROJECT_ID", "p"),
        ];
        let Look::Found(found) = Sdk.look(&env).unwrap() else { panic!() };
        assert_eq!(found.project_id.as_deref(), Some("q"));
    }

    #[test]
    fn the_name_of_an_account_alone_is_no_half_set_login() {
        assert!(matches!(Password.look(&[("HW_DOMAIN_NAME", "corp")]), Ok(Look::Nothing(_))));
    }
}
