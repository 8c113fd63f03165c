//! Tests of the read that comes before all others: it proves the credentials, and may not lock them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::preflight::Preflight;
use crate::api::auth::keys::KeyAuth;
use crate::api::auth::sign::Key;
use crate::api::auth::{Authenticator, SharedAuthenticator};
use crate::api::testing::{Act, Server, reply};
use crate::api::{HttpOptions, HttpTransport, Reader, Target};
use crate::error::Error;
use crate::model::Class;
use crate::pace::{Ceiling, Gates, Waits};

/// Looks as often as it is told, one look after the other.
async fn first_reads(times: usize, server: &Server, auth: SharedAuthenticator) -> Result<(), String> {
    let transport = Arc::new(HttpTransport::new(&HttpOptions::default()).unwrap());
    let target = Target { transport, auth, endpoint: server.http(), project_id: "p1".to_owned() };
    let fast = Ceiling { period: Duration::from_millis(1) };
    let gates = Gates::new(|_: Class| fast, 8, 1, false);
    let stop = CancellationToken::new();
    let look = Preflight::new(Reader::new(target), gates, 8, Waits::default(), 1, stop);
    for _ in 0..times {
        look.probe().await.map_err(|error| {
            assert!(matches!(error, Error::NoAccess(_)), "{error:?}");
            error.to_string()
        })?;
    }
    Ok(())
}

async fn first_read(server: &Server, auth: SharedAuthenticator) -> Result<(), String> {
    first_reads(1, server, auth).await
}

fn key() -> SharedAuthenticator {
    let key = Key::new("AKAKAKAKAKAK", "CANARY", None);
    Arc::new(KeyAuth::given(key, None, "access key …7ABC from HUAWEICLOUD_SDK_AK".to_owned()))
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
async fn p11_a_wrong_key_is_sent_once_and_its_source_is_named() {
    let body = r#"{"error_code":"APIGW.0301","error_msg":"Incorrect IAM authentication information: verify aksk signature fail, x-sdk-date:x, canonicalRequest: CANARY"}"#;
    let server = Server::start(move |_| reply(401, "X-Request-Id: r7\r\n", body)).await;
    let told = first_read(&server, key()).await.unwrap_err();
    assert!(told.contains("HUAWEICLOUD_SDK_AK") && told.contains("r7") && !told.contains("CANARY"), "{told}");
    let seen = server.seen();
    assert_eq!((seen.len(), seen[0].line()), (1, "GET /v2/p1/desktops/detail?limit=1"));
    assert_eq!(seen[0].header("X-Project-Id"), Some("p1"));
}

#[tokio::test]
async fn p11_two_refusals_are_the_end_even_where_credentials_can_be_renewed() {
    let server = Server::start(|_| reply(401, "", "")).await;
    let auth = Arc::new(Renewable(AtomicUsize::new(0)));
    first_read(&server, auth.clone()).await.unwrap_err();
    assert_eq!((server.seen().len(), auth.0.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn p11_what_waits_for_its_turn_as_the_credentials_are_renewed_does_not_go_out_with_unproved_ones() {
    let server = Server::start(|_| reply(401, "", "")).await;
    let auth = Arc::new(Renewable(AtomicUsize::new(0)));
    let transport = Arc::new(HttpTransport::new(&HttpOptions::default()).unwrap());
    let target = Target { transport, auth: auth.clone(), endpoint: server.http(), project_id: "p1".to_owned() };
    let slow = Ceiling { period: Duration::from_secs(60) };
    let gates = Gates::new(|_: Class| slow, 8, 1, false);
    let look = Preflight::new(Reader::new(target), gates, 8, Waits::default(), 1, CancellationToken::new());
    let looks = futures::future::join_all((0..6).map(|_| look.probe())).await;
    assert!(looks.iter().all(Result::is_err));
    assert_eq!((server.seen().len(), auth.0.load(Ordering::SeqCst)), (2, 1), "the first, and the one that proves");
}

#[tokio::test]
async fn p11_credentials_that_were_good_in_between_are_renewed_again() {
    let asked = AtomicUsize::new(0);
    let ended = |nth| nth == 0 || nth == 3; // asked, renewed and proved, asked again; and once more
    let server = Server::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        nth if ended(nth) => reply(401, "", ""),
        _ => reply(200, "", r#"{"desktops":[]}"#),
    })
    .await;
    let auth = Arc::new(Renewable(AtomicUsize::new(0)));
    first_reads(2, &server, auth.clone()).await.unwrap();
    assert_eq!((server.seen().len(), auth.0.load(Ordering::SeqCst)), (6, 2));
}

#[tokio::test]
async fn p11_a_clock_that_is_off_is_told_by_the_servers_date() {
    let server = Server::start(|_| reply(401, "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n", "")).await;
    let told = first_read(&server, key()).await.unwrap_err();
    assert!(told.contains("ahead of the server's"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_gateway_is_given_time_and_one_that_never_answers_is_not() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => reply(429, "", ""),
        1 => reply(502, "", "<html>"),
        _ => reply(200, "", r#"{"desktops":[]}"#),
    })
    .await;
    first_read(&server, key()).await.unwrap();
    assert_eq!(server.seen().len(), 3);
    let silent = Server::start(|_| vec![Act::Close]).await;
    first_read(&silent, key()).await.unwrap_err();
}
