//! Lets in who may send: tokens, the IAM calls that issue them, and a seam for signatures.

use std::collections::BTreeMap;
use std::time::Duration;

use http::request::Parts;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::auth::{Auth, KeyRing};
use super::op::Refused;
use super::scenario::Scenario;
use super::signature::{access_key, verify};
use crate::api::auth::sign::Key;

/// Refusals in a row after which the gateway locks a key, and for how long.
const LOCK_AFTER: u32 = 5;
const LOCKED_FOR: Duration = Duration::from_secs(300);

/// What the gateway remembers of credentials.
#[derive(Debug, Default)]
pub(super) struct Doorman {
    /// Requests that had to show who they are.
    received: u64,
    /// When what was issued before ended, by [`Scenario::revoke_after`].
    revoked: Vec<Instant>,
    issued: BTreeMap<String, Instant>,
    /// Temporary keys by their id, with the times of their making and of their end.
    temporary: BTreeMap<String, (Key, Instant, Instant)>,
    /// By access key: a new key is not locked for what was signed with the one before it.
    guesses: BTreeMap<String, Guesses>,
}

/// How often a key was refused in a row, and whether that has locked it.
#[derive(Debug, Default)]
struct Guesses {
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
        self.received += 1;
        if scenario.revoke_after.contains(&self.received) {
            self.revoked.push(now);
        }
        let temporary = access_key(parts).and_then(|access| self.temporary.get(access));
        if let Some((key, issued, end)) = temporary {
            return match verify(parts, body, key) {
                Err(why) => Err(wrong_signature(&why)),
                Ok(()) if now >= *end || self.is_over(scenario, *issued, epoch, now) => {
                    Err(unauthorized("APIGW.0301", "security token expired"))
                }
                Ok(()) => Ok(()),
            };
        }
        match &scenario.auth {
            Auth::Open => Ok(()),
            Auth::Token { valid, .. } => {
                let token = parts.headers.get("X-Auth-Token").and_then(|value| value.to_str().ok()).unwrap_or_default();
                let issued =
                    self.issued.get(token).copied().or_else(|| valid.iter().any(|good| good == token).then_some(epoch));
                match issued {
                    _ if token.is_empty() => Err(unauthorized("APIGW.0301", "x-auth-token not found")),
                    None => Err(unauthorized("APIGW.0301", "decrypt token fail")),
                    Some(issued) if self.is_over(scenario, issued, epoch, now) => {
                        Err(Refused::new(401, "APIGW.0307", "The token must be updated."))
                    }
                    Some(_) => Ok(()),
                }
            }
            Auth::Keys(ring) => self.unless_locked(parts, now, || {
                let named = access_key(parts).unwrap_or_default();
                let key = ring.keys.iter().find(|key| key.access.expose_secret() == named);
                let key = key.ok_or_else(|| unauthorized("APIGW.0301", "Get secretKey failed,err:ak not exist"))?;
                verify(parts, body, key).map_err(|why| wrong_signature(&why))
            }),
            Auth::Custom(check) => self.unless_locked(parts, now, || {
                check(parts, body).map_err(|(status, code, message)| Refused::new(status, code, message))
            }),
        }
    }

    /// Whether what was issued then is good no more.
    fn is_over(&self, scenario: &Scenario, issued: Instant, epoch: Instant, now: Instant) -> bool {
        let lived = now.saturating_duration_since(issued);
        let times = scenario.revoke_at.iter().map(|at| epoch + *at).chain(self.revoked.iter().copied());
        scenario.token_life.is_some_and(|life| lived >= life) || times.into_iter().any(|at| issued < at && at <= now)
    }

    /// Counts the refusals of a key in a row, and refuses it once there were too many.
    fn unless_locked(
        &mut self,
        parts: &Parts,
        now: Instant,
        judge: impl FnOnce() -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let guesses = self.guesses.entry(access_key(parts).unwrap_or_default().to_owned()).or_default();
        if guesses.locked_until.is_some_and(|until| now < until) {
            return Err(unauthorized("APIGW.0301", "AK access failed to reach the limit,forbidden"));
        }
        let verdict = judge();
        guesses.refused_in_a_row = if verdict.is_ok() { 0 } else { guesses.refused_in_a_row + 1 };
        guesses.locked_until = (guesses.refused_in_a_row > LOCK_AFTER).then(|| now + LOCKED_FOR);
        verdict
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

    /// `POST /v3.0/OS-CREDENTIAL/securitytokens`: temporary keys of an agency.
    pub(super) fn issue_key(
        &mut self,
        scenario: &Scenario,
        body: &[u8],
        made_id: &str,
        now: Instant,
    ) -> Result<Value, Refused> {
        let invalid = || nested(400, "The request body is invalid.");
        let asked: Value = serde_json::from_slice(body).map_err(|_| invalid())?;
        let identity = &asked["auth"]["identity"];
        let role = &identity["assume_role"];
        let account = role["domain_name"].as_str().or(role["domain_id"].as_str());
        let (Some(name), Some(account)) = (role["agency_name"].as_str(), account) else { return Err(invalid()) };
        let seconds = role.get("duration_seconds").map_or(Some(900), Value::as_u64);
        let seconds = seconds.filter(|seconds| (900..=86_400).contains(seconds)).ok_or_else(invalid)?;
        if identity["methods"] != json!(["assume_role"]) {
            return Err(invalid());
        }
        if let Auth::Keys(KeyRing { agencies, .. }) = &scenario.auth
            && !agencies.is_empty()
            && !agencies.iter().any(|(known, of)| known == name && of == account)
        {
            return Err(nested(403, "You are not authorized to perform the requested action."));
        }
        let life = scenario.token_life.unwrap_or(Duration::from_secs(seconds));
        let hex = made_id.replace('-', "");
        let (access, secret, token) = (
            format!("HST{}", hex[..17].to_ascii_uppercase()),
            format!("sim-secret-{hex}"),
            format!("sim-security-token-{hex}"),
        );
        self.temporary.insert(access.clone(), (Key::new(&access, &secret, Some(&token)), now, now + life));
        let life = jiff::SignedDuration::try_from(life).unwrap_or(jiff::SignedDuration::MAX);
        let end = jiff::Timestamp::now().saturating_add(life).unwrap_or(jiff::Timestamp::MAX);
        Ok(json!({"credential": {
            "access": access, "secret": secret, "securitytoken": token, "expires_at": format!("{end:.6}"),
        }}))
    }
}

fn wrong_signature(why: &str) -> Refused {
    unauthorized("APIGW.0301", &format!("verify aksk signature fail, {why}"))
}

/// An error in IAM's own shape.
fn nested(status: u16, message: &str) -> Refused {
    let title = match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        _ => "Bad Request",
    };
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::testing::{call, world};
    use super::super::{App, Fault, Login, Op};
    use super::*;
    use crate::api::auth::sign::sign;
    use crate::api::{Answer, Reply, Transport};

    async fn ask(app: &Arc<App>, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let request = http::Request::builder().method(method).uri(path).header("X-Auth-Token", token);
        match app.transport().call(request.body(Bytes::from(body.to_string())).unwrap(), 1 << 20).await {
            Reply::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn credentials(password: &str) -> Value {
        let user = json!({"name": "ops", "password": password, "domain": {"name": "acme"}});
        json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "cn-north-4"}},
        }})
    }

    #[tokio::test(start_paused = true)]
    async fn iam_issues_tokens_that_end() {
        let login = Login { user: "ops".to_owned(), password: "secret".to_owned(), domain: "acme".to_owned() };
        let auth = Auth::Token { valid: vec!["given".to_owned()], login: Some(login) };
        let life = Duration::from_secs(3600);
        let revoke_at = vec![Duration::from_secs(60)];
        let app = App::new(world(1, 1), Scenario { auth, token_life: Some(life), revoke_at, ..Scenario::default() });
        let users = async |token: &str| ask(&app, "GET", "/v2/p/users", token, &json!(null)).await;
        let sign_on = async |password: &str| ask(&app, "POST", "/v3/auth/tokens", "", &credentials(password)).await;

        assert_eq!(users("given").await.status, 200);
        let refused = users("wrong").await;
        assert_eq!(refused.status, 401);
        assert!(String::from_utf8_lossy(&refused.body).contains("APIGW.0301"));
        let refused = sign_on("guess").await;
        assert_eq!((refused.status, refused.subject_token.is_none()), (401, true));

        tokio::time::sleep(Duration::from_secs(60)).await;
        let ended = users("given").await;
        assert!(String::from_utf8_lossy(&ended.body).contains("APIGW.0307"));
        let answer = sign_on("secret").await;
        assert_eq!(answer.status, 201);
        let token = answer.subject_token.unwrap().0;
        assert_eq!(users(token.expose_secret()).await.status, 200);
        tokio::time::sleep(life).await;
        assert_eq!(users(token.expose_secret()).await.status, 401);
    }

    #[tokio::test(start_paused = true)]
    async fn iam_gives_keys_of_an_agency_that_must_sign_and_end() {
        let base = Key::new("BASE", "secret", None);
        let ring = KeyRing { keys: vec![base.clone()], agencies: vec![("ops".to_owned(), "acme".to_owned())] };
        let revoke_at = vec![Duration::from_secs(60)];
        let app = App::new(world(1, 1), Scenario { auth: Auth::Keys(ring), revoke_at, ..Scenario::default() });
        let send = async |method: &str, path: &str, key: &Key, body: Value| {
            let uri = format!("http://iam.example{path}");
            let mut request = http::Request::builder().method(method).uri(uri).body(body.to_string().into()).unwrap();
            sign(&mut request, key, jiff::Timestamp::now()).unwrap();
            match app.transport().call(request, 1 << 20).await {
                Reply::Answer(answer) => {
                    (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap_or_default())
                }
                other => panic!("{other:?}"),
            }
        };
        let role = |account: &str, seconds: u32| {
            let role = json!({"agency_name": "ops", "domain_name": account, "duration_seconds": seconds});
            json!({"auth": {"identity": {"methods": ["assume_role"], "assume_role": role}}})
        };
        let securitytokens = "/v3.0/OS-CREDENTIAL/securitytokens";
        assert_eq!(send("POST", securitytokens, &base, role("other", 900)).await.0, 403);
        assert_eq!(send("POST", securitytokens, &base, role("acme", 60)).await.0, 400);
        let wrong = Key::new("BASE", "other", None);
        assert_eq!(send("POST", securitytokens, &wrong, role("acme", 900)).await.0, 401);
        let (status, answer) = send("POST", securitytokens, &base, role("acme", 900)).await;
        let part = |name: &str| answer["credential"][name].as_str().unwrap();
        let key = Key::new(part("access"), part("secret"), Some(part("securitytoken")));
        assert_eq!(status, 201);
        assert_eq!(send("GET", "/v3/projects?name=cn-north-4", &key, json!(null)).await.0, 200);
        assert_eq!(send("GET", "/v2/p/users", &key, json!(null)).await.0, 200);
        for wrong in [
            Key::new(part("access"), "other", Some(part("securitytoken"))),
            Key::new(part("access"), part("secret"), Some("other")),
            Key::new(part("access"), part("secret"), None),
        ] {
            assert_eq!(send("GET", "/v2/p/users", &wrong, json!(null)).await.0, 401);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (status, answer) = send("GET", "/v2/p/users", &key, json!(null)).await;
        assert!(status == 401 && answer["error_msg"].as_str().unwrap().ends_with("security token expired"), "{answer}");
        let signers: Vec<_> = app.log().into_iter().filter_map(|entry| entry.access_key).collect();
        assert_eq!((signers[0].as_str(), signers.last().map(String::as_str)), ("BASE", Some(part("access"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_project_is_found_by_the_name_of_its_region() {
        let app = App::new(world(1, 1), Scenario { project_id: Some("p-1".to_owned()), ..Scenario::default() });
        let (_, answer) = call(&app, "GET", "/v3/projects?name=eu-west-101", "").await;
        assert_eq!(answer["projects"], json!([{"id": "p-1", "name": "eu-west-101", "enabled": true}]));
        assert_eq!(call(&app, "GET", "/v3/auth/projects", "").await.1["projects"][0]["id"], "p-1");
    }

    #[tokio::test(start_paused = true)]
    async fn p11_a_key_is_locked_after_more_than_five_refusals_in_a_row() {
        let good = |parts: &Parts, _: &[u8]| {
            let good = parts.headers.get("X-Auth-Token").is_some_and(|token| token == "good");
            good.then_some(()).ok_or_else(|| (401, "APIGW.0301".to_owned(), "verify aksk signature fail".to_owned()))
        };
        let app = App::new(world(1, 1), Scenario { auth: Auth::Custom(Arc::new(good)), ..Scenario::default() });
        let users = async |token: &str| ask(&app, "GET", "/v2/p/users", token, &json!(null)).await.status;
        for _ in 0..5 {
            assert_eq!(users("bad").await, 401);
        }
        assert_eq!(users("good").await, 200, "five are allowed");
        for _ in 0..6 {
            users("bad").await;
        }
        assert_eq!(users("good").await, 401);
        tokio::time::sleep(LOCKED_FOR).await;
        assert_eq!(users("good").await, 200);
        assert!(app.log().iter().all(|entry| entry.op == Op::ListUsers));
        app.add_fault(Fault::new(Op::ListUsers, super::super::Effect::Html { status: 401 }));
        assert_eq!(users("good").await, 401);
    }
}
