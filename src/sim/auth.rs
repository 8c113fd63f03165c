//! Who may send: tokens, the IAM calls that issue them, and a seam for signatures.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::scenario::{Refused, Scenario};

/// Judges a request's credentials; `Err` is status, code and message of the refusal.
pub type Check = dyn Fn(&Parts, &[u8]) -> Result<(), (u16, String, String)> + Send + Sync;

/// Who may send.
#[derive(Clone, Default)]
pub enum Auth {
    /// Anybody.
    #[default]
    Open,
    /// Who has a token: one of `valid`, or one that the IAM call issued to `login` (to anybody, if not given).
    Token { valid: Vec<String>, login: Option<Login> },
    /// Whoever passes the check. After five refusals in a row the key is locked for five minutes.
    Custom(Arc<Check>),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Token { .. } => "Token",
            Self::Custom(_) => "Custom",
        })
    }
}

/// An IAM user.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
    /// The account's name.
    pub domain: String,
}

/// Refusals in a row after which the gateway locks a key, and for how long.
const LOCK_AFTER: u32 = 5;
const LOCKED_FOR: Duration = Duration::from_secs(300);

/// What the gateway remembers of credentials.
#[derive(Debug, Default)]
pub(super) struct Doorman {
    issued: BTreeMap<String, Instant>,
    refused_in_a_row: u32,
    locked_until: Option<Instant>,
}

fn unauthorized(code: &str, why: &str) -> Refused {
    Refused::new(401, code, format!("Incorrect IAM authentication information: {why}"))
}

impl Doorman {
    pub(super) fn check(
        &mut self,
        scenario: &Scenario,
        (parts, body): (&Parts, &[u8]),
        epoch: Instant,
        now: Instant,
    ) -> Result<(), Refused> {
        match &scenario.auth {
            Auth::Open => Ok(()),
            Auth::Token { valid, .. } => {
                let token = parts.headers.get("X-Auth-Token").and_then(|value| value.to_str().ok()).unwrap_or_default();
                let issued =
                    self.issued.get(token).copied().or_else(|| valid.iter().any(|good| good == token).then_some(epoch));
                match issued {
                    _ if token.is_empty() => Err(unauthorized("APIGW.0301", "x-auth-token not found")),
                    None => Err(unauthorized("APIGW.0301", "decrypt token fail")),
                    Some(issued) if is_over(scenario, issued, epoch, now) => {
                        Err(Refused::new(401, "APIGW.0307", "The token must be updated."))
                    }
                    Some(_) => Ok(()),
                }
            }
            Auth::Custom(check) => {
                if self.locked_until.is_some_and(|until| now < until) {
                    return Err(unauthorized("APIGW.0301", "AK access failed to reach the limit,forbidden"));
                }
                let verdict = check(parts, body).map_err(|(status, code, message)| Refused::new(status, code, message));
                self.refused_in_a_row = if verdict.is_ok() { 0 } else { self.refused_in_a_row + 1 };
                self.locked_until = (self.refused_in_a_row > LOCK_AFTER).then(|| now + LOCKED_FOR);
                verdict
            }
        }
    }

    /// `POST /v3/auth/tokens`: the new token and the answer's body.
    pub(super) fn issue(
        &mut self,
        scenario: &Scenario,
        body: &[u8],
        made_id: &str,
        now: Instant,
    ) -> Result<(String, Value), Refused> {
        let asked: Value = serde_json::from_slice(body).map_err(|_| nested(400, "The request body is invalid."))?;
        let user = &asked["auth"]["identity"]["password"]["user"];
        if !user["name"].is_string() || !user["password"].is_string() {
            return Err(nested(400, "The request body is invalid."));
        }
        if let Auth::Token { login: Some(login), .. } = &scenario.auth
            && (user["name"] != login.user
                || user["password"] != login.password
                || user["domain"]["name"] != login.domain)
        {
            return Err(nested(401, "The username or password is wrong."));
        }
        let token = format!("sim-token-{made_id}");
        self.issued.insert(token.clone(), now);
        let life = scenario.token_life.unwrap_or(Duration::from_secs(24 * 3600));
        let issued = jiff::Timestamp::now();
        let expires = jiff::SignedDuration::try_from(life).ok().and_then(|life| issued.checked_add(life).ok());
        let project = project_id(scenario);
        let body = json!({"token": {
            "issued_at": issued.to_string(), "expires_at": expires.unwrap_or(issued).to_string(), "methods": ["password"],
            "project": {"id": project, "name": asked["auth"]["scope"]["project"]["name"]},
            "user": {"name": user["name"], "domain": user["domain"]},
        }});
        Ok((token, body))
    }
}

/// Whether a token that was issued then has ended by now.
fn is_over(scenario: &Scenario, issued: Instant, epoch: Instant, now: Instant) -> bool {
    let lived = now.saturating_duration_since(issued);
    let revoked = |at: &Duration| issued < epoch + *at && epoch + *at <= now;
    scenario.token_life.is_some_and(|life| lived >= life) || scenario.revoke_at.iter().any(revoked)
}

/// An error in IAM's own shape.
fn nested(status: u16, message: &str) -> Refused {
    let title = if status == 401 { "Unauthorized" } else { "Bad Request" };
    let body = json!({"error": {"code": status, "message": message, "title": title}}).to_string();
    Refused { body: Some(body), ..Refused::new(status, "", message) }
}

pub(super) fn project_id(scenario: &Scenario) -> &str {
    scenario.project_id.as_deref().unwrap_or("00000000000000000000000000000517")
}

/// `GET /v3/projects?name=…` and `GET /v3/auth/projects`: one project, of the name that is asked for.
pub(super) fn projects(scenario: &Scenario, name: Option<&str>) -> Value {
    let name = name.unwrap_or("cn-north-4");
    json!({"projects": [{"id": project_id(scenario), "name": name, "enabled": true}], "links": {}})
}
