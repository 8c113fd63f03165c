//! The file of Huawei Cloud's own command line, `KooCLI`: `~/.hcloud/config.json`, where it is not encrypted.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::provider::{Agency, Credentials, Form, Found, Look, NamedFile, Provider, Reread, half, named_file};
use super::sign::Key;
use crate::api::env::{Env, trimmed};
use crate::api::lenient::lenient;
use crate::error::Error;

/// The variables by which the Terraform provider, too, is pointed at this file.
const FILE_VARIABLE: &str = "HW_SHARED_CONFIG_FILE";
const PROFILE_VARIABLE: &str = "HW_PROFILE";

/// See the module.
pub(crate) struct KooCli;

/// What of the file is of use. No `Debug`: it holds keys.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    #[serde(deserialize_with = "text")]
    current: String,
    #[serde(deserialize_with = "lenient")]
    profiles: Vec<Profile>,
    /// `"true"` and `"false"` are written as strings; by default the keys are encrypted.
    auth_encrypt: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Profile {
    #[serde(deserialize_with = "text")]
    name: String,
    #[serde(deserialize_with = "text")]
    mode: String,
    #[serde(deserialize_with = "text")]
    access_key_id: String,
    #[serde(deserialize_with = "text")]
    secret_access_key: String,
    #[serde(deserialize_with = "text")]
    security_token: String,
    #[serde(deserialize_with = "text")]
    region: String,
    #[serde(deserialize_with = "text")]
    project_id: String,
    #[serde(deserialize_with = "lenient")]
    sso_auth: SsoAuth,
    #[serde(deserialize_with = "text")]
    agency_name: String,
    #[serde(deserialize_with = "text")]
    agency_domain_name: String,
    #[serde(deserialize_with = "text")]
    agency_domain_id: String,
    /// The profile whose keys take on the agency, where this one holds none.
    #[serde(rename = "sourceProfile", deserialize_with = "text")]
    source: String,
}

impl Profile {
    /// Its access key, secret key and security token, by its way to authenticate.
    fn key(&self) -> [&String; 3] {
        let sts = &self.sso_auth.sts_token;
        if self.mode.eq_ignore_ascii_case("SSO") {
            [&sts.access_key_id, &sts.secret_access_key, &sts.security_token]
        } else {
            [&self.access_key_id, &self.secret_access_key, &self.security_token]
        }
    }

    fn agency(&self, place: &str) -> Result<Option<Agency>, Error> {
        Agency::of(
            place,
            [
                ("agencyName", some(&self.agency_name)),
                ("agencyDomainName", some(&self.agency_domain_name)),
                ("agencyDomainId", some(&self.agency_domain_id)),
                ("the duration", None),
            ],
        )
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SsoAuth {
    #[serde(deserialize_with = "lenient")]
    sts_token: StsToken,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StsToken {
    #[serde(deserialize_with = "text")]
    access_key_id: String,
    #[serde(deserialize_with = "text")]
    secret_access_key: String,
    #[serde(deserialize_with = "text")]
    security_token: String,
}

/// A text without what editors leave around it.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text: String = lenient(deserializer)?;
    Ok(trimmed(&text).to_owned())
}

impl Provider for KooCli {
    fn look(&self, env: &dyn Env) -> Result<Look, Error> {
        let Some(file) = file(env) else { return Ok(Look::Nothing(NO_FILE.to_owned())) };
        look_in(&file, env.var(PROFILE_VARIABLE).as_deref())
    }
}

/// Where it is looked for.
pub(super) fn file(env: &dyn Env) -> Option<NamedFile> {
    named_file(env, FILE_VARIABLE, ".hcloud/config.json")
}

/// Where no file is.
const NO_FILE: &str = "KooCLI: ~/.hcloud/config.json (or HW_SHARED_CONFIG_FILE): no such file";

/// * `asked`: the profile that was asked for; the file's current one where it is `None`.
fn look_in(named: &NamedFile, asked: Option<&str>) -> Result<Look, Error> {
    let Some(text) = named.read()? else { return Ok(Look::Nothing(NO_FILE.to_owned())) };
    let shown = named.path.display().to_string();
    let file: File = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        // Line and column alone: serde's own text may quote a value.
        let (line, column) = (error.line(), error.column());
        Error::NoAccess(format!("the KooCLI file {shown} is not what KooCLI writes: line {line}, column {column}"))
    })?;
    let wanted = asked.unwrap_or(&file.current);
    let Some(profile) = file.profiles.iter().find(|profile| profile.name == wanted) else {
        if asked.is_some() {
            let message =
                format!("the KooCLI file {shown} has no profile `{wanted}`, which {PROFILE_VARIABLE} asks for");
            return Err(Error::NoAccess(message));
        }
        return Ok(Look::Nothing(format!("KooCLI file {shown}: it has no current profile")));
    };
    let place = format!("the KooCLI file {shown}, profile {wanted},");
    let agency = profile.agency(&place)?;
    let [access, secret, token] = match (profile.key(), &profile.source) {
        ([access, secret, _], from) if access.is_empty() && secret.is_empty() && !from.is_empty() => {
            let holder = file.profiles.iter().find(|other| other.name == *from);
            let missing = || Error::NoAccess(format!("{place} takes its keys from `{from}`, which is not there"));
            holder.ok_or_else(missing)?.key()
        }
        (own, _) => own,
    };
    if access.is_empty() && secret.is_empty() {
        let mode = if profile.mode.is_empty() { "?" } else { &profile.mode };
        return Ok(Look::Nothing(format!("KooCLI file {shown}: profile {wanted} (mode {mode}) holds no access key")));
    }
    if is_encrypted(&file.auth_encrypt, access) {
        return Err(Error::NoAccess(format!(
            "the keys in the KooCLI file {shown} are encrypted, and only KooCLI can read them; either run \
             `hcloud configure set --cli-auth-encrypt=false` and set the keys of the profile again, or set \
             HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK instead"
        )));
    }
    let missing: Vec<&str> = [("accessKeyId", access), ("secretAccessKey", secret)]
        .iter()
        .filter_map(|(name, value)| value.is_empty().then_some(*name))
        .collect();
    if !missing.is_empty() {
        return Err(half(&place, &missing));
    }
    for (name, value) in [
        ("accessKeyId", access),
        ("secretAccessKey", secret),
        ("securityToken", token),
        ("projectId", &profile.project_id),
    ] {
        if let Some(fault) = Form::Key.fault(value) {
            return Err(Error::NoAccess(format!("{name} of {place} {fault}")));
        }
    }
    let key = Key::new(access, secret, some(token).as_deref());
    let mut found = Found::new(Credentials::Key(key), format!("the KooCLI file {shown}, profile {wanted}"));
    found.region = some(&profile.region);
    found.project_id = some(&profile.project_id);
    found.agency = agency;
    let (named, asked) = (named.clone(), wanted.to_owned());
    found.reread = Some(Reread::new(move || look_in(&named, Some(&asked))));
    Ok(Look::Found(Box::new(found)))
}

/// By the file's own word; where it says nothing (older versions), by the shape: ids of keys are capital letters and
/// digits, what `KooCLI` encrypts is not.
fn is_encrypted(word: &Value, access: &str) -> bool {
    match word {
        Value::Bool(encrypted) => *encrypted,
        Value::String(text) if text.eq_ignore_ascii_case("true") => true,
        Value::String(text) if text.eq_ignore_ascii_case("false") => false,
        _ => !(access.len() <= 40 && access.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Result<Look, Error> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        std::fs::write(&file, text).unwrap();
        KooCli.look(&[(FILE_VARIABLE, file.to_str().unwrap())])
    }

    const PLAIN: &str = r#"{"current": "work", "authEncrypt": "false", "profiles": [{"name": "x"},
        {"name": "work", "mode": "AKSK", "accessKeyId": "AKAKAKAKAKAKAKAK7ABC", "secretAccessKey": "CANARY",
         "securityToken": "", "region": "cn-north-4", "projectId": "p1", "readTimeout": 10, "agency": null, "ssoAuth": null}]}"#;

    #[test]
    fn the_current_profile_is_taken() {
        let Look::Found(found) = look(PLAIN).unwrap() else { panic!() };
        assert!(found.describe().contains("…7ABC from the KooCLI file") && found.describe().ends_with("profile work"));
        assert_eq!((found.region.as_deref(), found.project_id.as_deref()), (Some("cn-north-4"), Some("p1")));
    }

    #[test]
    fn p19_an_encrypted_file_says_so_and_what_to_do() {
        let told = PLAIN.replace("\"false\"", "\"true\"");
        let shaped = PLAIN.replace("\"false\"", "null").replace("AKAKAKAKAKAKAKAK7ABC", "CANARY+a9/b==");
        for text in [told, shaped] {
            let error = look(&text).err().unwrap().to_string();
            assert!(error.contains("are encrypted") && error.contains("--cli-auth-encrypt=false"), "{error}");
            assert!(!error.contains("CANARY"), "{error}");
        }
        let silent = PLAIN.replace("\"false\"", "null");
        assert!(matches!(look(&silent), Ok(Look::Found(_))));
    }

    #[test]
    fn a_value_works_with_what_is_left_around_it_or_is_named_with_its_file() {
        let around = format!("\u{feff}{}", PLAIN.replace("CANARY", " CANARY\\r\\n"));
        let Look::Found(found) = look(&around).unwrap() else { panic!() };
        let Credentials::Key(key) = found.credentials else { panic!() };
        assert_eq!(secrecy::ExposeSecret::expose_secret(&key.secret), "CANARY");
        for value in ["'CANARY'", "CAN\\nARY", "CAN ARY"] {
            let text = look(&PLAIN.replace("CANARY", value)).err().unwrap().to_string();
            assert!(text.starts_with("secretAccessKey of the KooCLI file /") && !text.contains("ARY"), "{text}");
        }
    }

    #[test]
    fn a_single_sign_on_gives_temporary_keys() {
        let text = r#"{"current": "s", "authEncrypt": "false", "profiles": [{"name": "s", "mode": "SSO",
            "ssoAuth": {"stsToken": {"accessKeyId": "HSTAAAAAAAAA7ABC", "secretAccessKey": "s", "securityToken": "t"}}}]}"#;
        let Look::Found(found) = look(text).unwrap() else { panic!() };
        assert!(found.describe().starts_with("temporary access key …7ABC"), "{}", found.describe());
    }

    #[test]
    fn an_agency_is_taken_on_by_the_profiles_own_keys_or_by_those_of_its_source() {
        let own = PLAIN.replace("\"agency\": null", r#""agencyName": "ops", "agencyDomainName": "acme""#);
        let Look::Found(found) = look(&own).unwrap() else { panic!() };
        assert!(
            found.caller().who().ends_with("profile work, as agency ops of account acme"),
            "{}",
            found.caller().who()
        );
        let source = r#"{"current": "away", "authEncrypt": "false", "profiles": [
            {"name": "home", "accessKeyId": "AKAKAKAK7ABC", "secretAccessKey": "s", "projectId": "p1"},
            {"name": "away", "mode": "agency", "region": "cn-north-4", "sourceProfile": "home",
             "agencyName": "ops", "agencyDomainId": "0a1b"}]}"#;
        let Look::Found(found) = look(source).unwrap() else { panic!() };
        assert!(found.describe().starts_with("access key …7ABC"), "{}", found.describe());
        assert!(
            found.caller().who().ends_with("profile away, as agency ops of account 0a1b"),
            "{}",
            found.caller().who()
        );
        assert_eq!(found.project_id, None, "the project is one of the other account");
        let missing = look(&source.replace("\"name\": \"home\"", "\"name\": \"other\"")).err().unwrap().to_string();
        assert!(missing.contains("`home`, which is not there"), "{missing}");
        let half = look(&own.replace("agencyDomainName", "agencyOther")).err().unwrap().to_string();
        assert!(half.contains("agencyDomainName (or agencyDomainId) is missing"), "{half}");
    }

    #[test]
    fn a_file_that_is_none_is_an_error_without_its_values() {
        let text = look(r#"{"current": 1, "profiles": "CANARY"}"#).err().unwrap().to_string();
        assert!(text.contains("line 1") && !text.contains("CANARY"), "{text}");
    }

    #[test]
    fn a_profile_without_a_key_is_passed_over_and_a_half_set_one_is_not() {
        let agency = PLAIN.replace("AKAKAKAKAKAKAKAK7ABC", "").replace("CANARY", "");
        assert!(matches!(look(&agency), Ok(Look::Nothing(place)) if place.contains("holds no access key")));
        let half = look(&PLAIN.replace("CANARY", "")).err().unwrap().to_string();
        assert!(half.contains("secretAccessKey is missing"), "{half}");
    }
}
