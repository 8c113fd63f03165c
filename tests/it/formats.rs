//! One sheet in every form that a spreadsheet leaves it in, and one sheet with everything wrong that can be.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;

/// A plan without a look: no credentials, no network.
fn plan(input: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(cargo_bin("batch-detach"));
    command.env_clear().current_dir(std::env::temp_dir()).arg("plan").arg(input);
    command.args(["--preflight", "off", "--endpoint", "https://workspace.example", "--project-id", "p"]);
    command.args(more).output().unwrap()
}

#[test]
fn p17_the_same_rows_in_eight_forms_make_the_same_requests_byte_for_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats");
    let mut forms: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    forms.sort();
    assert_eq!(forms.len(), 8);
    let bodies: BTreeSet<Vec<u8>> = forms
        .iter()
        .map(|form| {
            let output = plan(form, &["--requests", "-"]);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{}: {}",
                form.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        })
        .collect();
    assert_eq!(bodies.len(), 1, "some form makes other requests");
    let text = String::from_utf8(bodies.into_iter().next().unwrap()).unwrap();
    assert_eq!(text.matches("\"user_name\"").count(), 200);
    assert!(text.contains("王小明"));
}

#[test]
fn a_list_that_is_to_be_held_back_by_dates_is_never_done_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let sheet = directory.path().join("leavers.csv");
    std::fs::write(&sheet, "desktop_id,user_name,last_day\nd-1,anna,9999-12-31\nd-2,bert,2000-01-01\n").unwrap();
    let shown = |more: &[&str]| String::from_utf8(plan(&sheet, more).stdout).unwrap();
    assert!(shown(&["--due-column", "last_day"]).contains("1 to detach, 0 already detached, 1 not due"));
    assert_eq!(plan(&sheet, &["--as-of", "2026-11-30"]).status.code(), Some(2), "of which column?");
    assert!(shown(&["--due-column", "-"]).contains("2 to detach"));
}

#[test]
fn fifteen_faults_are_told_in_one_go_each_with_its_line_its_column_and_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let sheet = directory.path().join("leavers.csv");
    let long = "x".repeat(65);
    let id = "d".repeat(256);
    let rows = [
        "d-1,,USER,,,",
        "d-2,anna,ROBOT,,,",
        "d-3,bert,ALL,,,",
        ",,ALL,,,",
        &format!("d-5,{long},USER,,,"),
        &format!("{id},carl,USER,,,"),
        "1.9E+18,dora,USER,,,",
        "d-8,#REF!,USER,,,",
        "########,emil,USER,,,",
        "\"d-10\nx\",fred,USER,,,",
        "d-11,gre\u{202e}ta,USER,,,",
        "d-12,hans,USER,,,,extra,cells",
        "d-13,,GROUP,,,",
        &format!("d-14,ida,USER,{id},,"),
        "d-15,\"jo\u{7}hn\",USER,,,",
    ];
    let mut text = "desktop_id,user_name,type,user_id,domain,ticket\n".to_owned();
    for row in rows {
        text.push_str(row);
        text.push('\n');
    }
    std::fs::write(&sheet, text).unwrap();
    let output = plan(&sheet, &[]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    let faults: Vec<&str> = told.lines().filter(|line| line.trim_start().starts_with("line ")).collect();
    assert_eq!(faults.len(), 15, "{told}");
    // The tenth row holds a line break, so that the lines after it are one further.
    let lines = (2..=11).chain(13..=17);
    for (fault, line) in faults.iter().zip(lines) {
        let rest =
            fault.trim_start().strip_prefix(&format!("line {line}")).unwrap_or_else(|| panic!("line {line}: {fault}"));
        assert!(rest.starts_with(", column ") || rest.contains("has 6 columns"), "line {line}: {fault}");
        let (_, words) = fault.split_once(": ").unwrap();
        assert!(words.contains(';') || words.contains(". "), "no remedy: {fault}");
    }
    assert!(told.contains("15 invalid row(s)"), "{told}");
}
