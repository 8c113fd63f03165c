//! What we ask of IAM besides tokens: the project of a region.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use jiff::Timestamp;
use serde::Deserialize;

use super::auth::Authenticator;
use super::auth::canonical::encode;
use super::client::MAX_WRITE_ANSWER;
use super::explain::{Asked, explain};
use super::lenient::lenient;
use super::transport::{Answer, Reply, Transport};
use crate::error::Error;
use crate::text::escape_untrusted;

/// Tries without an answer, or with one that says "later", at most.
const TRIES: u32 = 3;

/// A project of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    pub id: String,
    /// Where it was asked for, or told.
    pub name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProjectsAnswer {
    projects: Option<Vec<RawProject>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawProject {
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    #[serde(deserialize_with = "lenient")]
    pub name: String,
}

impl RawProject {
    /// `None` where it is not told.
    pub(super) fn known(self) -> Option<Project> {
        let Self { id, name } = self;
        (!id.is_empty()).then_some(Project { id, name: Some(name).filter(|name| !name.is_empty()) })
    }
}

/// Sends what `build` makes, anew for each try, until there is an answer that is worth reading: a refusal is one.
///
/// # Errors
/// In plain words, where none came in [`TRIES`] tries.
pub(super) async fn ask<'a>(
    transport: &dyn Transport,
    build: impl Fn() -> BoxFuture<'a, Result<Request<Bytes>, String>>,
) -> Result<Answer, String> {
    let mut tries = 0;
    loop {
        tries += 1;
        let reply = transport.call(build().await?, MAX_WRITE_ANSWER).await;
        let last = tries == TRIES;
        match reply {
            Reply::Answer(answer) if last || !matches!(answer.status, 429 | 500..=599) => return Ok(answer),
            Reply::NotSent { cause } | Reply::Lost { cause } if last => return Err(cause),
            _ => tokio::time::sleep(Duration::from_secs(1 << (tries - 1))).await,
        }
    }
}

/// Looks up a project by its name: that of a region bears the region's.
pub(crate) struct Projects<'a> {
    pub transport: Arc<dyn Transport>,
    /// IAM's address, without a slash.
    pub endpoint: &'a str,
    /// Without a project of its own.
    pub auth: &'a dyn Authenticator,
}

impl Projects<'_> {
    /// The id of the project that is named exactly so.
    ///
    /// # Errors
    /// Where IAM refuses, or there is none or more than one: in words that say what to do.
    pub(crate) async fn named(&self, name: &str) -> Result<String, Error> {
        let by_name = self.get(&format!("/v3/projects?name={}", encode(name))).await?;
        let named = match by_name.status {
            200 => ids_of(&by_name, name),
            // The permission to list projects is rare; what follows needs none. A refused key is not tried twice: the
            // gateway locks it after a few (P11).
            403 => Some(Vec::new()),
            _ => return Err(self.refused(by_name)),
        };
        if let Some(ids) = named.filter(|ids| !ids.is_empty()) {
            return one(ids, name);
        }
        let own = self.get("/v3/auth/projects").await?;
        if own.status != 200 {
            return Err(self.refused(own));
        }
        match ids_of(&own, name) {
            Some(ids) if ids.is_empty() => Err(none(&own, name)),
            Some(ids) => one(ids, name),
            None => Err(Error::NoAccess(format!(
                "{} answers, and not as IAM does; check --iam-endpoint, or give --project-id",
                self.endpoint
            ))),
        }
    }

    async fn get(&self, path: &str) -> Result<Answer, Error> {
        let build = || -> BoxFuture<'_, Result<Request<Bytes>, String>> {
            Box::pin(async {
                let request =
                    Request::get(format!("{}{path}", self.endpoint)).header("Content-Type", "application/json");
                let mut request =
                    request.body(Bytes::new()).map_err(|error| format!("the request can't be built: {error}"))?;
                self.auth.authorize(&mut request).await?;
                Ok(request)
            })
        };
        ask(self.transport.as_ref(), build).await.map_err(|cause| {
            Error::NoAccess(format!(
                "the project could not be looked up: {cause}; it need not be where --project-id is given"
            ))
        })
    }

    fn refused(&self, answer: Answer) -> Error {
        let who = self.auth.describe();
        let asked =
            Asked { who: &who, endpoint: self.endpoint, action: "iam:projects:listProjects", only_reads: false };
        let told = explain(&Reply::Answer(answer), &asked, Timestamp::now());
        Error::NoAccess(format!("the project could not be looked up: {told}"))
    }
}

/// Ids of the projects that are named exactly `region`; `None` where the answer holds no list.
fn ids_of(answer: &Answer, region: &str) -> Option<Vec<String>> {
    let read: ProjectsAnswer = serde_json::from_slice(&answer.body).ok()?;
    let mut ids: Vec<String> = read
        .projects?
        .into_iter()
        .filter(|project| project.name == region && !project.id.is_empty())
        .map(|p| p.id)
        .collect();
    ids.sort();
    ids.dedup();
    Some(ids)
}

fn one(ids: Vec<String>, region: &str) -> Result<String, Error> {
    match <[String; 1]>::try_from(ids) {
        Ok([id]) => Ok(id),
        Err(ids) => {
            let list: Vec<String> = ids.iter().take(20).map(|id| escape_untrusted(id, 64)).collect();
            Err(Error::NoAccess(format!(
                "{} projects are named {region}: {}; say which one with --project-id",
                ids.len(),
                list.join(", ")
            )))
        }
    }
}

fn none(answer: &Answer, region: &str) -> Error {
    let read: ProjectsAnswer = serde_json::from_slice(&answer.body).unwrap_or_default();
    let names: Vec<String> =
        read.projects.unwrap_or_default().iter().take(20).map(|project| escape_untrusted(&project.name, 64)).collect();
    let others =
        if names.is_empty() { "there are none".to_owned() } else { format!("those that are: {}", names.join(", ")) };
    Error::NoAccess(format!(
        "no project is named {region}, so the account has nothing there, or the IAM user may not use the region ({others}); \
         check --region, or give --project-id"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::auth::keys::KeyAuth;
    use super::super::auth::login::{Iam, Scope, TokenAuth};
    use super::super::auth::provider::Login;
    use super::super::auth::sign::Key;
    use super::super::http::{HttpOptions, HttpTransport};
    use super::super::testing::{Act, Seen, Server, reply};
    use super::*;

    fn transport() -> Arc<dyn Transport> {
        Arc::new(HttpTransport::new(&HttpOptions::default()).unwrap())
    }

    async fn lookup(server: &Server) -> Result<String, String> {
        let key = Key::new("AKAKAKAKAKAK", "CANARY", None);
        let auth = KeyAuth::given(key, None, "access key …7ABC from HUAWEICLOUD_SDK_AK".to_owned());
        let projects = Projects { transport: transport(), endpoint: &server.http(), auth: &auth };
        projects.named("cn-north-4").await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_project_is_found_by_its_exact_name_and_without_a_project_header() {
        let server = Server::start(|_| {
            reply(200, "", r#"{"projects":[{"id":"p2","name":"cn-north-4_b"},{"id":"p1","name":"cn-north-4"}]}"#)
        })
        .await;
        assert_eq!(lookup(&server).await.as_deref(), Ok("p1"));
        let seen = &server.seen()[0];
        assert_eq!(seen.line(), "GET /v3/projects?name=cn-north-4");
        assert!(seen.header("X-Project-Id").is_none());
        assert!(seen.header("Authorization").unwrap().contains("SignedHeaders=host;x-sdk-date,"));
    }

    #[tokio::test]
    async fn without_the_permission_the_users_own_projects_are_asked() {
        let server = Server::start(|seen| match seen.line() {
            "GET /v3/auth/projects" => reply(200, "", r#"{"projects":[{"id":"p9","name":"cn-north-4"}]}"#),
            _ => reply(403, "", r#"{"error":{"code":"403","message":"no"}}"#),
        })
        .await;
        assert_eq!(lookup(&server).await.as_deref(), Ok("p9"));
    }

    #[tokio::test]
    async fn none_and_several_are_explained() {
        let server = Server::start(|_| reply(200, "", r#"{"projects":[{"id":"p1","name":"cn-east-3"}]}"#)).await;
        let none = lookup(&server).await.unwrap_err();
        assert!(
            none.contains("no project is named cn-north-4")
                && none.contains("cn-east-3")
                && none.contains("--project-id"),
            "{none}"
        );
        let two = r#"{"projects":[{"id":"p2","name":"cn-north-4"},{"id":"p1","name":"cn-north-4"}]}"#;
        let server = Server::start(move |_| reply(200, "", two)).await;
        let several = lookup(&server).await.unwrap_err();
        assert!(several.contains("2 projects are named cn-north-4: p1, p2"), "{several}");
        let server = Server::start(|_| reply(200, "", "<html>")).await;
        assert!(lookup(&server).await.unwrap_err().contains("not as IAM does"));
    }

    #[tokio::test]
    async fn p11_a_refused_key_is_sent_once() {
        let body = r#"{"error_code":"APIGW.0301","error_msg":"verify aksk signature fail"}"#;
        let server = Server::start(move |_| reply(401, "", body)).await;
        let problem = lookup(&server).await.unwrap_err();
        assert!(problem.contains("HUAWEICLOUD_SDK_AK") && !problem.contains("CANARY"), "{problem}");
        assert_eq!(server.seen().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_for_a_moment_is_asked_again() {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => reply(503, "", ""),
            1 => vec![Act::Close],
            _ => reply(200, "", r#"{"projects":[{"id":"p1","name":"cn-north-4"}]}"#),
        })
        .await;
        assert_eq!(lookup(&server).await.as_deref(), Ok("p1"));
        assert_eq!(server.seen().len(), 3);
    }

    async fn log_in(server: &Server) -> Result<TokenAuth, String> {
        let login = Login { user: "bob".to_owned(), password: "CANARY".into(), account: "corp".to_owned() };
        let scope = Scope::Named("cn-north-4".to_owned());
        TokenAuth::start(
            Iam { transport: transport(), endpoint: server.http(), login, scope },
            "IAM user bob".to_owned(),
        )
        .await
    }

    fn iam(seen: &Seen) -> Vec<Act> {
        assert_eq!(seen.line(), "POST /v3/auth/tokens?nocatalog=true");
        let headers = "X-Subject-Token: TOKENCANARY\r\nDate: Tue, 15 Sep 2026 08:30:00 GMT\r\n";
        reply(
            201,
            headers,
            r#"{"token":{"expires_at":"2026-09-16T08:30:00.000000Z","project":{"id":"p7","name":"cn-north-4"}}}"#,
        )
    }

    #[tokio::test]
    async fn p19_a_token_by_password_is_carried_and_not_shown() {
        let server = Server::start(iam).await;
        let auth = log_in(&server).await.unwrap();
        assert_eq!(auth.project().await, Some(Project { id: "p7".to_owned(), name: Some("cn-north-4".to_owned()) }));
        let mut request = Request::get("https://w.example/").body(Bytes::new()).unwrap();
        auth.authorize(&mut request).await.unwrap();
        assert_eq!(request.headers()["X-Auth-Token"], "TOKENCANARY");
        assert!(!format!("{request:?}").contains("CANARY"));
        let body: serde_json::Value = serde_json::from_slice(&server.seen()[0].body).unwrap();
        assert_eq!(body["auth"]["identity"]["password"]["user"]["domain"]["name"], "corp");
        assert_eq!(body["auth"]["scope"]["project"]["name"], "cn-north-4");
    }

    #[tokio::test]
    async fn p11_a_token_that_ended_with_eight_requests_open_is_renewed_once() {
        let server = Server::start(iam).await;
        let auth = log_in(&server).await.unwrap();
        let renewed = futures::future::join_all((0..8).map(|_| auth.renew())).await;
        assert!(renewed.into_iter().all(|result| result == Ok(true)));
        assert_eq!(server.seen().len(), 2);
    }

    #[tokio::test]
    async fn a_token_is_renewed_an_hour_before_its_end() {
        let server = Server::start(iam).await;
        let auth = log_in(&server).await.unwrap();
        tokio::time::pause();
        let mut request = Request::get("https://w.example/").body(Bytes::new()).unwrap();
        tokio::time::advance(Duration::from_secs(22 * 3_600 + 3_500)).await;
        auth.authorize(&mut request).await.unwrap();
        assert_eq!(server.seen().len(), 1);
        tokio::time::advance(Duration::from_secs(200)).await;
        auth.authorize(&mut request).await.unwrap();
        assert_eq!(server.seen().len(), 2);
    }

    #[tokio::test]
    async fn a_wrong_password_is_sent_once_and_told_without_it() {
        let body = r#"{"error":{"code":401,"message":"The username or password is wrong.","title":"Unauthorized"}}"#;
        let server = Server::start(move |_| reply(401, "", body)).await;
        let problem = log_in(&server).await.err().unwrap();
        assert!(problem.contains("user bob of account corp") && problem.contains("password is wrong"), "{problem}");
        assert!(!problem.contains("CANARY") && server.seen().len() == 1, "{problem}");
    }
}
