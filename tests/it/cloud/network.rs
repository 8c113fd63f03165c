//! What happens between the program and the service in the middle of a run: a proxy that changes its mind, a service
//! that goes away.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use batch_detach::testing::sim::{Auth, Op, Physics, Scenario};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::sync::CancellationToken;

use super::{Cloud, PROJECT, TOKEN, program, sheet, text};

/// The name under which the service is asked for; only the proxy knows where it is.
const HOST: &str = "workspace.example";
/// `CORP\bob:p@ss%`, as the proxy gets it.
const LOGIN: &str = "Basic Q09SUFxib2I6cEBzcyU=";

/// A proxy with a password, and behind it the service, in TLS.
struct Proxy {
    address: SocketAddr,
    /// PEM of whoever vouches for [`HOST`].
    issuer: String,
    mind: Arc<Mind>,
}

#[derive(Default)]
struct Mind {
    refuses: AtomicBool,
    refused: AtomicUsize,
    /// Ends every tunnel that is open.
    tunnels: Mutex<CancellationToken>,
}

impl Proxy {
    async fn start(service: SocketAddr) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([HOST.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let (listener, mind) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(Mind::default()));
        let (address, tls, shared) =
            (listener.local_addr().unwrap(), TlsAcceptor::from(Arc::new(config)), Arc::clone(&mind));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, mind) = (tls.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let open = mind.tunnels.lock().unwrap().clone();
                    open.run_until_cancelled(tunnel(stream, tls, service, &mind)).await;
                });
            }
        });
        Self { address, issuer: issuer.pem(), mind }
    }

    /// From now on the password is another, or again the one that it was.
    fn refuse(&self, refuses: bool) {
        self.mind.refuses.store(refuses, Ordering::SeqCst);
        std::mem::take(&mut *self.mind.tunnels.lock().unwrap()).cancel();
    }
}

async fn tunnel(mut stream: TcpStream, tls: TlsAcceptor, service: SocketAddr, mind: &Mind) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with(&format!("CONNECT {HOST}:443 ")), "{head}");
    let knows = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .any(|(name, value)| name.eq_ignore_ascii_case("Proxy-Authorization") && value == LOGIN);
    if !knows || mind.refuses.load(Ordering::SeqCst) {
        mind.refused.fetch_add(1, Ordering::SeqCst);
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        _ = stream.write_all(refusal.as_bytes()).await;
        return;
    }
    _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
    if let (Ok(mut stream), Ok(mut service)) = (tls.accept(stream).await, TcpStream::connect(service).await) {
        _ = copy_bidirectional(&mut stream, &mut service).await;
    }
}

fn cloud(desktops: usize) -> Cloud {
    let world = Physics { latency: Duration::from_millis(20), ..Physics::default() };
    let auth = Auth::Token { valid: vec![TOKEN.to_owned()], login: None };
    Cloud::new(desktops, Scenario { auth, world, ..Scenario::default() })
}

/// Starts the program, does this once five writes were answered, and waits for its end.
fn interrupted(directory: &Path, cloud: &Cloud, env: &[(&str, &str)], interrupt: impl FnOnce()) -> Output {
    let mut command = program(directory, cloud, env);
    command.args(["run", "leavers.csv", "--yes"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    let answered =
        || cloud.app.log().iter().filter(|entry| entry.op == Op::BatchDetach && entry.status.is_some()).count();
    while answered() < 5 {
        if began.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("nothing is sent: {}", text(&child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    interrupt();
    child.wait_with_output().unwrap()
}

const SETTINGS: [(&str, &str); 5] = [
    ("HW_AUTH_TOKEN", TOKEN),
    ("BATCH_DETACH_PROJECT_ID", PROJECT),
    ("BATCH_DETACH_MAX_DESKTOPS_PER_REQUEST", "1"),
    ("BATCH_DETACH_CONCURRENCY", "1"), // with more, so many may be on their way at once
    ("RUST_LOG", "info"),
];

#[test]
fn a_proxy_that_changes_its_mind_in_the_middle_is_asked_once_more_and_the_run_goes_on_later() {
    let (cloud, directory) = (cloud(40), sheet(40));
    let proxy = cloud.runtime.block_on(Proxy::start(cloud.address.trim_start_matches("http://").parse().unwrap()));
    let issuer = directory.path().join("issuer.pem");
    std::fs::write(&issuer, &proxy.issuer).unwrap();
    let (endpoint, variable) = (format!("https://{HOST}"), format!(r"http://CORP\bob:p@ss%@{}", proxy.address));
    let place = [
        ("BATCH_DETACH_ENDPOINT", endpoint.as_str()),
        ("BATCH_DETACH_CA_FILE", issuer.to_str().unwrap()),
        ("HTTPS_PROXY", &variable),
    ];
    let env = [&SETTINGS[..], &place].concat();
    let output = interrupted(directory.path(), &cloud, &env, || proxy.refuse(true));
    let told = text(&output);
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert_eq!(proxy.mind.refused.load(Ordering::SeqCst), 1, "a repeat could lock the account: {told}");
    assert!(told.contains("the proxy refuses the connection") && !told.contains("p@ss"), "{told}");
    assert!(!cloud.nobody_is_bound());
    proxy.refuse(false);
    let resumed =
        program(directory.path(), &cloud, &env).args(["run", "leavers.results.csv.journal", "--yes"]).output();
    let resumed = resumed.unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed));
    assert!(cloud.nobody_is_bound() && text(&resumed).contains("40 rows = 40 detached"), "{}", text(&resumed));
}

#[test]
fn a_service_that_goes_away_in_the_middle_is_told_in_the_same_words_as_at_the_start() {
    let (mut cloud, directory) = (cloud(40), sheet(40));
    let env = [
        &SETTINGS[..],
        &[
            ("BATCH_DETACH_OUTAGE_LIMIT", "1ms"),
            ("BATCH_DETACH_RETRY_BASE", "300ms"),
            ("BATCH_DETACH_DRAIN_TIME", "100ms"),
        ],
    ]
    .concat();
    let runtime = std::mem::replace(&mut cloud.runtime, tokio::runtime::Runtime::new().unwrap());
    let output = interrupted(directory.path(), &cloud, &env, || runtime.shutdown_background());
    let sentence = "nobody listens there; check host and port in --endpoint, and that the service is up";
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let last = text(&output).lines().last().unwrap_or_default().to_owned();
    assert!(text(&output).contains(sentence), "{last}");
    let again = program(directory.path(), &cloud, &env).args(["plan", "leavers.csv"]).output().unwrap();
    assert_eq!(again.status.code(), Some(4), "{}", text(&again));
    assert!(text(&again).contains(sentence), "{}", text(&again));
}
