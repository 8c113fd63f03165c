//! One list for several accounts: the loop that the README shows, and the job of the samples.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use batch_detach::testing::api::auth::sign::Key;
use batch_detach::testing::sim::{Auth, KeyRing, Op, Scenario};

use super::{AK, Cloud, SK, sheet, strict, text};

/// Account, agency, region.
const ACCOUNTS: [[&str; 3]; 3] = [
    ["acme", "offboarding", "cn-north-4"],
    ["globex", "offboarding", "ap-southeast-3"],
    ["initech", "it-ops", "eu-west-101"],
];

/// The shell block of the section of the README.
fn shown_loop() -> String {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let section =
        readme.split("\n### ").find(|section| section.starts_with("Several accounts and projects\n")).unwrap();
    section.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0.to_owned()
}

/// In place of `~`, with the base key of one account, and the three services where their regions are.
fn environment(command: &mut Command, home: &Path, iam: &Cloud, services: &[Cloud]) {
    command.current_dir(home).env_clear().env("HOME", home);
    command.env("HUAWEICLOUD_SDK_IAM_ENDPOINT", &iam.address);
    for (service, [.., region]) in services.iter().zip(ACCOUNTS) {
        let region = region.to_uppercase().replace('-', "_");
        command.env(format!("HUAWEICLOUD_SDK_REGION_WORKSPACE_{region}"), &service.address);
    }
    for wait in ["SETTLE_TIME", "POLL_INTERVAL", "RETRY_BASE", "DOUBT_WAIT"] {
        command.env(format!("BATCH_DETACH_{wait}"), "20ms");
    }
    command.env("BATCH_DETACH_WRITE_RATE", "500/s").env("BATCH_DETACH_READ_RATE", "500/s");
}

#[test]
fn the_loop_of_the_readme_does_one_list_in_three_accounts_and_again_has_nothing_to_do() {
    let agencies = ACCOUNTS.map(|[account, agency, _]| (agency.to_owned(), account.to_owned())).to_vec();
    let auth = Auth::Keys(KeyRing { keys: vec![Key::new(AK, SK, None)], agencies });
    let iam = Cloud::new(0, Scenario { auth, ..Scenario::default() });
    let services = [6, 4, 2].map(|desktops| Cloud::new(desktops, Scenario::default()));
    let directory = sheet(6);
    let accounts: String = ACCOUNTS.map(|line| line.join("  ") + "\n").concat();
    std::fs::write(directory.path().join("accounts.txt"), accounts).unwrap();
    let run = || -> Output {
        let mut command = Command::new("sh");
        environment(&mut command, directory.path(), &iam, &services);
        command.env("HUAWEICLOUD_SDK_AK", AK).env("HUAWEICLOUD_SDK_SK", SK);
        let programs = cargo_bin("batch-detach");
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.parent().unwrap().display()));
        command.arg("-c").arg(shown_loop()).output().unwrap()
    };
    let output = run();
    assert!(services.iter().all(Cloud::nobody_is_bound), "{}", text(&output));
    // Desktops that are another account's are no rows of the second and the third.
    for (line, code) in [("acme cn-north-4", 0), ("globex ap-southeast-3", 1), ("initech eu-west-101", 1)] {
        assert!(text(&output).contains(&format!("{line}: exit code {code}\n")), "{line}: {}", text(&output));
    }
    assert_eq!(output.status.code(), Some(1));
    for (service, ([account, _, region], desktops)) in services.iter().zip(ACCOUNTS.into_iter().zip([6, 4, 2])) {
        let results = std::fs::read_to_string(directory.path().join(format!("{account}.{region}.csv"))).unwrap();
        let count = |word: &str| results.matches(&format!(",{word},")).count();
        assert_eq!((count("detached"), count("INVALID_DESKTOP_NOT_FOUND")), (desktops, 6 - desktops), "{results}");
        // The key of our own goes to IAM alone.
        assert!(service.app.log().iter().all(|entry| entry.access_key.as_deref() != Some(AK)));
    }
    assert_eq!(iam.app.log().iter().filter(|entry| entry.op == Op::IssueKey).count(), 3);
    let again = run();
    assert_eq!(text(&again).matches("nothing to do: run").count(), 3, "{}", text(&again));
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn each_pod_of_the_indexed_job_takes_the_account_of_its_index() {
    let sample = include_str!("../../../samples/cron/kubernetes-indexed-job.yaml");
    for line in ["completionMode: Indexed", "backoffLimitPerIndex: 3", "action: FailIndex", "values: [5]"] {
        assert!(sample.contains(line), "{line}");
    }
    let index = "fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']";
    assert!(sample.contains(index) && sample.contains("name: HW_PROFILE") && sample.contains("$(HW_PROFILE).csv"));
    let (_, file) = sample.split_once("config.json: |\n").unwrap();
    let file: String =
        file.lines().take_while(|line| line.starts_with("    ")).map(|line| line.trim().to_owned() + "\n").collect();
    let (access, secret) = ("REPLACEMEREPLACEME00", "replace-me");
    assert!(file.contains(access) && file.contains(secret), "no key of anybody's: {file}");
    let completions = file.matches("\"name\"").count();
    assert!(sample.contains(&format!("completions: {completions} ")), "one pod for each of {completions} profiles");
    let Auth::Keys(ring) = strict(Key::new(access, secret, None)) else { panic!() };
    let iam =
        Cloud::new(0, Scenario { auth: Auth::Keys(KeyRing { agencies: Vec::new(), ..ring }), ..Scenario::default() });
    let services = [2, 2, 2].map(|desktops| Cloud::new(desktops, Scenario::default()));
    let directory = sheet(2);
    let config = directory.path().join("config.json");
    std::fs::write(&config, file).unwrap();
    for (index, (service, [account, agency, region])) in services.iter().zip(ACCOUNTS).enumerate() {
        let mut command = Command::new(cargo_bin("batch-detach"));
        environment(&mut command, directory.path(), &iam, &services);
        command.env("HW_SHARED_CONFIG_FILE", &config).env("HW_PROFILE", index.to_string());
        let output = command.args(["plan", "leavers.csv", "--format", "json"]).output().unwrap();
        let plan: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        assert_eq!(plan["caller"]["agency"], serde_json::json!({ "name": agency, "account": account }));
        assert_eq!((&plan["region"], &plan["endpoint"]), (&region.into(), &service.address.as_str().into()));
    }
}
