//! A token by name and password from IAM, renewed before its end and when it is refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Request};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

use super::provider::Login;
use super::renewing::{Failure, Fresh, Renewing, Source};
use super::{Authenticator, token_header};
use crate::api::explain::PROXY;
use crate::api::fault::ErrorBody;
use crate::api::iam::{Project, RawProject, ask};
use crate::api::lenient::lenient;
use crate::api::transport::{Answer, Transport};

/// A token of 24 hours is renewed an hour before its end.
const AHEAD: Duration = Duration::from_secs(3_600);

/// What the token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A project by its id.
    Project(String),
    /// A project by its name: that of a region bears the region's.
    Named(String),
    /// The account as a whole, by its name: to take on an agency.
    Account(String),
}

/// Asks IAM for tokens.
pub(crate) struct Iam {
    pub transport: Arc<dyn Transport>,
    /// IAM's address, without a slash.
    pub endpoint: String,
    pub login: Login,
    pub scope: Scope,
}

/// A token, and the project that it is for.
pub(crate) struct Token {
    header: HeaderValue,
    pub project: Option<Project>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenAnswer {
    #[serde(deserialize_with = "lenient")]
    token: TokenBody,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenBody {
    #[serde(deserialize_with = "lenient")]
    expires_at: String,
    #[serde(deserialize_with = "lenient")]
    project: RawProject,
}

impl Iam {
    fn request(&self) -> Result<Request<Bytes>, String> {
        let Login { user, password, account } = &self.login;
        let scope = match &self.scope {
            Scope::Project(id) => json!({ "project": { "id": id } }),
            Scope::Named(name) => json!({ "project": { "name": name } }),
            Scope::Account(name) => json!({ "domain": { "name": name } }),
        };
        let body = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": {
                "name": user, "password": password.expose_secret(), "domain": { "name": account },
            } } },
            "scope": scope,
        } });
        Request::post(format!("{}/v3/auth/tokens?nocatalog=true", self.endpoint))
            .header("Content-Type", "application/json;charset=utf8")
            .body(Bytes::from(body.to_string()))
            .map_err(|error| format!("the request for a token can't be built: {error}"))
    }

    fn refused(&self, answer: &Answer) -> String {
        let (Login { user, account, .. }, body) = (&self.login, ErrorBody::parse(&answer.body));
        let words = match answer.status {
            300..=399 => "it points somewhere else, and redirects are never followed; check --iam-endpoint".to_owned(),
            400 | 401 | 403 => format!(
                "it refuses the user {user} of account {account}: check HW_USER_NAME, HW_USER_PASSWORD and HW_DOMAIN_NAME, that \
                 the user may log in by program, and --region; the name of a HUAWEI ID is none, it takes an IAM user"
            ),
            407 => PROXY.to_owned(),
            404 => "it does not know this request; check --iam-endpoint".to_owned(),
            _ => "no token".to_owned(),
        };
        let said = if body.message.is_empty() { String::new() } else { format!(": {}", body.message) };
        format!("IAM at {}: {words} (HTTP {}{said})", self.endpoint, answer.status)
    }

    async fn token(&self) -> Result<Fresh<Token>, Failure> {
        let asked = ask(self.transport.as_ref(), || Box::pin(std::future::ready(self.request()))).await;
        let answer = asked.map_err(|cause| Failure::Unavailable(format!("no token from IAM: {cause}")))?;
        let Some(token) = answer.subject_token.as_ref().filter(|_| answer.status == 201) else {
            let words = self.refused(&answer);
            let for_good = matches!(answer.status, 400..=403 | 407);
            return Err(if for_good { Failure::Refused(words) } else { Failure::Unavailable(words) });
        };
        let header = token_header(&token.0).map_err(|problem| Failure::Unavailable(problem.to_owned()))?;
        // All that matters is in the header; a body that can't be read only leaves open when the token ends.
        let body = serde_json::from_slice::<TokenAnswer>(&answer.body).unwrap_or_default().token;
        let lifetime = super::lifetime(&body.expires_at, &answer, Timestamp::now());
        Ok(Fresh { item: Token { header, project: body.project.known() }, lifetime, ahead: AHEAD })
    }
}

impl Source for Iam {
    type Item = Token;

    fn fetch(&self) -> BoxFuture<'_, Result<Fresh<Token>, Failure>> {
        Box::pin(self.token())
    }
}

/// Carries the newest token.
pub(crate) struct TokenAuth {
    tokens: Renewing<Iam>,
    description: String,
}

impl TokenAuth {
    /// Fetches the first token.
    ///
    /// # Errors
    /// In plain words, where IAM gives none.
    pub(crate) async fn start(iam: Iam, description: String) -> Result<Self, String> {
        Ok(Self { tokens: Renewing::start(iam).await?, description })
    }

    /// The project that the token is for, by IAM's own word.
    pub(crate) async fn project(&self) -> Option<Project> {
        self.tokens.current().await.ok().and_then(|token| token.project.clone())
    }
}

impl Authenticator for TokenAuth {
    fn authorize<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let token = self.tokens.current().await?;
            request.headers_mut().insert("X-Auth-Token", token.header.clone());
            Ok(())
        })
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move { self.tokens.renew().await.map(|()| true) })
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}
