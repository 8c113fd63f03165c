//! Where the servers are: from a region by the cloud's pattern, or as the operator says.

use reqwest::Url;

use super::env::Env;
use super::hosts::is_loopback;
use crate::error::Error;

/// The public cloud.
const PUBLIC: &str = "myhuaweicloud.com";
/// IAM for every region of the public cloud.
const GLOBAL_IAM: &str = "https://iam.myhuaweicloud.com";

/// Regions whose own IAM address the official SDK knows; for all others of the public cloud it asks the global one.
const IAM_REGIONS: [&str; 27] = [
    "ae-ad-1",
    "af-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "cn-east-2",
    "cn-east-3",
    "cn-east-4",
    "cn-east-5",
    "cn-north-1",
    "cn-north-2",
    "cn-north-4",
    "cn-north-9",
    "cn-north-12",
    "cn-south-1",
    "cn-south-2",
    "cn-southwest-2",
    "eu-west-0",
    "la-north-2",
    "la-south-2",
    "me-east-1",
    "my-kualalumpur-1",
    "na-mexico-1",
    "ru-moscow-1",
    "sa-brazil-1",
    "tr-west-1",
];

/// Regions where Workspace is known to be offered (the official SDK's table, and the help pages). Others are tried by
/// the pattern, too; the message about an address that is not there names these.
pub(crate) const WORKSPACE_REGIONS: [&str; 19] = [
    "af-north-1",
    "af-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "cn-east-3",
    "cn-east-5",
    "cn-north-4",
    "cn-north-9",
    "cn-north-11",
    "cn-south-1",
    "cn-southwest-2",
    "eu-west-101",
    "la-north-2",
    "la-south-2",
    "me-east-1",
    "na-mexico-1",
    "sa-brazil-1",
    "tr-west-1",
];

/// What was said about places, from the settings and from the source of the credentials.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted<'a> {
    pub region: Option<&'a str>,
    /// `--endpoint`.
    pub endpoint: Option<&'a str>,
    /// `--iam-endpoint`.
    pub iam_endpoint: Option<&'a str>,
    /// The IAM address that the source of the credentials names.
    pub source_iam: Option<&'a str>,
}

/// Addresses without a slash at their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub workspace: String,
    /// `None` where nobody said where it is: credentials never go to a host that was only guessed.
    pub iam: Option<String>,
    /// In lower case.
    pub region: Option<String>,
}

/// Settles the addresses.
///
/// Workspace: `--endpoint`; the SDK's `HUAWEICLOUD_SDK_REGION_WORKSPACE_<REGION>` (the first of a list); the pattern
/// `https://workspace.REGION.CLOUD`, where CLOUD is Terraform's `HW_CLOUD` or the public cloud. IAM: `--iam-endpoint`;
/// what the source of the credentials says; `HUAWEICLOUD_SDK_IAM_ENDPOINT`; the region's own of the same cloud.
///
/// # Errors
/// Where an address is not one, or neither region nor endpoint is known.
pub(crate) fn resolve(wanted: &Wanted<'_>, env: &dyn Env) -> Result<Endpoints, Error> {
    let region = wanted.region.map(check_region).transpose()?;
    let cloud = match env.var("HW_CLOUD") {
        Some(cloud) => check_cloud(&cloud)?,
        None => PUBLIC.to_owned(),
    };
    let workspace = match (wanted.endpoint, &region) {
        (Some(endpoint), _) => check("endpoint", "--endpoint", endpoint)?,
        (None, Some(region)) => {
            let variable =
                format!("HUAWEICLOUD_SDK_REGION_WORKSPACE_{}", region.replace('-', "_").to_ascii_uppercase());
            match env.var(&variable) {
                Some(list) => check("endpoint", &variable, list.split(',').next().unwrap_or_default())?,
                None => format!("https://workspace.{region}.{cloud}"),
            }
        }
        (None, None) => {
            return Err(setting(
                "region",
                "not set",
                "say where the desktops are: --region cn-north-4 (or another region), or --endpoint with the address",
            ));
        }
    };
    let named = [
        ("iam-endpoint", "--iam-endpoint", wanted.iam_endpoint.map(str::to_owned)),
        ("iam-endpoint", "the source of the credentials", wanted.source_iam.map(str::to_owned)),
        ("iam-endpoint", "HUAWEICLOUD_SDK_IAM_ENDPOINT", env.var("HUAWEICLOUD_SDK_IAM_ENDPOINT")),
    ];
    let iam = match named.into_iter().find_map(|(name, origin, value)| value.map(|value| (name, origin, value))) {
        Some((name, origin, value)) => Some(check(name, origin, &value)?),
        None => iam_of(&workspace, region.as_deref(), &cloud),
    };
    Ok(Endpoints { workspace, iam, region })
}

/// IAM of the cloud that Workspace is in; `None` where Workspace is somewhere else (a private cloud, a simulator).
fn iam_of(workspace: &str, region: Option<&str>, cloud: &str) -> Option<String> {
    let host = Url::parse(workspace).ok()?.host_str()?.to_owned();
    let same_cloud = host.strip_suffix(cloud).is_some_and(|rest| rest.ends_with('.'));
    match region {
        _ if !same_cloud => None,
        Some(region) if cloud != PUBLIC || IAM_REGIONS.contains(&region) => {
            Some(format!("https://iam.{region}.{cloud}"))
        }
        _ if cloud == PUBLIC => Some(GLOBAL_IAM.to_owned()),
        _ => None,
    }
}

/// An address as it is used: `https://HOST[:PORT]`, without a slash; IAM's may come with its `/v3`.
fn check(name: &str, origin: &str, given: &str) -> Result<String, Error> {
    let given = given.trim();
    let wrong = |problem: String| setting(name, origin, &problem);
    if !given.contains("://") {
        return Err(wrong(format!("`{given}` has no https:// in front")));
    }
    // The address is not repeated where it may hold a password.
    let url = Url::parse(given).map_err(|error| wrong(format!("this is no address: {error}; write https://HOST")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("the address must not hold a user or password".to_owned()));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => {
            return Err(wrong("http:// is not encrypted and allowed to this machine alone; write https://".to_owned()));
        }
        other => return Err(wrong(format!("{other}:// is not supported; write https://"))),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("the address must end after the host".to_owned()));
    }
    let path = url.path().trim_end_matches('/');
    if !(path.is_empty() || (name == "iam-endpoint" && path == "/v3")) {
        return Err(wrong(format!("the address must end after the host, without `{path}`")));
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default()))
}

fn check_region(given: &str) -> Result<String, Error> {
    let region = given.trim().to_ascii_lowercase();
    let fits = !region.is_empty()
        && region.len() <= 64
        && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits {
        return Ok(region);
    }
    Err(setting("region", "the region", &format!("`{given}` is no region; write the id, such as cn-north-4")))
}

fn check_cloud(given: &str) -> Result<String, Error> {
    let cloud = given.trim().to_ascii_lowercase();
    let fits = cloud.contains('.')
        && !cloud.starts_with('.')
        && cloud.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if fits {
        Ok(cloud)
    } else {
        Err(setting("endpoint", "HW_CLOUD", &format!("`{given}` is no domain; write one such as {PUBLIC}")))
    }
}

fn setting(name: &str, origin: &str, problem: &str) -> Error {
    Error::Setting { name: name.to_owned(), origin: origin.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(region: &str, env: &dyn Env) -> Endpoints {
        resolve(&Wanted { region: Some(region), ..Wanted::default() }, env).unwrap()
    }

    fn problem(wanted: Wanted<'_>) -> String {
        let error = resolve(&wanted, &[]).unwrap_err();
        assert_eq!(error.exit(), crate::error::Exit::Rejected);
        error.to_string()
    }

    #[test]
    fn a_region_is_enough() {
        let found = region("cn-north-4", &[]);
        assert_eq!(found.workspace, "https://workspace.cn-north-4.myhuaweicloud.com");
        assert_eq!(found.iam.as_deref(), Some("https://iam.cn-north-4.myhuaweicloud.com"));
        // Not in the SDK's table: the global IAM. Not known at all: by the pattern, not refused.
        assert_eq!(region("eu-west-101", &[]).iam.as_deref(), Some(GLOBAL_IAM));
        assert_eq!(region("xx-new-7", &[]).workspace, "https://workspace.xx-new-7.myhuaweicloud.com");
        assert_eq!(region(" CN-North-4 ", &[]), region("cn-north-4", &[]));
    }

    #[test]
    fn the_variables_of_the_sdk_and_of_terraform_are_heeded() {
        let env = [
            ("HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4", "https://ws.example.com:8443/,https://second.example.com"),
            ("HUAWEICLOUD_SDK_IAM_ENDPOINT", "https://iam.example.com"),
        ];
        let found = region("cn-north-4", &env);
        assert_eq!(found.workspace, "https://ws.example.com:8443");
        assert_eq!(found.iam.as_deref(), Some("https://iam.example.com"));
        let hcs = region("hcs-1", &[("HW_CLOUD", "cloud.corp.example")]);
        assert_eq!(hcs.workspace, "https://workspace.hcs-1.cloud.corp.example");
        assert_eq!(hcs.iam.as_deref(), Some("https://iam.hcs-1.cloud.corp.example"));
    }

    #[test]
    fn p20_iam_is_never_guessed_for_a_host_outside_the_cloud() {
        for endpoint in ["https://workspace.corp.example", "http://127.0.0.1:8080", "https://evilmyhuaweicloud.com"] {
            let wanted = Wanted { region: Some("cn-north-4"), endpoint: Some(endpoint), ..Wanted::default() };
            assert_eq!(resolve(&wanted, &[]).unwrap().iam, None, "{endpoint}");
        }
        let wanted = Wanted { endpoint: Some("https://workspace.cn-north-4.myhuaweicloud.com/"), ..Wanted::default() };
        assert_eq!(resolve(&wanted, &[]).unwrap().iam.as_deref(), Some(GLOBAL_IAM));
    }

    #[test]
    fn what_the_operator_says_comes_first() {
        let wanted = Wanted {
            region: Some("cn-north-4"),
            endpoint: Some("https://a.example"),
            iam_endpoint: Some("https://b.example/v3/"),
            source_iam: Some("https://c.example"),
        };
        let found = resolve(&wanted, &[("HUAWEICLOUD_SDK_IAM_ENDPOINT", "https://d.example")]).unwrap();
        assert_eq!((found.workspace.as_str(), found.iam.as_deref()), ("https://a.example", Some("https://b.example")));
        let found = resolve(&Wanted { iam_endpoint: None, ..wanted }, &[]).unwrap();
        assert_eq!(found.iam.as_deref(), Some("https://c.example"));
    }

    #[test]
    fn p20_what_is_no_safe_address_is_refused_in_words() {
        for (endpoint, expected) in [
            ("workspace.example.com", "no https:// in front"),
            ("http://workspace.example.com", "not encrypted"),
            ("ftp://x", "not supported"),
            ("https://x.example/v2", "without `/v2`"),
            ("https://x.example?a=b", "end after the host"),
            ("https://", "no address"),
        ] {
            let text = problem(Wanted { endpoint: Some(endpoint), ..Wanted::default() });
            assert!(text.contains(expected) && text.contains("endpoint"), "{text}");
        }
        let text = problem(Wanted { endpoint: Some("https://bob:CANARY@x.example"), ..Wanted::default() });
        assert!(text.contains("user or password") && !text.contains("CANARY"), "{text}");
    }

    #[test]
    fn neither_region_nor_endpoint_says_what_to_write() {
        assert!(problem(Wanted::default()).contains("--region"));
        assert!(problem(Wanted { region: Some("cn north/4"), ..Wanted::default() }).contains("no region"));
    }
}
