use std::io::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::super::testing::{Act, Server, raw, reply};
use super::super::unreachable::SENTENCES;
use super::*;

async fn get(options: &HttpOptions, url: &str, max: usize) -> Reply {
    let request = http::Request::get(url).body(Bytes::new()).unwrap();
    HttpTransport::new(options).unwrap().call(request, max).await
}

fn lost(reply: &Reply) -> &str {
    let Reply::Lost { cause } = reply else { panic!("{reply:?}") };
    cause
}

fn not_sent(reply: &Reply) -> &str {
    let Reply::NotSent { cause } = reply else { panic!("{reply:?}") };
    cause
}

/// Nothing was sent, and this is why.
#[track_caller]
fn tells(reply: &Reply, way: Unreachable) {
    let (_, what, _) = SENTENCES.iter().find(|(known, ..)| *known == way).unwrap();
    assert!(not_sent(reply).contains(&format!(": {what}; ")), "{way:?}: {reply:?}");
}

/// A listener that does this with each connection.
async fn listener<F: Future<Output = ()> + Send>(talk: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            talk(stream).await;
        }
    });
    format!("https://{address}/")
}

#[tokio::test]
async fn a_host_without_a_name_a_way_or_a_word_is_told_as_such() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let options = HttpOptions::default();
    let unknown = get(&options, "https://no-such-host.invalid/", 99).await;
    tells(&unknown, Unreachable::NameUnknown);
    assert!(not_sent(&unknown).contains("by `getent hosts no-such-host.invalid`; behind a proxy"), "{unknown:?}");
    tells(&get(&options, "https://255.255.255.255/", 99).await, Unreachable::NoRoute);
    let closes = listener(async |stream| drop(stream)).await;
    tells(&get(&options, &closes, 99).await, Unreachable::Closed);
    let plain = listener(async |mut stream| {
        _ = stream.read(&mut [0; 4_096]).await;
        _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    tells(&get(&options, &plain, 99).await, Unreachable::PlainHttp);
}

#[tokio::test]
async fn a_proxy_that_refuses_and_one_that_is_not_there_are_told_apart() {
    let proxy = Server::start(|_| reply(403, "", "")).await;
    let through = |address: &str| {
        let proxies = Proxies::from_env(&[("HTTPS_PROXY", address)]).unwrap();
        HttpOptions { proxies, ..HttpOptions::default() }
    };
    let refused = get(&through(&proxy.address), "https://workspace.example/", 99).await;
    tells(&refused, Unreachable::ProxyRefuses);
    assert!(not_sent(&refused).starts_with("cannot connect to workspace.example:443 through the proxy"), "{refused:?}");
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let away = get(&through(&nobody.to_string()), "https://workspace.example/", 99).await;
    tells(&away, Unreachable::Refused);
    assert!(not_sent(&away).starts_with(&format!("cannot connect to the proxy http://{nobody}")), "{away:?}");
}

#[tokio::test]
async fn p20_a_certificate_that_is_not_valid_yet_is_refused() {
    let (pem, config) = private_ca_that_vouches(&["127.0.0.1"], 4_000, 4_096);
    let server = Server::start_tls(config, |_| reply(200, "", "{}")).await;
    let file = file(&pem);
    let options = HttpOptions { ca_file: Some(file.path().to_owned()), ..HttpOptions::default() };
    tells(&get(&options, &format!("https://{}/", server.address), 99).await, Unreachable::NotYetValid);
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_complete_answer_keeps_the_headers_that_matter() {
    let server = Server::start(|_| {
        let headers =
            "X-Request-Id: r1\r\nRetry-After: 7\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nX-Subject-Token: t0ken\r\n";
        reply(429, headers, "{}")
    })
    .await;
    let reply = get(&HttpOptions::default(), &server.http(), 99).await;
    let Reply::Answer(answer) = &reply else { panic!("{reply:?}") };
    assert_eq!((answer.status, answer.body.as_ref()), (429, b"{}".as_slice()));
    assert_eq!(answer.request_id.as_deref(), Some("r1"));
    assert_eq!(answer.retry_after.as_deref(), Some("7"));
    assert!(answer.date.as_deref().unwrap().contains("1994") && answer.subject_token.is_some());
    assert!(!format!("{reply:?}").contains("t0ken"));
    let user_agent = server.seen()[0].header("User-Agent").unwrap().to_owned();
    assert_eq!(user_agent, format!("batch-detach/{}", env!("CARGO_PKG_VERSION")));
    assert!(server.seen()[0].header("Accept-Encoding").is_none());
}

#[tokio::test]
async fn p07_after_a_lost_answer_requests_take_connections_of_their_own() {
    // Answers the first request of each connection, and drops the second one.
    let server = Server::start(|seen| match seen.line() {
        "GET /dropped" => vec![Act::Close],
        _ => reply(200, "", "{}"),
    })
    .await;
    let transport = HttpTransport::new(&HttpOptions::default()).unwrap();
    let get = |path: &str| {
        let request = http::Request::get(format!("{}{path}", server.http())).body(Bytes::new()).unwrap();
        transport.call(request, 99)
    };
    for (path, connections) in [("/a", 1), ("/b", 1), ("/dropped", 1), ("/c", 2), ("/d", 3)] {
        let reply = get(path).await;
        assert_eq!(matches!(reply, Reply::Lost { .. }), path == "/dropped", "{reply:?}");
        assert_eq!(server.connections(), connections, "{path}");
    }
}

#[tokio::test]
async fn p20_a_redirect_is_an_answer_and_its_target_is_never_connected_to() {
    let other = Server::start(|_| reply(200, "", "")).await;
    let target = other.http();
    for status in [301, 302, 303, 307, 308] {
        let target = target.clone();
        let server = Server::start(move |_| reply(status, &format!("Location: {target}/x\r\n"), "")).await;
        let reply = get(&HttpOptions::default(), &server.http(), 99).await;
        let Reply::Answer(answer) = reply else { panic!("{reply:?}") };
        assert_eq!((answer.status, answer.location), (status, Some(format!("{}/x", other.http()))));
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn p20_plain_http_leaves_to_this_machine_alone() {
    for url in
        ["http://workspace.example.com/", "http://10.0.0.1/", "http://localhost.example.com/", "http://128.0.0.1/"]
    {
        let reply = get(&HttpOptions::default(), url, 99).await;
        assert!(not_sent(&reply).contains("not encrypted"), "{reply:?}");
    }
    for url in ["http://127.0.0.9:1", "http://[::1]:1", "http://localhost:1", "http://LOCALHOST"] {
        assert!(is_loopback(&Url::parse(url).unwrap()), "{url}");
    }
}

#[tokio::test]
async fn nobody_listening_is_not_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reply = get(&HttpOptions::default(), &format!("http://{address}/"), 99).await;
    assert!(not_sent(&reply).starts_with(&format!("cannot connect to {address}")), "{reply:?}");
    tells(&reply, Unreachable::Refused);
}

#[tokio::test]
async fn closed_cut_and_garbled_answers_are_lost() {
    for bytes in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\"",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "not http at all\r\n\r\n",
    ] {
        let server = Server::start(move |_| raw(bytes)).await;
        let reply = get(&HttpOptions::default(), &server.http(), 99).await;
        lost(&reply);
        assert_eq!(server.seen().len(), 1, "{bytes:?} was repeated");
    }
}

#[tokio::test]
async fn a_reused_connection_that_closes_without_an_answer_is_lost_and_not_repeated() {
    let server = Server::start(|seen| if seen.line() == "GET /1" { reply(200, "", "{}") } else { raw("") }).await;
    let transport = HttpTransport::new(&HttpOptions::default()).unwrap();
    let ask = |path: &str| {
        transport
            .call(http::Request::post(format!("{}{path}", server.http())).body(Bytes::from_static(b"x")).unwrap(), 99)
    };
    let request = http::Request::get(format!("{}/1", server.http())).body(Bytes::new()).unwrap();
    assert!(matches!(transport.call(request, 99).await, Reply::Answer(_)));
    lost(&ask("/2").await);
    assert_eq!((server.seen().len(), server.connections()), (2, 1));
}

#[tokio::test]
async fn p18_an_answer_over_its_cap_is_lost_however_it_is_framed() {
    let long = "x".repeat(100);
    let framed = format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{long}");
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{long}\r\n0\r\n\r\n");
    let unframed = format!("HTTP/1.1 200 OK\r\n\r\n{long}");
    for text in [framed, chunked, unframed] {
        let server = Server::start(move |_| raw(&text)).await;
        assert!(matches!(get(&HttpOptions::default(), &server.http(), 100).await, Reply::Answer(_)));
        assert!(lost(&get(&HttpOptions::default(), &server.http(), 99).await).contains("longer than 99 bytes"));
    }
}

#[tokio::test]
async fn p18_a_hundred_thousand_headers_are_lost() {
    let many = "A: b\r\n".repeat(100_000);
    let server = Server::start(move |_| raw(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"))).await;
    lost(&get(&HttpOptions::default(), &server.http(), 99).await);
}

#[tokio::test(start_paused = true)]
async fn a_slow_drip_ends_at_the_limit_of_the_whole_request() {
    let server = Server::start(|_| {
        let mut acts = vec![Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec())];
        acts.extend((0..1_000).flat_map(|_| [Act::Wait(Duration::from_secs(1)), Act::Write(b"x".to_vec())]));
        acts
    })
    .await;
    let start = tokio::time::Instant::now();
    let reply = get(&HttpOptions::default(), &server.http(), 1_000).await;
    assert!(lost(&reply).contains("timed out"), "{reply:?}");
    assert!((74..=76).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_thinks_for_a_minute_is_waited_for() {
    let server = Server::start(|_| {
        let mut acts = vec![Act::Wait(Duration::from_secs(61))];
        acts.extend(reply(504, "", ""));
        acts
    })
    .await;
    assert!(
        matches!(get(&HttpOptions::default(), &server.http(), 9).await, Reply::Answer(answer) if answer.status == 504)
    );
}

#[tokio::test]
async fn p19_the_query_stays_out_of_error_texts() {
    let server = Server::start(|_| raw("")).await;
    let reply = get(&HttpOptions::default(), &format!("{}/v2?user_name=alice", server.http()), 99).await;
    assert!(!lost(&reply).contains("alice"), "{reply:?}");
}

#[tokio::test]
async fn a_path_that_would_go_elsewhere_than_written_does_not_leave() {
    let server = Server::start(|_| reply(200, "", "")).await;
    for path in ["/v2/p/desktops/..", "/v2/%2e%2E/x", "/v2/./x"] {
        not_sent(&get(&HttpOptions::default(), &format!("{}{path}", server.http()), 99).await);
    }
    assert_eq!(server.seen().len(), 0);
}

/// A certificate authority of our own, and a server for `names` that it vouches for.
fn private_ca(names: &[&str]) -> (String, tokio_rustls::rustls::ServerConfig) {
    private_ca_that_vouches(names, 1975, 4_096)
}

/// Vouches from the one year up to the other.
fn private_ca_that_vouches(names: &[&str], from: i32, to: i32) -> (String, tokio_rustls::rustls::ServerConfig) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    let leaf = params.signed_by(&key, &ca).unwrap();
    let config = tokio_rustls::rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    (ca.pem(), config)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn p20_an_authoritys_certificate_is_no_servers_and_that_is_told() {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap();
    let config = tokio_rustls::rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let server = Server::start_tls(config, |_| reply(200, "", "{}")).await;
    let file = file(&own.pem());
    let options = HttpOptions { ca_file: Some(file.path().to_owned()), ..HttpOptions::default() };
    tells(&get(&options, &format!("https://{}/", server.address), 99).await, Unreachable::Authority);
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn p20_a_private_ca_works_with_its_file_and_is_refused_without() {
    let (pem, config) = private_ca(&["127.0.0.1"]);
    let server = Server::start_tls(config, |_| reply(200, "", "{}")).await;
    let url = format!("https://{}/", server.address);
    let refused = get(&HttpOptions::default(), &url, 99).await;
    tells(&refused, Unreachable::IssuerUnknown);
    assert_eq!(server.seen().len(), 0, "a byte of the request left before the certificate was checked");
    let file = file(&pem);
    let options = HttpOptions { ca_file: Some(file.path().to_owned()), ..HttpOptions::default() };
    let trusted = get(&options, &url, 99).await;
    assert!(matches!(trusted, Reply::Answer(_)), "{trusted:?}");
}

#[tokio::test]
async fn p20_a_certificate_for_another_name_is_refused() {
    let (pem, config) = private_ca(&["workspace.example.com"]);
    let server = Server::start_tls(config, |_| reply(200, "", "{}")).await;
    let file = file(&pem);
    let options = HttpOptions { ca_file: Some(file.path().to_owned()), ..HttpOptions::default() };
    tells(&get(&options, &format!("https://{}/", server.address), 99).await, Unreachable::WrongName);
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn p20_an_expired_certificate_is_refused() {
    let (pem, config) = private_ca_that_vouches(&["127.0.0.1"], 1975, 2020);
    let server = Server::start_tls(config, |_| reply(200, "", "{}")).await;
    let file = file(&pem);
    let options = HttpOptions { ca_file: Some(file.path().to_owned()), ..HttpOptions::default() };
    tells(&get(&options, &format!("https://{}/", server.address), 99).await, Unreachable::Expired);
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn p20_tls_1_1_is_refused_before_anything_is_sent() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    // A server that knows nothing newer: its hello chooses version 3.2, which is TLS 1.1.
    let hello = [&[0x02, 0, 0, 38, 0x03, 0x02][..], &[7; 32], &[0, 0x00, 0x2f, 0]].concat();
    let record = [&[0x16, 0x03, 0x02, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v2?user_name=CANARY", listener.local_addr().unwrap());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4_096];
        let first = stream.read(&mut seen).await.unwrap();
        seen.truncate(first);
        stream.write_all(&record).await.unwrap();
        _ = stream.read_to_end(&mut seen).await;
        seen
    };
    let options = HttpOptions::default();
    let (refused, seen) = tokio::join!(get(&options, &url, 99), server);
    tells(&refused, Unreachable::OldTls);
    assert!(!String::from_utf8_lossy(&seen).contains("CANARY"));
}

#[tokio::test(start_paused = true)]
async fn p20_a_plain_server_on_the_tls_port_is_not_sent() {
    let server = Server::start(|_| reply(200, "", "{}")).await;
    let silent = get(&HttpOptions::default(), &format!("https://{}/", server.address), 99).await;
    tells(&silent, Unreachable::TimedOut);
}

#[tokio::test]
async fn p20_a_proxy_sees_the_host_and_nothing_of_the_request() {
    let proxy = Server::start(|_| reply(407, "", "")).await;
    let variable = format!(r"http://CORP\bob:PROXY@CANARY%@{}", proxy.address);
    let proxies = Proxies::from_env(&[("HTTPS_PROXY", variable.as_str())]).unwrap();
    let transport = HttpTransport::new(&HttpOptions { proxies, ..HttpOptions::default() }).unwrap();
    let url = "https://workspace.example.com/v2?user_name=alice";
    let request = http::Request::get(url).header("X-Auth-Token", "CANARY").body(Bytes::new()).unwrap();
    let refused = transport.call(request, 99).await;
    // The proxy's own word, told as such; it is not asked again.
    assert!(matches!(&refused, Reply::Answer(answer) if answer.status == 407), "{refused:?}");
    let again = transport.call(http::Request::get(url).body(Bytes::new()).unwrap(), 99).await;
    assert_eq!((&again, proxy.seen().len()), (&refused, 1));
    assert!(!format!("{refused:?} {transport:?}").contains("CANARY"));
    let seen = &proxy.seen()[0];
    assert_eq!(seen.line(), "CONNECT workspace.example.com:443");
    assert!(!seen.head.contains("X-Auth-Token") && !seen.head.contains("alice"), "{seen:?}");
    let login = seen.header("Proxy-Authorization").unwrap().trim_start_matches("Basic ");
    assert_eq!(BASE64_STANDARD.decode(login).unwrap(), br"CORP\bob:PROXY@CANARY%");
}

#[tokio::test]
async fn connections_are_reused_up_to_the_requests_in_flight() {
    let (pem, config) = private_ca(&["127.0.0.1"]);
    let server = Server::start_tls(config, |_| reply(200, "", "{}")).await;
    let file = file(&pem);
    let options = HttpOptions { ca_file: Some(file.path().to_owned()), ..HttpOptions::default() };
    let (transport, url) = (HttpTransport::new(&options).unwrap(), format!("https://{}/", server.address));
    for _ in 0..5 {
        let calls = (0..8).map(|_| transport.call(http::Request::get(&url).body(Bytes::new()).unwrap(), 99));
        assert!(futures::future::join_all(calls).await.iter().all(|reply| matches!(reply, Reply::Answer(_))));
    }
    assert!(server.seen().len() == 40 && server.connections() <= 8, "{} connections", server.connections());
}

/// Keeps all that is logged, of every crate.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn p19_nothing_that_is_logged_on_the_way_holds_a_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("the log is kept");
    let server = Server::start(|_| reply(201, "X-Subject-Token: CANARY1\r\n", "CANARY2")).await;
    let mut request = http::Request::post(server.http()).body(Bytes::from_static(b"CANARY3")).unwrap();
    let key = super::super::auth::sign::Key::new("CANARY4CANARY4", "CANARY5", Some("CANARY6"));
    super::super::auth::sign::sign(&mut request, &key, jiff::Timestamp::now()).unwrap();
    let reply = HttpTransport::new(&HttpOptions::default()).unwrap().call(request, 99).await;
    tracing::debug!(?reply, ?key, "answered");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the log is kept") && text.contains("answered"), "{text}");
    assert!(!text.contains("CANARY"), "{text}");
}

#[test]
fn a_ca_file_without_a_certificate_is_named() {
    let file = file("hello");
    let options = HttpOptions { ca_file: Some(file.path().to_owned()), ..HttpOptions::default() };
    let text = HttpTransport::new(&options).unwrap_err().to_string();
    assert!(text.contains("ca-file") && text.contains("no certificate"), "{text}");
}
