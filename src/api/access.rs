//! From settings and environment to somebody who may ask a server: credentials, addresses, project.

use std::sync::Arc;

use super::auth::agency::AssumedAgency;
use super::auth::chain::{self, Search};
use super::auth::keys::KeyAuth;
use super::auth::login::{Iam, Scope, TokenAuth};
use super::auth::metadata::Metadata;
use super::auth::provider::Credentials;
use super::auth::{Authenticator, SharedAuthenticator, StaticToken};
use super::client::Target;
use super::endpoints::{self, Endpoints, Wanted};
use super::env::Env;
use super::iam::{Project, Projects};
use super::transport::Transport;
use crate::error::Error;
use crate::model::Caller;

/// The settings that say where, and as what project.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessOptions {
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub iam_endpoint: Option<String>,
    pub project_id: Option<String>,
}

/// What could be settled without a request.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    search: Search,
    endpoints: Endpoints,
    project_id: Option<String>,
    /// `HW_PROJECT_NAME`, which counts under every source.
    project_name: Option<String>,
}

/// Who asks, whom, and for which project.
#[derive(Clone)]
pub(crate) struct Access {
    pub auth: SharedAuthenticator,
    /// The Workspace API, without a slash at its end.
    pub endpoint: String,
    pub project_id: String,
    pub region: Option<String>,
    pub caller: Caller,
}

impl Access {
    pub(crate) fn target(&self, transport: Arc<dyn Transport>) -> Target {
        Target {
            transport,
            auth: self.auth.clone(),
            endpoint: self.endpoint.clone(),
            project_id: self.project_id.clone(),
        }
    }
}

/// Finds credentials and addresses; sends nothing.
///
/// # Errors
/// [`Error::Setting`] (exit 2) for an address or region that is none, or for none at all; [`Error::NoAccess`] (exit 4)
/// for a source of credentials that is half-set or can't be read.
pub(crate) fn prepare(options: &AccessOptions, env: &dyn Env) -> Result<Prepared, Error> {
    let wanted = Wanted {
        region: options.region.as_deref(),
        endpoint: options.endpoint.as_deref(),
        iam_endpoint: options.iam_endpoint.as_deref(),
        source_iam: None,
    };
    let search = match chain::find(env) {
        Ok(search) => search,
        Err(problem) => {
            // Settings that are wrong are told first; a region may still have come from the source that is half-set.
            if wanted.region.is_some() || wanted.endpoint.is_some() {
                endpoints::resolve(&wanted, env)?;
            }
            return Err(problem);
        }
    };
    let found = &search.found;
    let wanted = Wanted {
        region: wanted.region.or(found.region.as_deref()),
        source_iam: found.iam_endpoint.as_deref(),
        ..wanted
    };
    let endpoints = endpoints::resolve(&wanted, env)?;
    let project_name = env.var("HW_PROJECT_NAME");
    // A project belongs to one region: that of the source does not hold in another.
    let elsewhere = found.region.as_deref().is_some_and(|own| Some(own) != wanted.region);
    let of_source = found.project_id.clone().filter(|_| !elsewhere);
    let project_id = options.project_id.clone().or(of_source);
    if let Some(id) = &project_id {
        check_project_id(id)?;
    }
    Ok(Prepared { search, endpoints, project_id, project_name })
}

fn check_project_id(id: &str) -> Result<(), Error> {
    let fits = !id.is_empty()
        && id.len() <= 255
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if fits {
        return Ok(());
    }
    Err(Error::Setting {
        name: "project-id".to_owned(),
        origin: "the project".to_owned(),
        problem: "this is no id of a project: letters and digits, as \"API credentials\" in the console shows it"
            .to_owned(),
    })
}

impl Prepared {
    /// The Workspace API's address.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoints.workspace
    }

    /// The project, where somebody gave it.
    pub(crate) fn project_id(&self) -> Option<&str> {
        self.project_id.as_deref()
    }

    /// Gets a token or keys where they must be fetched, takes on the agency, and finds the project's id where nobody gave
    /// it. With an access key, a project id and no agency, nothing is sent.
    ///
    /// # Errors
    /// [`Error::NoAccess`] in words that say what to do.
    pub(crate) async fn connect(self, transport: Arc<dyn Transport>) -> Result<Access, Error> {
        let mut caller = self.search.found.caller();
        let (base, of_login) = self.log_in(Arc::clone(&transport)).await?;
        let auth = match self.search.found.agency.clone() {
            None => base,
            Some(agency) => {
                let endpoint = self.endpoints.iam.clone().ok_or_else(|| no_iam("keys of the agency"))?;
                let source = AssumedAgency { transport: Arc::clone(&transport), endpoint, base, agency };
                let keys = KeyAuth::temporary(Box::new(source), caller.who()).await;
                Arc::new(keys.map_err(Error::NoAccess)?)
            }
        };
        let Self { endpoints, project_id, project_name, .. } = self;
        let lookup = Lookup { transport, endpoints: &endpoints, name: project_name.as_deref() };
        let project = match (project_id, of_login) {
            (None, Some(project)) => project,
            // An id beside a name must be that project's.
            (known, _) => lookup.project(known, auth.as_ref()).await?,
        };
        caller.project_name = project.name;
        Ok(Access { auth, endpoint: endpoints.workspace, project_id: project.id, region: endpoints.region, caller })
    }

    /// What the credentials themselves give: who signs, and the project that a log-in was for.
    async fn log_in(&self, transport: Arc<dyn Transport>) -> Result<(SharedAuthenticator, Option<Project>), Error> {
        let Self { search, endpoints, project_id, project_name } = self;
        let description = search.found.describe();
        match &search.found.credentials {
            Credentials::Key(key) => {
                let auth = KeyAuth::given(key.clone(), search.found.reread.clone(), description);
                Ok((Arc::new(auth), None))
            }
            Credentials::CloudServer => {
                let keys = KeyAuth::temporary(Box::new(Metadata::new(transport)), description).await;
                let keys = keys
                    .map_err(|problem| search.no_credentials(&format!("the agency of this cloud server: {problem}")))?;
                Ok((Arc::new(keys), None))
            }
            Credentials::Token(token) => {
                let token =
                    StaticToken::new(token).map_err(|problem| Error::NoAccess(format!("{description}: {problem}")))?;
                Ok((Arc::new(token), None))
            }
            Credentials::Login(login) => {
                let name = project_name.as_ref().or(endpoints.region.as_ref());
                let scope = match (&search.found.agency, project_id, name) {
                    // The project is one of the other account.
                    (Some(_), ..) => Scope::Account(login.account.clone()),
                    (None, Some(id), _) => Scope::Project(id.clone()),
                    (None, None, Some(name)) => Scope::Named(name.clone()),
                    (None, None, None) => return Err(no_place()),
                };
                let endpoint = endpoints.iam.clone().ok_or_else(|| no_iam("a token"))?;
                let iam = Iam { transport, endpoint, login: login.clone(), scope };
                let auth = TokenAuth::start(iam, description).await.map_err(Error::NoAccess)?;
                let project = auth.project().await;
                Ok((Arc::new(auth), project))
            }
        }
    }
}

struct Lookup<'a> {
    transport: Arc<dyn Transport>,
    endpoints: &'a Endpoints,
    /// Of the project, where one was given.
    name: Option<&'a str>,
}

impl Lookup<'_> {
    async fn project(&self, known: Option<String>, auth: &dyn Authenticator) -> Result<Project, Error> {
        if let (Some(id), None) = (&known, self.name) {
            return Ok(Project { id: id.clone(), name: None });
        }
        let name = self.name.or(self.endpoints.region.as_deref()).ok_or_else(no_place)?;
        let endpoint = self.endpoints.iam.as_deref().ok_or_else(|| no_iam(NO_IAM_PROJECT))?;
        let id = Projects { transport: Arc::clone(&self.transport), endpoint, auth }.named(name).await?;
        check_project_id(&id).map_err(|_| {
            Error::NoAccess("IAM answers with an id of the project that is none; give --project-id".to_owned())
        })?;
        match known {
            Some(known) if known != id => Err(Error::NoAccess(format!(
                "HW_PROJECT_NAME is {}, and the project id {known} is not that project's, which is {id}; remove one of the two",
                crate::text::escape_untrusted(name, 64)
            ))),
            _ => Ok(Project { id, name: Some(name.to_owned()) }),
        }
    }
}

fn no_place() -> Error {
    Error::NoAccess("the project is not known: give --project-id, or --region so that it can be looked up".to_owned())
}

/// What is asked of IAM where an id can be given instead.
const NO_IAM_PROJECT: &str = "the project of the region";

fn no_iam(what: &str) -> Error {
    Error::NoAccess(format!(
        "{what} must be asked of IAM, and its address is not known for an endpoint of your own: give --iam-endpoint{}",
        if what == NO_IAM_PROJECT { ", or --project-id" } else { "" }
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::auth::sign::Key;
    use super::super::client::Reader;
    use super::super::explain::{Asked, explain};
    use super::super::http::{HttpOptions, HttpTransport};
    use super::super::testing::{Act, Server, check_signature, reply};
    use super::super::transport::Reply;
    use super::*;
    use crate::model::Class;

    fn transport() -> Arc<dyn Transport> {
        Arc::new(HttpTransport::new(&HttpOptions::default()).unwrap())
    }

    fn options(region: Option<&str>, server: Option<&Server>) -> AccessOptions {
        AccessOptions {
            region: region.map(str::to_owned),
            endpoint: server.map(Server::http),
            iam_endpoint: server.map(Server::http),
            project_id: None,
        }
    }

    const KEYS: [(&str, &str); 3] = [
        ("HUAWEICLOUD_SDK_AK", "AKAKAKAK7ABC"),
        ("HUAWEICLOUD_SDK_SK", "CANARY"),
        ("HUAWEICLOUD_SDK_PROJECT_ID", "p1"),
    ];

    #[tokio::test]
    async fn a_key_with_its_project_needs_no_request() {
        let prepared = prepare(&options(Some("cn-north-4"), None), &KEYS).unwrap();
        let access = prepared.connect(transport()).await.unwrap();
        assert_eq!(
            (access.project_id.as_str(), access.endpoint.as_str()),
            ("p1", "https://workspace.cn-north-4.myhuaweicloud.com")
        );
        assert_eq!(access.caller.who(), "access key …7ABC from HUAWEICLOUD_SDK_AK");
    }

    /// IAM's answer to whoever asks for keys of an agency.
    fn agency_keys(n: usize) -> Vec<Act> {
        let body = format!(
            r#"{{"credential":{{"access":"TEMPTEMPTEM{n}","secret":"CANARY1","securitytoken":"CANARY2","expires_at":"2026-09-15T08:45:00.000000Z"}}}}"#
        );
        reply(201, "Date: Tue, 15 Sep 2026 08:30:00 GMT\r\n", &body)
    }

    const AGENCY: [(&str, &str); 3] = [
        ("HW_ASSUME_ROLE_AGENCY_NAME", "ops"),
        ("HW_ASSUME_ROLE_DOMAIN_NAME", "acme"),
        ("HW_ASSUME_ROLE_DURATION", "1800"),
    ];

    #[tokio::test]
    async fn p20_an_agencys_base_key_is_seen_by_iam_alone_and_the_project_is_looked_up_with_the_temporary_one() {
        let base = Key::new("AKAKAKAK7ABC", "CANARY", None);
        let temporary = Key::new("TEMPTEMPTEM1", "CANARY1", Some("CANARY2"));
        let server = Server::start(move |seen| match seen.line() {
            "POST /v3.0/OS-CREDENTIAL/securitytokens" if check_signature(seen, &base).is_ok() => agency_keys(1),
            _ if check_signature(seen, &temporary).is_err() => reply(401, "", "{}"),
            "GET /v3/projects?name=cn-north-4" => reply(200, "", r#"{"projects":[{"id":"p9","name":"cn-north-4"}]}"#),
            _ => reply(200, "", r#"{"desktops":[]}"#),
        })
        .await;
        let env = [&KEYS[..2], &AGENCY].concat();
        let access = prepare(&options(Some("cn-north-4"), Some(&server)), &env.as_slice()).unwrap();
        let access = access.connect(transport()).await.unwrap();
        assert_eq!(access.project_id, "p9");
        assert_eq!(access.caller.who(), "access key …7ABC from HUAWEICLOUD_SDK_AK, as agency ops of account acme");
        let reader = Reader::new(access.target(transport()));
        assert!(matches!(reader.list_users(&[]).await, Reply::Answer(answer) if answer.status == 200));
        let seen = server.seen();
        let asked: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
        let expected = serde_json::json!({"auth": {"identity": {"methods": ["assume_role"], "assume_role":
            {"agency_name": "ops", "domain_name": "acme", "duration_seconds": 1800}}}});
        assert_eq!(asked, expected);
        assert!(seen[0].header("X-Project-Id").is_none() && seen[1].header("X-Project-Id").is_none());
        assert_eq!(seen[2].header("X-Project-Id"), Some("p9"));
        let by_base = seen.iter().filter(|seen| seen.head.contains("Access=AKAK")).count();
        assert_eq!((by_base, seen.len()), (1, 3));
    }

    #[tokio::test]
    async fn p11_keys_of_an_agency_are_renewed_before_their_end_by_one_task_for_everyone() {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |seen| match seen.line() {
            "POST /v3.0/OS-CREDENTIAL/securitytokens" => agency_keys(count.fetch_add(1, Ordering::SeqCst)),
            _ => reply(200, "", "{}"),
        })
        .await;
        let env = [&KEYS[..], &AGENCY].concat();
        let access = prepare(&options(None, Some(&server)), &env.as_slice()).unwrap();
        let access = access.connect(transport()).await.unwrap();
        assert_eq!(access.project_id, "p1", "given, so not looked up");
        let reader = Reader::new(access.target(transport()));
        let signed_by = |n: usize| format!("Access=TEMPTEMPTEM{n},");
        tokio::time::pause();
        for (after, n) in [(9 * 60 + 50, 0), (20, 1), (10 * 60, 2)] {
            tokio::time::advance(std::time::Duration::from_secs(after)).await;
            futures::future::join_all((0..8).map(|_| reader.list_users(&[]))).await;
            let seen = server.seen();
            assert!(seen[seen.len() - 8..].iter().all(|seen| seen.head.contains(&signed_by(n))), "{after}");
        }
        assert_eq!(server.seen().len(), 3 + 3 * 8);
    }

    #[tokio::test]
    async fn an_agency_that_iam_refuses_is_asked_for_once_and_named_with_its_account() {
        let body = r#"{"error":{"code":403,"message":"You are not authorized to perform the requested action.","title":"Forbidden"}}"#;
        for (status, body) in [(403, body), (404, "{}"), (400, ""), (401, r#"{"error_code":"APIGW.0301"}"#)] {
            let server = Server::start(move |_| reply(status, "", body)).await;
            let env = [&KEYS[..], &AGENCY].concat();
            let access = prepare(&options(None, Some(&server)), &env.as_slice()).unwrap();
            let problem = access.connect(transport()).await.err().unwrap();
            let text = problem.to_string();
            assert_eq!((problem.exit(), server.seen().len()), (crate::error::Exit::NoAccess, 1), "{text}");
            for part in ["agency ops of account acme", "HUAWEICLOUD_SDK_AK", &format!("HTTP {status}")] {
                assert!(text.contains(part) && !text.contains("CANARY"), "{part}: {text}");
            }
        }
    }

    #[tokio::test]
    async fn p11_a_base_key_that_was_replaced_in_its_file_takes_the_agency_on_at_the_second_try() {
        let server = Server::start(|seen| match seen.line() {
            "POST /v3.0/OS-CREDENTIAL/securitytokens" if seen.head.contains("Access=AKAKAKAK0002,") => agency_keys(1),
            _ => reply(401, "", r#"{"error_code":"APIGW.0301","error_msg":"Get secretKey failed"}"#),
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        let write = |access: &str| {
            std::fs::write(&file, format!("[basic]\nak = {access}\nsk = s\nproject_id = p1\n")).unwrap();
        };
        let env = [&[("HUAWEICLOUD_SDK_CREDENTIALS_FILE", file.to_str().unwrap())][..], &AGENCY].concat();
        write("AKAKAKAK0001");
        let prepared = prepare(&options(Some("cn-north-4"), Some(&server)), &env.as_slice()).unwrap();
        write("AKAKAKAK0002");
        assert_eq!(prepared.connect(transport()).await.unwrap().project_id, "p1");
        assert_eq!(server.seen().len(), 2);
    }

    #[tokio::test]
    async fn an_agency_is_taken_on_by_a_log_in_for_the_account_as_a_whole() {
        let server = Server::start(|seen| match seen.line() {
            "POST /v3/auth/tokens?nocatalog=true" => reply(201, "X-Subject-Token: t1\r\n", "{}"),
            "POST /v3.0/OS-CREDENTIAL/securitytokens" if seen.header("X-Auth-Token") == Some("t1") => agency_keys(1),
            _ => reply(200, "", r#"{"projects":[{"id":"p9","name":"cn-north-4"}]}"#),
        })
        .await;
        let login = [("HW_USER_NAME", "bob"), ("HW_USER_PASSWORD", "CANARY"), ("HW_DOMAIN_NAME", "corp")];
        let env = [&login[..], &AGENCY].concat();
        let access = prepare(&options(Some("cn-north-4"), Some(&server)), &env.as_slice()).unwrap();
        assert_eq!(access.connect(transport()).await.unwrap().project_id, "p9");
        let body: serde_json::Value = serde_json::from_slice(&server.seen()[0].body).unwrap();
        assert_eq!(body["auth"]["scope"], serde_json::json!({"domain": {"name": "corp"}}));
        assert!(server.seen()[2].header("X-Auth-Token").is_none());
    }

    #[tokio::test]
    async fn a_region_is_enough_where_the_project_can_be_looked_up() {
        let server = Server::start(|_| reply(200, "", r#"{"projects":[{"id":"p5","name":"cn-north-4"}]}"#)).await;
        for env in [&KEYS[..2], &[("HW_AUTH_TOKEN", "t")][..]] {
            let access =
                prepare(&options(Some("cn-north-4"), Some(&server)), &env).unwrap().connect(transport()).await.unwrap();
            assert_eq!(access.caller.project(&access.project_id), "cn-north-4 (p5)");
        }
    }

    #[tokio::test]
    async fn a_login_takes_the_project_from_its_token() {
        let body = r#"{"token":{"expires_at":"x","project":{"id":"p7","name":"cn-north-4"}}}"#;
        let server = Server::start(move |_| reply(201, "X-Subject-Token: t\r\n", body)).await;
        let env = [
            ("HW_USER_NAME", "bob"),
            ("HW_USER_PASSWORD", "CANARY"),
            ("HW_DOMAIN_NAME", "corp"),
            ("HW_REGION_NAME", "cn-north-4"),
        ];
        let access = prepare(&options(None, Some(&server)), &env).unwrap().connect(transport()).await.unwrap();
        assert_eq!((access.project_id.as_str(), access.region.as_deref()), ("p7", Some("cn-north-4")));
        assert_eq!(access.caller.project("p7"), "cn-north-4 (p7)");
        assert_eq!(server.seen().len(), 1);
        assert!(!access.auth.describe().contains("CANARY"));
    }

    #[tokio::test]
    async fn p20_keys_are_not_sent_to_an_iam_that_nobody_named() {
        let mut options = options(Some("cn-north-4"), None);
        options.endpoint = Some("https://workspace.corp.example".to_owned());
        let problem = prepare(&options, &&KEYS[..2]).unwrap().connect(transport()).await.err().unwrap().to_string();
        assert!(problem.contains("--iam-endpoint") && problem.contains("--project-id"), "{problem}");
    }

    #[test]
    fn the_sources_project_does_not_hold_in_another_region() {
        let env =
            [("HW_ACCESS_KEY", "a"), ("HW_SECRET_KEY", "s"), ("HW_PROJECT_ID", "p1"), ("HW_REGION_NAME", "cn-north-4")];
        assert_eq!(prepare(&options(None, None), &env).unwrap().project_id.as_deref(), Some("p1"));
        assert_eq!(prepare(&options(Some("cn-east-3"), None), &env).unwrap().project_id, None);
    }

    #[test]
    fn a_wrong_setting_is_told_before_half_set_credentials() {
        let env = [("HUAWEICLOUD_SDK_AK", "a")];
        let wrong = prepare(&options(Some("cn north"), None), &env).unwrap_err();
        assert_eq!(wrong.exit(), crate::error::Exit::Rejected);
        let half = prepare(&options(None, None), &env).unwrap_err();
        assert_eq!(half.exit(), crate::error::Exit::NoAccess);
        let mut options = options(Some("cn-north-4"), None);
        options.project_id = Some("../x".to_owned());
        assert!(prepare(&options, &KEYS).unwrap_err().to_string().contains("project-id"));
    }

    /// IAM and Workspace behind one strict gateway that locks after five refusals, as the cloud's does. Takes one key
    /// and one token.
    async fn cloud(key: Key, refusals: Arc<AtomicUsize>) -> Server {
        Server::start(move |seen| {
            if seen.line() == "POST /v3/auth/tokens?nocatalog=true" {
                let body = String::from_utf8_lossy(&seen.body);
                let known = body.contains(r#""password":"pass-CANARY""#) && body.contains(r#""name":"bob""#);
                let answer = r#"{"token":{"expires_at":"2099-01-01T00:00:00Z","project":{"id":"p1"}}}"#;
                return if known {
                    reply(201, "X-Subject-Token: token-CANARY\r\n", answer)
                } else {
                    reply(401, "", "{}")
                };
            }
            let by_token = seen.header("X-Auth-Token") == Some("token-CANARY");
            let locked = refusals.load(Ordering::SeqCst) >= 5;
            if locked || !(by_token || check_signature(seen, &key).is_ok()) {
                refusals.fetch_add(1, Ordering::SeqCst);
                let text =
                    if locked { "AK access failed to reach the limit,forbidden" } else { "verify aksk signature fail" };
                return reply(401, "", &format!(r#"{{"error_code":"APIGW.0301","error_msg":"{text}"}}"#));
            }
            match seen.line() {
                "GET /v3/projects?name=cn-north-4" => {
                    reply(200, "", r#"{"projects":[{"id":"p1","name":"cn-north-4"}]}"#)
                }
                "GET /v2/p1/desktops/detail?limit=1" => reply(200, "", r#"{"desktops":[],"total_count":0}"#),
                _ => reply(404, "", "{}"),
            }
        })
        .await
    }

    type Variables<'a> = &'a [(&'a str, &'a str)];

    /// From the environment to a first read.
    async fn first_read(server: &Server, env: &[(&str, &str)]) -> Result<String, String> {
        let transport = transport();
        let access = prepare(&options(Some("cn-north-4"), Some(server)), &env).map_err(|error| error.to_string())?;
        let access = access.connect(Arc::clone(&transport)).await.map_err(|error| error.to_string())?;
        let reply = Reader::new(access.target(transport)).list_desktops(&[("limit", "1")]).await;
        match &reply {
            Reply::Answer(answer) if answer.status == 200 => Ok(access.caller.credentials),
            _ => {
                let endpoint = server.http();
                let asked = Asked::of(Class::ListDesktops, &access.caller.credentials, &endpoint);
                Err(explain(&reply, &asked, jiff::Timestamp::now()))
            }
        }
    }

    #[tokio::test]
    async fn every_source_of_credentials_is_accepted_by_a_strict_gateway() {
        let (access_key, secret) = ("AKAKAKAK7ABC", "secret-CANARY");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        std::fs::write(&file, format!("[basic]\nak = {access_key}\nsk = {secret}\nsecurity_token = sts-CANARY\n"))
            .unwrap();
        let file = file.to_str().unwrap();
        let sdk = [("HUAWEICLOUD_SDK_AK", access_key), ("HUAWEICLOUD_SDK_SK", secret)];
        let temporary = [sdk[0], sdk[1], ("HUAWEICLOUD_SDK_SECURITY_TOKEN", "sts-CANARY")];
        let login = [("HW_USER_NAME", "bob"), ("HW_USER_PASSWORD", "pass-CANARY"), ("HW_DOMAIN_NAME", "corp")];
        let cases: [(Variables<'_>, Option<&str>, &str); 6] = [
            (&sdk, None, "access key …7ABC from HUAWEICLOUD_SDK_AK"),
            (&temporary, Some("sts-CANARY"), "temporary access key …7ABC from HUAWEICLOUD_SDK_AK"),
            (&[("HW_ACCESS_KEY", access_key), ("HW_SECRET_KEY", secret)], None, "access key …7ABC from HW_ACCESS_KEY"),
            (&[("HW_AUTH_TOKEN", "token-CANARY")], None, "token from HW_AUTH_TOKEN"),
            (&login, None, "IAM user bob of account corp"),
            (
                &[("HUAWEICLOUD_SDK_CREDENTIALS_FILE", file)],
                Some("sts-CANARY"),
                "temporary access key …7ABC from the SDK profile",
            ),
        ];
        for (env, security_token, expected) in cases {
            let server = cloud(Key::new(access_key, secret, security_token), Arc::default()).await;
            let credentials = first_read(&server, env).await.unwrap();
            assert!(credentials.starts_with(expected) && !credentials.contains("CANARY"), "{credentials}");
        }
    }

    #[tokio::test]
    async fn p11_a_key_that_was_replaced_in_its_file_is_read_again_and_the_same_one_is_not_tried_twice() {
        let directory = tempfile::tempdir().unwrap();
        let (profile, koocli) = (directory.path().join("credentials"), directory.path().join("config.json"));
        let (profile_path, koocli_path) = (profile.to_str().unwrap(), koocli.to_str().unwrap());
        let write = |access: &str| {
            std::fs::write(&profile, format!("[basic]\nak = {access}\nsk = s\nproject_id = p1\n")).unwrap();
            let keys = format!(r#""accessKeyId": "{access}", "secretAccessKey": "s", "projectId": "p1""#);
            let text = format!(r#"{{"current": "a", "authEncrypt": "false", "profiles": [{{"name": "a", {keys}}}]}}"#);
            std::fs::write(&koocli, text).unwrap();
        };
        for file in [("HUAWEICLOUD_SDK_CREDENTIALS_FILE", profile_path), ("HW_SHARED_CONFIG_FILE", koocli_path)] {
            write("AKAKAKAK0001");
            let prepared = prepare(&options(Some("cn-north-4"), None), &[file]).unwrap();
            let auth = prepared.connect(transport()).await.unwrap().auth;
            assert_eq!(auth.renew().await, Ok(false), "it is the same one");
            write("AKAKAKAK0002");
            assert_eq!(auth.renew().await, Ok(true));
            let mut request = http::Request::get("https://w.example/").body(bytes::Bytes::new()).unwrap();
            auth.authorize(&mut request).await.unwrap();
            assert!(request.headers()["Authorization"].to_str().unwrap().contains("Access=AKAKAKAK0002,"));
            assert_eq!(auth.renew().await, Ok(false));
            std::fs::remove_file(file.1).unwrap();
            assert!(auth.renew().await.unwrap_err().contains(file.1));
        }
    }

    #[tokio::test]
    async fn p11_a_wrong_key_is_sent_once_and_locks_nothing() {
        let refusals = Arc::new(AtomicUsize::new(0));
        let server = cloud(Key::new("AKAKAKAK7ABC", "right", None), Arc::clone(&refusals)).await;
        let wrong = [("HUAWEICLOUD_SDK_AK", "AKAKAKAK7ABC"), ("HUAWEICLOUD_SDK_SK", "CANARY")];
        let problem = first_read(&server, &wrong).await.unwrap_err();
        assert!(problem.contains("HUAWEICLOUD_SDK_AK") && !problem.contains("CANARY"), "{problem}");
        assert_eq!((refusals.load(Ordering::SeqCst), server.seen().len()), (1, 1));
        refusals.store(5, Ordering::SeqCst);
        let locked = first_read(&server, &wrong).await.unwrap_err();
        assert!(locked.contains("locked") && locked.contains("UTC"), "{locked}");
    }
}
