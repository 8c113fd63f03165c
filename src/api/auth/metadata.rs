//! The agency of a cloud server: temporary keys from the metadata service at 169.254.169.254.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use tokio::time::timeout;

use super::renewing::{Failure, Fresh, Source};
use super::sign::Key;
use super::temporary::read_key;
use crate::api::hosts::METADATA_HOST;
use crate::api::transport::{Answer, Reply, Transport};

/// All of a look there, at most: on a machine that is no cloud server nothing answers at all.
const LIMIT: Duration = Duration::from_secs(3);
/// Keys are renewed when less than this is left, as the official SDK does.
const AHEAD: Duration = Duration::from_secs(40 * 60);
/// Bytes of an answer at most.
const MAX_ANSWER: usize = 64 << 10;

/// Asks the metadata service for keys.
pub(crate) struct Metadata {
    transport: Arc<dyn Transport>,
    /// `http://169.254.169.254`, but for tests.
    base: String,
}

impl Metadata {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        Self::at(transport, format!("http://{METADATA_HOST}"))
    }

    pub(crate) fn at(transport: Arc<dyn Transport>, base: String) -> Self {
        Self { transport, base }
    }

    async fn ask(&self, method: &str, path: &str, header: Option<(&str, &str)>) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some((name, value)) = header {
            let mut value = http::HeaderValue::from_str(value).map_err(|_| "its token is garbled".to_owned())?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
        match self.transport.call(request, MAX_ANSWER).await {
            Reply::Answer(answer) => Ok(answer),
            Reply::NotSent { cause } | Reply::Lost { cause } => Err(cause),
        }
    }

    async fn key(&self) -> Result<Fresh<Key>, String> {
        let ttl = Some(("X-Metadata-Token-Ttl-Seconds", "21600"));
        let token = self.ask("PUT", "/meta-data/latest/api/token", ttl).await?;
        let token = match token.status {
            200 => Some(String::from_utf8_lossy(&token.body).trim().to_owned()),
            // The older mode, which asks for no token.
            404 | 405 | 503 => None,
            status => return Err(format!("the metadata service refuses a token (HTTP {status})")),
        };
        let header = token.as_deref().map(|token| ("X-Metadata-Token", token));
        let answer = self.ask("GET", "/openstack/latest/securitykey", header).await?;
        match answer.status {
            200 => read_key(&answer, AHEAD).map_err(|problem| format!("the metadata service's answer {problem}")),
            401 | 404 => Err("this cloud server has no agency; give it one in the ECS console".to_owned()),
            status => Err(format!("the metadata service gives no key (HTTP {status})")),
        }
    }
}

impl Source for Metadata {
    type Item = Key;

    fn fetch(&self) -> BoxFuture<'_, Result<Fresh<Key>, Failure>> {
        Box::pin(async {
            // Nothing can be locked by asking here: another time it may work.
            match timeout(LIMIT, self.key()).await {
                Ok(fetched) => fetched.map_err(Failure::Unavailable),
                Err(_) => Err(Failure::Unavailable(format!(
                    "the metadata service did not answer within {} s",
                    LIMIT.as_secs()
                ))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::super::Authenticator;
    use super::super::keys::KeyAuth;
    use super::*;
    use crate::api::http::{HttpOptions, HttpTransport};
    use crate::api::testing::{Act, Seen, Server, reply};

    fn at(server: &Server) -> Metadata {
        Metadata::at(Arc::new(HttpTransport::new(&HttpOptions::default()).unwrap()), server.http())
    }

    fn key(expires_at: &str) -> String {
        format!(
            r#"{{"credential":{{"access":"HSTAHSTAHSTA","secret":"CANARY1","securitytoken":"CANARY2","expires_at":"{expires_at}"}}}}"#
        )
    }

    const DATE: &str = "Date: Tue, 15 Sep 2026 08:30:00 GMT\r\n";

    fn agency(seen: &Seen) -> Vec<Act> {
        match (seen.line(), seen.header("X-Metadata-Token")) {
            ("PUT /meta-data/latest/api/token", _) => reply(200, "", "meta-token\n"),
            ("GET /openstack/latest/securitykey", Some("meta-token")) => {
                reply(200, DATE, &key("2026-09-15T09:30:00.000000Z"))
            }
            _ => reply(401, "", ""),
        }
    }

    #[tokio::test]
    async fn p19_keys_of_the_agency_sign_with_their_session_token_and_are_not_shown() {
        let server = Server::start(agency).await;
        let auth = KeyAuth::temporary(Box::new(at(&server)), "agency".to_owned()).await.unwrap();
        let mut request = Request::get("https://w.example/v2").body(Bytes::new()).unwrap();
        auth.authorize(&mut request).await.unwrap();
        assert_eq!(request.headers()["x-security-token"], "CANARY2");
        assert!(request.headers()[AUTHORIZATION].to_str().unwrap().contains("Access=HSTAHSTAHSTA"));
        assert!(!format!("{request:?}").contains("CANARY"), "{request:?}");
        assert_eq!(server.seen()[0].header("X-Metadata-Token-Ttl-Seconds"), Some("21600"));
    }

    #[tokio::test]
    async fn keys_are_refreshed_before_they_end_by_the_servers_clock() {
        let server = Server::start(agency).await;
        let fresh = at(&server).fetch().await.unwrap();
        assert_eq!((fresh.lifetime, fresh.ahead), (Some(Duration::from_secs(3_600)), Duration::from_secs(2_400)));
        let auth = KeyAuth::temporary(Box::new(at(&server)), String::new()).await.unwrap();
        let asked = server.seen().len();
        tokio::time::pause();
        let mut request = Request::get("https://w.example/v2").body(Bytes::new()).unwrap();
        auth.authorize(&mut request).await.unwrap();
        assert_eq!(server.seen().len(), asked);
        tokio::time::advance(Duration::from_secs(1_801)).await; // half of an hour, which is more than 20 minutes
        auth.authorize(&mut request).await.unwrap();
        assert_eq!(server.seen().len(), asked + 2);
        assert_eq!(auth.renew().await, Ok(true));
        assert_eq!(server.seen().len(), asked + 4);
    }

    #[tokio::test]
    async fn the_older_service_is_asked_without_a_token() {
        let server = Server::start(|seen| match seen.line() {
            "GET /openstack/latest/securitykey" => reply(200, "", &key("")),
            _ => reply(404, "", ""),
        })
        .await;
        let fresh = at(&server).fetch().await.unwrap();
        assert_eq!(fresh.lifetime, None);
        assert!(server.seen()[1].header("X-Metadata-Token").is_none());
    }

    #[tokio::test]
    async fn a_server_without_an_agency_says_so() {
        let server =
            Server::start(|seen| if seen.line().starts_with("PUT") { reply(200, "", "t") } else { reply(401, "", "") })
                .await;
        assert!(at(&server).fetch().await.err().unwrap().into_words().contains("has no agency"));
    }

    #[tokio::test]
    async fn p19_garbage_is_an_error_that_quotes_nothing() {
        for body in [r#"{"credential":"CANARY"}"#, "CANARY", r#"{"credential":null}"#, "{}"] {
            let server = Server::start(move |_| reply(200, "", body)).await;
            let problem = at(&server).fetch().await.err().unwrap().into_words();
            assert!(problem.contains("metadata service") && !problem.contains("CANARY"), "{problem}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_that_answers_takes_three_seconds_at_most() {
        let server = Server::start(|_| vec![Act::Wait(Duration::from_secs(600))]).await;
        let start = tokio::time::Instant::now();
        assert!(at(&server).fetch().await.err().unwrap().into_words().contains("within 3 s"));
        assert!(start.elapsed() <= Duration::from_secs(4), "{:?}", start.elapsed());
    }
}
