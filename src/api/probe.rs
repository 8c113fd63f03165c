//! One cheap read before a run fans out: proves credentials, project, region and the permission to read.

use std::time::Duration;

use jiff::Timestamp;

use super::client::Reader;
use super::explain::{Asked, Cause, ProbeFailure, explain};
use super::transport::{Answer, Reply};
use super::wire::DesktopsAnswer;
use crate::model::Class;

/// Tries without an answer at most (RELIABILITY.md section 4, breaker).
const TRIES: u32 = 3;

/// Asks for one desktop. Without an answer, or with one that says "later", up to three tries, a second and two apart.
///
/// A 401 renews the credentials where they can be renewed, and is then asked once more: two refused requests at most
/// (P11). The requests count as [`Class::ListDesktops`] for the ceiling (P8): call it before anything else of that
/// class, and let the class rest for one turn afterwards.
///
/// # Errors
/// What is wrong, in words.
pub(crate) async fn probe(reader: &Reader) -> Result<(), ProbeFailure> {
    let target = reader.target();
    let who = target.auth.describe();
    let asked = Asked::of(Class::ListDesktops, &who, &target.endpoint);
    let (mut tries, mut renewed) = (0, false);
    loop {
        tries += 1;
        let reply = reader.list_desktops(&[("limit", "1"), ("offset", "0")]).await;
        let failure = match &reply {
            Reply::Answer(answer) if is_good(answer) => return Ok(()),
            _ => explain(&reply, &asked, Timestamp::now()),
        };
        let may_pass =
            matches!(failure.cause, Cause::Unreachable | Cause::NoAnswer | Cause::ServerFault | Cause::Throttled);
        if failure.status == Some(401) && !renewed && failure.cause != Cause::KeyLocked {
            renewed = true;
            match target.auth.renew().await {
                Ok(true) => continue,
                Ok(false) => return Err(failure),
                Err(problem) => {
                    let message = format!("{}; and new credentials could not be had: {problem}", failure.message);
                    return Err(ProbeFailure { message, ..failure });
                }
            }
        }
        if !may_pass || tries >= TRIES {
            return Err(failure);
        }
        // A gateway's window is a minute: on a 429 a second is of no use.
        let wait = if failure.cause == Cause::Throttled { 20 } else { 1 << (tries - 1) };
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
}

/// Whether it is a list of desktops: a login page, too, answers 200.
fn is_good(answer: &Answer) -> bool {
    answer.status == 200
        && serde_json::from_slice::<DesktopsAnswer>(&answer.body).is_ok_and(|read| read.desktops.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures::future::BoxFuture;

    use super::super::auth::keys::KeyAuth;
    use super::super::auth::sign::Key;
    use super::super::auth::{Authenticator, SharedAuthenticator};
    use super::super::client::Target;
    use super::super::http::{HttpOptions, HttpTransport};
    use super::super::testing::{Act, Server, reply};
    use super::*;

    fn reader(server: &Server, auth: SharedAuthenticator) -> Reader {
        let transport = Arc::new(HttpTransport::new(&HttpOptions::default()).unwrap());
        Reader::new(Target { transport, auth, endpoint: server.http(), project_id: "p1".to_owned() })
    }

    fn key() -> SharedAuthenticator {
        let key = Key::new("AKAKAKAKAKAK", "CANARY", None);
        Arc::new(KeyAuth::fixed(key, "access key AKAK… from HUAWEICLOUD_SDK_AK".to_owned()).for_project("p1"))
    }

    /// Can be renewed, to no effect.
    struct Renewable(AtomicUsize);

    impl Authenticator for Renewable {
        fn authorize<'a>(&'a self, _: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), String>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn renew(&self) -> BoxFuture<'_, Result<bool, String>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::ready(Ok(true)))
        }

        fn describe(&self) -> String {
            "token".to_owned()
        }
    }

    #[tokio::test]
    async fn a_list_of_desktops_is_proof_enough() {
        let server = Server::start(|_| reply(200, "", r#"{"desktops":[],"total_count":0}"#)).await;
        probe(&reader(&server, key())).await.unwrap();
        let seen = &server.seen()[0];
        assert_eq!(seen.line(), "GET /v2/p1/desktops/detail?limit=1&offset=0");
        assert_eq!(seen.header("X-Project-Id"), Some("p1"));
        assert_eq!(seen.header("Host"), Some(server.address.as_str()));
    }

    #[tokio::test]
    async fn p11_a_wrong_key_is_sent_once_and_its_source_is_named() {
        let body = r#"{"error_code":"APIGW.0301","error_msg":"Incorrect IAM authentication information: verify aksk signature fail, x-sdk-date:x, canonicalRequest: CANARY"}"#;
        let server = Server::start(move |_| reply(401, "X-Request-Id: r7\r\n", body)).await;
        let failure = probe(&reader(&server, key())).await.unwrap_err();
        assert_eq!((failure.cause, failure.request_id.as_deref()), (Cause::WrongCredentials, Some("r7")));
        assert!(failure.message.contains("HUAWEICLOUD_SDK_AK") && !failure.message.contains("CANARY"), "{failure}");
        assert_eq!(server.seen().len(), 1);
    }

    #[tokio::test]
    async fn p11_two_refusals_are_the_end_even_where_credentials_can_be_renewed() {
        let server = Server::start(|_| reply(401, "", "")).await;
        let auth = Arc::new(Renewable(AtomicUsize::new(0)));
        probe(&reader(&server, auth.clone())).await.unwrap_err();
        assert_eq!((server.seen().len(), auth.0.load(Ordering::SeqCst)), (2, 1));
    }

    #[tokio::test]
    async fn a_clock_that_is_off_is_told_by_the_servers_date() {
        let server = Server::start(|_| reply(401, "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n", "")).await;
        let failure = probe(&reader(&server, key())).await.unwrap_err();
        assert!(failure.cause == Cause::ClockOff && failure.message.contains("ahead of"), "{failure}");
    }

    #[tokio::test]
    async fn a_page_that_is_no_api_is_told_apart() {
        for body in ["<html>log in</html>", "{}", r#"{"desktops":null}"#] {
            let server = Server::start(move |_| reply(200, "", body)).await;
            let failure = probe(&reader(&server, key())).await.unwrap_err();
            assert_eq!(failure.cause, Cause::WrongPlace, "{failure}");
            assert_eq!(server.seen().len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_there_are_three_tries() {
        let server = Server::start(|_| vec![Act::Close]).await;
        let failure = probe(&reader(&server, key())).await.unwrap_err();
        assert_eq!((failure.cause, server.seen().len()), (Cause::NoAnswer, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_gateway_is_given_time() {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => reply(429, "", ""),
            1 => reply(502, "", "<html>"),
            _ => reply(200, "", r#"{"desktops":[]}"#),
        })
        .await;
        probe(&reader(&server, key())).await.unwrap();
        assert_eq!(server.seen().len(), 3);
    }
}
