//! The program against a server that checks signature, date and token strictly and locks a key after five refusals:
//! every way to hold credentials, and everything that can be wrong with them.

mod accounts;
mod network;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use batch_detach::testing::api::auth::sign::Key;
use batch_detach::testing::model::{Bound, DesktopId, Kind};
use batch_detach::testing::sim::{App, Auth, Executed, KeyRing, Login, Op, Scenario, Seat, World, serve};
use http::request::Parts;
use tempfile::TempDir;

const AK: &str = "AKCANARY0123456789AB";
const SK: &str = "canary-secret-key-51f3b0a7";
const SECURITY_TOKEN: &str = "canary-security-token-77aa01";
const PASSWORD: &str = "canary-password-9e1d";
const TOKEN: &str = "canary-token-2c4e";
const PROJECT: &str = "project-1";

/// A server on loopback, in a runtime of its own.
struct Cloud {
    app: Arc<App>,
    address: String,
    runtime: tokio::runtime::Runtime,
}

fn desktop(n: usize) -> DesktopId {
    DesktopId::parse(&format!("00000000-0000-4000-8000-{n:012}")).unwrap()
}

fn user(n: usize) -> String {
    ["王小明", "o'neil & sons", "a+b=c?d#e", "100%/ü", "plain"][n % 5].to_owned() + &n.to_string()
}

impl Cloud {
    fn new(desktops: usize, scenario: Scenario) -> Self {
        let seats = (0..desktops).map(|n| Seat {
            desktop: desktop(n),
            name: format!("PC-{n:04}"),
            bound: Bound { kind: Kind::User, user_name: user(n), user_id: None, user_group: None, domain: None },
        });
        let scenario = Scenario { project_id: Some(PROJECT.to_owned()), ..scenario };
        let app = App::new(World::from_seats(seats, 7), scenario);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(serve(Arc::clone(&app), listener, std::future::pending()));
        Self { app, address, runtime }
    }

    /// Requests to the Workspace API that were let in or refused, IAM's apart.
    fn requests(&self) -> Vec<(Op, Option<u16>)> {
        let iam = |op: Op| matches!(op, Op::IssueToken | Op::IssueKey | Op::ListProjects);
        self.app.log().iter().filter(|entry| !iam(entry.op)).map(|entry| (entry.op, entry.status)).collect()
    }

    fn nobody_is_bound(&self) -> bool {
        self.app.world().snapshot_bindings().values().all(Vec::is_empty)
    }
}

/// Takes what `key` signs, as strictly as the gateway does.
fn strict(key: Key) -> Auth {
    Auth::Keys(KeyRing { keys: vec![key], agencies: vec![("ops".to_owned(), "acme".to_owned())] })
}

/// A sheet of `rows` leavers in a directory of its own.
fn sheet(rows: usize) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut out = csv::Writer::from_path(directory.path().join("leavers.csv")).unwrap();
    out.write_record(["desktop_id", "user_name"]).unwrap();
    for n in 0..rows {
        out.write_record([desktop(n).as_str(), &user(n)]).unwrap();
    }
    out.flush().unwrap();
    directory
}

/// The program in `directory`, with no credentials but those of `env`.
fn program(directory: &Path, cloud: &Cloud, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(cargo_bin("batch-detach"));
    command.current_dir(directory).env_clear().env("HOME", directory).env("RUST_LOG", "trace");
    command.env("BATCH_DETACH_ENDPOINT", &cloud.address).env("BATCH_DETACH_IAM_ENDPOINT", &cloud.address);
    for wait in ["SETTLE_TIME", "POLL_INTERVAL", "RETRY_BASE", "BUSY_WAIT"] {
        command.env(format!("BATCH_DETACH_{wait}"), "20ms");
    }
    command.env("BATCH_DETACH_DOUBT_WAIT", "100ms").env("BATCH_DETACH_READ_BACK_DEADLINE", "10s");
    command.env("BATCH_DETACH_WRITE_RATE", "500/s").env("BATCH_DETACH_READ_RATE", "500/s");
    command.envs(env.iter().copied());
    command
}

fn run(directory: &Path, cloud: &Cloud, env: &[(&str, &str)]) -> Output {
    program(directory, cloud, env).args(["run", "leavers.csv", "--yes", "-vv"]).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Every byte that the program wrote: both streams, and all files but the input and what the test put there.
fn written(directory: &Path, output: &Output) -> Vec<u8> {
    let mut bytes = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "leavers.csv" {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    bytes
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Runs ten leavers, and nothing of a secret is ever written.
fn everybody_goes(auth: Auth, env: &[(&str, &str)], prepare: impl Fn(&Path)) {
    let cloud = Cloud::new(10, Scenario { auth, ..Scenario::default() });
    let directory = sheet(10);
    prepare(directory.path());
    let output = run(directory.path(), &cloud, env);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(cloud.nobody_is_bound());
    let bytes = written(directory.path(), &output);
    for secret in
        [SK, SECURITY_TOKEN, PASSWORD, TOKEN, "SDK-HMAC-SHA256 Access", "sim-token-", "sim-secret-", "sim-sec"]
    {
        assert!(!holds(&bytes, secret), "p19: {secret} was written");
    }
}

#[test]
fn a_run_with_the_sdks_access_key() {
    let env = [("HUAWEICLOUD_SDK_AK", AK), ("HUAWEICLOUD_SDK_SK", SK), ("HUAWEICLOUD_SDK_PROJECT_ID", PROJECT)];
    everybody_goes(strict(Key::new(AK, SK, None)), &env, |_| {});
}

#[test]
fn a_run_with_terraforms_temporary_key() {
    let env = [
        ("HW_ACCESS_KEY", AK),
        ("HW_SECRET_KEY", SK),
        ("HW_SECURITY_TOKEN", SECURITY_TOKEN),
        ("HW_PROJECT_ID", PROJECT),
        ("HW_REGION_NAME", "cn-north-4"),
    ];
    everybody_goes(strict(Key::new(AK, SK, Some(SECURITY_TOKEN))), &env, |_| {});
}

#[test]
fn a_run_with_a_token() {
    let auth = Auth::Token { valid: vec![TOKEN.to_owned()], login: None };
    everybody_goes(auth, &[("HW_AUTH_TOKEN", TOKEN), ("BATCH_DETACH_PROJECT_ID", PROJECT)], |_| {});
}

fn login() -> Login {
    Login { user: "ops".to_owned(), password: PASSWORD.to_owned(), domain: "acme".to_owned() }
}

const LOGIN: [(&str, &str); 4] = [
    ("HW_USER_NAME", "ops"),
    ("HW_USER_PASSWORD", PASSWORD),
    ("HW_DOMAIN_NAME", "acme"),
    ("BATCH_DETACH_REGION", "cn-north-4"),
];

#[test]
fn a_run_with_user_and_password() {
    everybody_goes(Auth::Token { valid: Vec::new(), login: Some(login()) }, &LOGIN, |_| {});
}

#[test]
fn a_run_with_a_profile_file() {
    everybody_goes(strict(Key::new(AK, SK, None)), &[], |home| {
        let folder = home.join(".huaweicloud");
        std::fs::create_dir(&folder).unwrap();
        let profile = format!("[basic]\nak = {AK}\nsk = {SK}\nproject_id = {PROJECT}\n");
        std::fs::write(folder.join("credentials"), profile).unwrap();
    });
}

#[test]
fn p11_a_key_that_is_replaced_in_its_file_in_the_middle_is_read_again_and_no_row_is_lost() {
    let directory = sheet(60);
    let file = directory.path().join("profile");
    let profile = |access: &str| format!("[basic]\nak = {access}\nsk = {SK}\nproject_id = {PROJECT}\n");
    std::fs::write(&file, profile("AKCANARY00000000OLD1")).unwrap();
    // After 20 requests the old key is deleted, and stands replaced in the file.
    let (path, new, count) = (file.clone(), profile("AKCANARY00000000NEW1"), AtomicUsize::new(0));
    let judge = move |parts: &Parts, _: &[u8]| {
        if count.fetch_add(1, Ordering::SeqCst) < 20 {
            return Ok(());
        }
        let given = parts.headers["Authorization"].to_str().unwrap_or_default();
        if given.contains("Access=AKCANARY00000000NEW1,") {
            return Ok(());
        }
        std::fs::write(&path, &new).unwrap();
        Err((401, "APIGW.0301".to_owned(), "Get secretKey failed".to_owned()))
    };
    let cloud = Cloud::new(60, Scenario { auth: Auth::Custom(Arc::new(judge)), ..Scenario::default() });
    let file = ("HUAWEICLOUD_SDK_CREDENTIALS_FILE", file.to_str().unwrap());
    let output = run(directory.path(), &cloud, &[file, ("BATCH_DETACH_MAX_DESKTOPS_PER_REQUEST", "1")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(cloud.nobody_is_bound());
    let refused = cloud.app.log().iter().filter(|entry| entry.status == Some(401)).count();
    assert!((1..=8).contains(&refused), "{refused}");
}

#[test]
fn p11_a_token_that_ends_in_the_middle_is_renewed_once_and_no_row_is_lost() {
    // 40 chunks, eight at once, each answered late: the token ends with eight of them out.
    let world = batch_detach::testing::sim::Physics { latency: Duration::from_millis(60), ..Default::default() };
    let auth = Auth::Token { valid: Vec::new(), login: Some(login()) };
    let cloud = Cloud::new(120, Scenario { auth, world, revoke_after: vec![20], ..Scenario::default() });
    let directory = sheet(120);
    let env = [LOGIN.as_slice(), &[("BATCH_DETACH_MAX_DESKTOPS_PER_REQUEST", "3")]].concat();
    let output = run(directory.path(), &cloud, &env);
    let log = cloud.app.log();
    let refused = log.iter().filter(|entry| entry.status == Some(401)).count();
    let tokens = log.iter().filter(|entry| entry.path.ends_with("/v3/auth/tokens")).count();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(cloud.nobody_is_bound());
    assert!(refused >= 1, "the token never ended: this test shows nothing");
    assert!(refused <= 16, "{refused} requests were refused, more than were in flight");
    assert_eq!(tokens, 2, "one token at the start, one renewal for everybody");
    assert!(!text(&output).contains(" failed  "), "no row fails by it");
}

const AGENCY: [(&str, &str); 3] = [
    ("HW_ASSUME_ROLE_AGENCY_NAME", "ops"),
    ("HW_ASSUME_ROLE_DOMAIN_NAME", "acme"),
    ("BATCH_DETACH_REGION", "cn-north-4"),
];

#[test]
fn a_run_as_an_agency() {
    let env = [&[("HW_ACCESS_KEY", AK), ("HW_SECRET_KEY", SK)][..], &AGENCY].concat();
    everybody_goes(strict(Key::new(AK, SK, None)), &env, |_| {});
}

#[test]
fn plan_summary_status_and_report_tell_where_it_goes_and_as_whom() {
    let cloud = Cloud::new(3, Scenario { auth: strict(Key::new(AK, SK, None)), ..Scenario::default() });
    let directory = sheet(3);
    let env = [&[("HW_ACCESS_KEY", AK), ("HW_SECRET_KEY", SK)][..], &AGENCY].concat();
    let told = |words: &[&str]| {
        let output = program(directory.path(), &cloud, &env).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let plan = told(&["plan", "leavers.csv"]);
    for line in [
        "  region       cn-north-4",
        "  project      cn-north-4 (project-1)",
        "  credentials  access key …89AB from HW_ACCESS_KEY",
        "  agency       ops of account acme",
    ] {
        assert!(plan.lines().any(|told| told == line), "{line} is not in {plan}");
    }
    let caller = serde_json::json!({
        "credentials": "access key …89AB from HW_ACCESS_KEY",
        "agency": { "name": "ops", "account": "acme" },
        "project_name": "cn-north-4",
    });
    for words in [
        &["plan", "leavers.csv", "--format", "json"][..],
        &["run", "leavers.csv", "--yes", "--format", "json"],
        &["status", "leavers.results.csv.journal", "--format", "json"],
    ] {
        let told: serde_json::Value = serde_json::from_str(&told(words)).unwrap();
        assert_eq!((&told["caller"], &told["region"]), (&caller, &"cn-north-4".into()), "{words:?}");
        assert_eq!(
            (&told["endpoint"], &told["project"]),
            (&cloud.address.as_str().into(), &PROJECT.into()),
            "{words:?}"
        );
    }
    told(&["report", "leavers.results.csv.journal"]);
    let page = std::fs::read_to_string(directory.path().join("leavers.report.html")).unwrap();
    for part in ["cn-north-4 (project-1)", "access key …89AB from HW_ACCESS_KEY", "agency ops of account acme"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn p11_an_agencys_keys_that_end_twice_in_the_middle_lose_no_row_and_its_base_key_is_seen_by_iam_alone() {
    // 100 chunks, eight at once, each answered late: the keys end with eight of them out, twice.
    let world = batch_detach::testing::sim::Physics { latency: Duration::from_millis(60), ..Default::default() };
    let auth = strict(Key::new(AK, SK, None));
    let cloud = Cloud::new(400, Scenario { auth, world, revoke_after: vec![30, 80], ..Scenario::default() });
    let directory = sheet(400);
    let key = [("HUAWEICLOUD_SDK_AK", AK), ("HUAWEICLOUD_SDK_SK", SK)];
    let env = [&key[..], &AGENCY, &[("BATCH_DETACH_MAX_DESKTOPS_PER_REQUEST", "4")]].concat();
    let output = run(directory.path(), &cloud, &env);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(cloud.nobody_is_bound());
    assert!(text(&output).contains("400 rows = 400 detached"), "{}", text(&output));
    let log = cloud.app.log();
    let issued = log.iter().filter(|entry| entry.op == Op::IssueKey).count();
    assert_eq!(issued, 3, "keys at the start, and one renewal for everybody each time");
    let refused = log.iter().filter(|entry| entry.status == Some(401)).count();
    assert!((2..=32).contains(&refused), "{refused} requests were refused, of eight in flight twice");
    for entry in &log {
        let by_base = entry.access_key.as_deref() == Some(AK);
        assert_eq!(by_base, entry.op == Op::IssueKey, "{:?} by {:?}", entry.op, entry.access_key);
    }
}

#[test]
fn p11_an_agency_that_trusts_nobody_costs_one_request_and_is_named() {
    let cloud = Cloud::new(3, Scenario { auth: strict(Key::new(AK, SK, None)), ..Scenario::default() });
    let directory = sheet(3);
    let key = [("HUAWEICLOUD_SDK_AK", AK), ("HUAWEICLOUD_SDK_SK", SK), ("HUAWEICLOUD_SDK_PROJECT_ID", PROJECT)];
    let env = [&key[..], &AGENCY[..1], &[("HW_ASSUME_ROLE_DOMAIN_NAME", "other")]].concat();
    let output = run(directory.path(), &cloud, &env);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(text(&output).contains("agency ops of account other"), "{}", text(&output));
    assert_eq!(cloud.app.log().len(), 1);
    assert!(!directory.path().join("leavers.results.csv.journal").exists(), "exit 4 leaves nothing behind");
}

#[test]
fn p11_a_wrong_key_costs_at_most_two_requests_and_names_its_source() {
    let cloud = Cloud::new(300, Scenario { auth: strict(Key::new(AK, "another", None)), ..Scenario::default() });
    let directory = sheet(300);
    let env = [("HUAWEICLOUD_SDK_AK", AK), ("HUAWEICLOUD_SDK_SK", SK), ("HUAWEICLOUD_SDK_PROJECT_ID", PROJECT)];
    let output = run(directory.path(), &cloud, &env);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(cloud.requests().len() <= 2, "{:?}", cloud.requests());
    assert!(text(&output).contains("HUAWEICLOUD_SDK_AK"), "{}", text(&output));
    assert!(!directory.path().join("leavers.results.csv").exists());
    assert!(!directory.path().join("leavers.results.csv.journal").exists(), "exit 4 leaves nothing behind");
}

#[test]
fn p11_a_wrong_key_is_found_out_by_one_write_where_nothing_is_read() {
    let cloud = Cloud::new(300, Scenario { auth: strict(Key::new(AK, "another", None)), ..Scenario::default() });
    let directory = sheet(300);
    let env = [("HUAWEICLOUD_SDK_AK", AK), ("HUAWEICLOUD_SDK_SK", SK), ("HUAWEICLOUD_SDK_PROJECT_ID", PROJECT)];
    let output = program(directory.path(), &cloud, &env)
        .args(["run", "leavers.csv", "--yes", "--preflight", "off", "--verify", "off"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(cloud.requests().len() <= 2, "{:?}", cloud.requests());
    assert!(cloud.app.log().iter().all(|entry| entry.executed == Executed::None));
}

#[test]
fn a_clock_that_is_off_is_named_with_its_skew() {
    let refuse = |_: &Parts, _: &[u8]| {
        Err((
            401,
            "APIGW.0301".to_owned(),
            "Incorrect IAM authentication information: verify aksk signature fail".to_owned(),
        ))
    };
    let scenario =
        Scenario { auth: Auth::Custom(Arc::new(refuse)), clock_ahead_s: 20 * 60 + 30, ..Scenario::default() };
    let cloud = Cloud::new(3, scenario);
    let directory = sheet(3);
    let env = [("HUAWEICLOUD_SDK_AK", AK), ("HUAWEICLOUD_SDK_SK", SK), ("HUAWEICLOUD_SDK_PROJECT_ID", PROJECT)];
    let output = run(directory.path(), &cloud, &env);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output).contains("20 min"), "{}", text(&output));
}

#[test]
fn a_half_set_source_is_an_error_and_not_passed_over() {
    let cloud = Cloud::new(1, Scenario::default());
    let directory = sheet(1);
    let env = [("HUAWEICLOUD_SDK_AK", AK), ("HW_AUTH_TOKEN", TOKEN), ("BATCH_DETACH_PROJECT_ID", PROJECT)];
    let output = run(directory.path(), &cloud, &env);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output).contains("HUAWEICLOUD_SDK_SK"), "{}", text(&output));
    assert!(cloud.app.log().is_empty());
}

#[test]
fn p20_a_redirect_is_never_followed_and_names_its_host() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let target = format!("http://{}/v2/x", elsewhere.local_addr().unwrap());
    let cloud = Cloud::new(3, Scenario::default());
    for op in [Op::ListDesktops, Op::BatchDetach] {
        cloud.app.clear_faults();
        let mut refused = batch_detach::testing::sim::Refused::new(307, "", "");
        refused.location = Some(target.clone().into());
        cloud
            .app
            .add_fault(batch_detach::testing::sim::Fault::new(op, batch_detach::testing::sim::Effect::Refuse(refused)));
        let directory = sheet(3);
        let env = [("HW_AUTH_TOKEN", TOKEN), ("BATCH_DETACH_PROJECT_ID", PROJECT)];
        let output = run(directory.path(), &cloud, &env);
        assert_eq!(output.status.code(), Some(4), "{}", text(&output));
        assert!(text(&output).contains(elsewhere.local_addr().unwrap().to_string().as_str()), "{}", text(&output));
    }
    assert!(elsewhere.accept().is_err(), "a connection to the other host was made");
}

#[test]
fn the_plan_names_credentials_endpoint_and_project_and_no_value() {
    let cloud = Cloud::new(3, Scenario { auth: strict(Key::new(AK, SK, None)), ..Scenario::default() });
    let directory = sheet(3);
    let env = [("HUAWEICLOUD_SDK_AK", AK), ("HUAWEICLOUD_SDK_SK", SK), ("HUAWEICLOUD_SDK_PROJECT_ID", PROJECT)];
    let output = program(directory.path(), &cloud, &env).args(["plan", "leavers.csv", "-v"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let shown = text(&output);
    for part in ["HUAWEICLOUD_SDK_AK", cloud.address.as_str(), PROJECT, "BATCH_DETACH_WRITE_RATE"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    assert!(!shown.contains(AK) && !shown.contains(SK));
    assert!(cloud.app.log().iter().all(|entry| entry.method == "GET"), "p05: a plan never writes");
}
