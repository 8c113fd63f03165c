//! The profile file of the official SDKs: `~/.huaweicloud/credentials`, section `[basic]`. The SDKs know of no agency
//! there; the entries for one are ours, so that everything that a profile means stands in one place.

use super::provider::{Agency, Credentials, Form, Found, Look, NamedFile, Provider, Reread, half, named_file};
use super::sign::Key;
use crate::api::env::{Env, trimmed};
use crate::error::Error;

const FILE_VARIABLE: &str = "HUAWEICLOUD_SDK_CREDENTIALS_FILE";
const SECTION: &str = "basic";
/// Entries that name an agency.
const AGENCY: [&str; 4] = ["agency_name", "agency_domain_name", "agency_domain_id", "agency_duration"];
/// Entries whose values are taken as they are.
const READ: [&str; 8] = ["ak", "sk", "security_token", "project_id", AGENCY[0], AGENCY[1], AGENCY[2], AGENCY[3]];

/// See the module.
pub(crate) struct Profile;

impl Provider for Profile {
    fn look(&self, env: &dyn Env) -> Result<Look, Error> {
        let Some(file) = file(env) else { return Ok(Look::Nothing(NO_FILE.to_owned())) };
        look_in(&file)
    }
}

/// Where it is looked for.
pub(super) fn file(env: &dyn Env) -> Option<NamedFile> {
    named_file(env, FILE_VARIABLE, ".huaweicloud/credentials")
}

/// Where no file is.
const NO_FILE: &str =
    "SDK profile file: ~/.huaweicloud/credentials (or HUAWEICLOUD_SDK_CREDENTIALS_FILE): no such file";

fn look_in(file: &NamedFile) -> Result<Look, Error> {
    let Some(text) = file.read()? else { return Ok(Look::Nothing(NO_FILE.to_owned())) };
    let shown = file.path.display().to_string();
    let Some(section) = section(&text, SECTION) else {
        return Ok(Look::Nothing(format!("SDK profile file {shown}: it has no section [{SECTION}]")));
    };
    let place = format!("the SDK profile file {shown}, section [{SECTION}],");
    for (name, value) in &section {
        let form = if AGENCY[..2].contains(&name.as_str()) { Form::Name } else { Form::Key };
        if let Some(fault) = READ.contains(&name.as_str()).then(|| form.fault(value)).flatten() {
            return Err(Error::NoAccess(format!("{name} of {place} {fault}")));
        }
    }
    let value = |name: &str| section.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    match (value("ak"), value("sk")) {
        (Some(access), Some(secret)) => {
            let key = Key::new(access, secret, value("security_token"));
            let mut found = Found::new(Credentials::Key(key), format!("the SDK profile file {shown}"));
            found.project_id = value("project_id").map(str::to_owned);
            found.iam_endpoint = value("iam_endpoint").map(str::to_owned);
            found.agency = Agency::of(&place, AGENCY.map(|name| (name, value(name).map(str::to_owned))))?;
            let file = file.clone();
            found.reread = Some(Reread::new(move || look_in(&file)));
            Ok(Look::Found(Box::new(found)))
        }
        (None, None) if value("idp_id").is_some() => Err(Error::NoAccess(format!(
            "the SDK profile file {shown} logs in by an identity provider (idp_id), which is not supported; put ak and \
             sk there, or set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK"
        ))),
        (access, secret) => {
            let missing: Vec<&str> = [("ak", access), ("sk", secret)]
                .iter()
                .filter_map(|(name, value)| value.is_none().then_some(*name))
                .collect();
            Err(half(&place, &missing))
        }
    }
}

/// Names (in lower case) and non-empty values of one section of an INI file; `None` where there is no such section.
fn section(text: &str, wanted: &str) -> Option<Vec<(String, String)>> {
    let (mut inside, mut found) = (false, None);
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == wanted;
            if inside {
                found.get_or_insert_with(Vec::new);
            }
        } else if inside
            && let Some((name, value)) = line.split_once(['=', ':'])
            && !trimmed(value).is_empty()
        {
            found.get_or_insert_with(Vec::new).push((name.trim().to_ascii_lowercase(), trimmed(value).to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Result<Look, Error> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(".huaweicloud")).unwrap();
        std::fs::write(directory.path().join(".huaweicloud/credentials"), text).unwrap();
        Profile.look(&[("HOME", directory.path().to_str().unwrap())])
    }

    #[test]
    fn the_section_basic_is_read_as_the_sdk_does() {
        let text = "# mine\n[global]\nak = other\nsk = other\n[basic]\nAK = AKAKAKAK7ABC\nsk: se=cr:et\n; no\nproject_id=p1\nsecurity_token =\niam_endpoint = https://iam.example.com\n";
        let Look::Found(found) = look(text).unwrap() else { panic!() };
        assert!(found.describe().starts_with("access key …7ABC from the SDK profile file /"), "{}", found.describe());
        assert_eq!(found.project_id.as_deref(), Some("p1"));
        assert_eq!(found.iam_endpoint.as_deref(), Some("https://iam.example.com"));
        let Credentials::Key(key) = found.credentials else { panic!() };
        assert_eq!(secrecy::ExposeSecret::expose_secret(&key.secret), "se=cr:et");
        assert!(key.security_token.is_none());
    }

    #[test]
    fn a_half_set_profile_names_what_is_missing() {
        let text = look("[basic]\nak = CANARY\n").err().unwrap().to_string();
        assert!(text.contains("[basic]") && text.contains("sk is missing") && !text.contains("CANARY"), "{text}");
        assert!(look("[basic]\n").err().unwrap().to_string().contains("ak and sk are missing"));
        assert!(look("[basic]\nidp_id = x\n").err().unwrap().to_string().contains("not supported"));
    }

    #[test]
    fn a_profile_may_name_an_agency() {
        let whole = "[basic]\nak = a\nsk = s\nagency_name = ops\nagency_domain_id = 0a1b\nagency_duration = 3600\n";
        let Look::Found(found) = look(whole).unwrap() else { panic!() };
        let agency = found.agency.unwrap();
        assert_eq!(
            (agency.shown().to_string().as_str(), agency.duration_s),
            ("agency ops of account 0a1b", Some(3_600))
        );
        let half = look("[basic]\nak = a\nsk = s\nagency_name = ops\n").err().unwrap().to_string();
        assert!(half.contains("agency_domain_name (or agency_domain_id) is missing"), "{half}");
    }

    #[test]
    fn a_value_works_with_what_is_left_around_it_or_is_named_with_its_file() {
        let Look::Found(found) = look("[basic]\r\nak = \u{feff}AKAKAKAK7ABC\u{a0}\r\nsk =\ts \r\n").unwrap() else {
            panic!()
        };
        assert!(found.describe().starts_with("access key …7ABC"), "{}", found.describe());
        for (entry, name) in
            [("ak = \"CANARY\"", "ak"), ("sk = 'CANARY'", "sk"), ("sk = CAN ARY", "sk"), ("ak = CANARYé", "ak")]
        {
            let text = look(&format!("[basic]\nak = a\nsk = s\n{entry}\n")).err().unwrap().to_string();
            assert!(text.starts_with(&format!("{name} of the SDK profile file /")) && !text.contains("ARY"), "{text}");
        }
    }

    #[test]
    fn a_file_without_the_section_is_passed_over_and_told() {
        let Look::Nothing(place) = look("[global]\nak = a\n").unwrap() else { panic!() };
        assert!(place.contains("no section [basic]"), "{place}");
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let text = Profile.look(&[(FILE_VARIABLE, "/nowhere/file")]).err().unwrap().to_string();
        assert!(text.contains("/nowhere/file") && text.contains(FILE_VARIABLE), "{text}");
    }
}
