//! The next command is the command: what the last line tells is typed into `sh` as it stands, after every kind of end. It
//! must be taken, and do what was said; where it asks a question that nobody can answer here, its own last line is
//! typed in turn.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use batch_detach::testing::sim::{Effect, Fate, Fault, Op, Refused, Scenario, World};

use super::service::{id, seat};
use super::stage::{Ended, Stage};

const RUN: [&str; 3] = ["run", "leavers.csv", "--yes"];
const JOURNAL: &str = "leavers.results.csv.journal";
const ROWS: usize = 4;

/// Four people and their desktops; the fates of some.
fn with(fates: &[(usize, Fate)]) -> Stage {
    let seats = (0..ROWS).map(|n| seat(&format!("d-{n}"), &format!("u-{n}")));
    let mut world = World::from_seats(seats, 1);
    for (n, fate) in fates {
        world.doom(&id(&format!("d-{n}")), fate.clone());
    }
    let stage = Stage::with(world, Scenario::default());
    stage.leavers((0..ROWS).map(|n| (format!("d-{n}"), format!("u-{n}"))));
    stage
}

fn refused(status: u16) -> Effect {
    Effect::Refuse(Refused { status, code: "WKS.0500".into(), message: "not now".into(), ..Refused::default() })
}

fn fails(n: usize) -> (usize, Fate) {
    (n, Fate::FailsWith { code: "WKS.00010042".into(), message: "not now".into(), times: Some(1) })
}

/// Types the last line's command, and once more what that one's last line tells where it needs a confirmation.
#[track_caller]
fn type_next(stage: &Stage, ended: &Ended) -> Ended {
    let (_, command) =
        ended.last_line().split_once("; next: ").unwrap_or_else(|| panic!("no command: {}", ended.stderr));
    let typed = stage.sh(command);
    let code = typed.code.unwrap_or_else(|| panic!("{command}: {}", typed.stderr));
    let asks = code == 3 && typed.stderr.contains("no terminal to ask on");
    let is_taken = !matches!(code, 2 | 70) && !typed.stderr.contains("Usage:");
    assert!(is_taken || command.contains("status"), "`{command}` is not taken: {}", typed.stderr);
    if asks { type_next(stage, &typed) } else { typed }
}

/// Who is bound still, by the number of the desktop.
fn bound(stage: &Stage) -> Vec<usize> {
    let numbers = stage.service.bindings().into_iter().map(|(desktop, ..)| desktop[2..].parse().unwrap());
    numbers.collect()
}

/// A run of one desktop a request that was killed while the second request was open.
fn killed(words: &[&str]) -> Stage {
    let stage = with(&[]);
    let stuck = Fault::new(Op::BatchDetach, Effect::Delay(Duration::from_secs(60))).after(1);
    stage.service.app.add_fault(stuck);
    let running = stage.start(&[&RUN[..], &["--max-desktops-per-request=1", "--concurrency=1"], words].concat());
    stage.service.wait_for("two writes came", |log| log.iter().filter(|entry| entry.op.is_write()).count() == 2);
    running.kill();
    stage.service.app.clear_faults();
    stage
}

/// A run that a signal stopped before its first write was answered.
fn stopped(stage: &Stage, words: &[&str]) -> Ended {
    stage.service.app.add_fault(Fault::new(Op::BatchDetach, Effect::Delay(Duration::from_millis(300))));
    let (writes, running) = (stage.service.writes().len(), stage.start(words));
    stage.service.wait_for("a write came", |log| log.iter().filter(|entry| entry.op.is_write()).count() > writes);
    running.signal("INT");
    let ended = running.wait().expect(5);
    stage.service.app.clear_faults();
    ended
}

#[test]
fn p21_after_a_plan_the_command_that_is_told_does_what_was_planned() {
    let mut typed = 0;
    let mut after = |stage: &Stage, words: &[&str], code: i32, left: &[usize]| {
        let ended = type_next(stage, &stage.run(words).expect(code)).expect(0);
        assert_eq!(bound(stage), left, "{words:?}: {}", ended.stderr);
        typed += 1;
    };
    after(&with(&[]), &["plan", "leavers.csv"], 0, &[]);
    after(&with(&[]), &["run", "leavers.csv", "--dry-run"], 0, &[]);
    after(&with(&[]), &["plan", "leavers.csv", "--requests=-"], 0, &[]);
    after(&with(&[]), &["plan", "leavers.csv", "--format=json", "--log-format=text"], 0, &[]);
    after(&with(&[]), &["plan", "leavers.csv", "--max-desktops=4", "--max-percent=100", "--write-rate=100/s"], 0, &[]);
    // Its results go where they were asked for.
    let stage = with(&[]);
    after(&stage, &["plan", "leavers.csv", "--results=o t'her.csv"], 0, &[]);
    assert_eq!(stage.records("o t'her.csv").len(), ROWS);
    // Some of the rows.
    let stage = with(&[]);
    stage.write("leavers.csv", "desktop_id,user_name,outcome\nd-0,u-0,failed\nd-1,u-1,detached\nd-2,u-2,not_sent\n");
    after(&stage, &["plan", "leavers.csv", "--only=failed,not_sent"], 0, &[1, 3]);
    let stage = with(&[]);
    stage.write("leavers.csv", "desktop_id,user_name,end\nd-0,u-0,2026-01-01\nd-1,u-1,2026-01-03\n");
    after(&stage, &["plan", "leavers.csv", "--due-column=end", "--as-of=2026-01-02"], 0, &[1, 2, 3]);
    // How it is read.
    let stage = with(&[]);
    stage.write("leavers.csv", "a title\nDesk $1;Employee `x`\nd-0;u-0\n");
    let columns = ["--column=desktop_id=Desk $1", "--column=user_name=Employee `x`", "--header-row=2", "--delimiter=;"];
    after(&stage, &[&["plan", "leavers.csv"][..], &columns].concat(), 0, &[1, 2, 3]);
    // Where it goes: a file of settings, the simulator.
    let stage = with(&[]);
    let address = stage.service.url();
    stage.write("place.toml", &format!("endpoint = \"{address}\"\niam-endpoint = \"{address}\"\n"));
    let stage = stage.without("BATCH_DETACH_ENDPOINT").without("BATCH_DETACH_IAM_ENDPOINT");
    after(&stage, &["plan", "leavers.csv", "--config=place.toml"], 0, &[]);
    // An undo of one person, whose name has a comma.
    let stage = Stage::new([seat("d-0", "Doe, J."), seat("d-1", "u-1")], Scenario::default());
    stage.write("leavers.csv", "desktop_id,user_name\nd-0,\"Doe, J.\"\nd-1,u-1\n");
    stage.run(&RUN).expect(0);
    after(&stage, &["undo", JOURNAL, "--only-user", "\"Doe, J.\"", "--dry-run"], 0, &[0]);
    after(&stage, &["undo", JOURNAL, "--only-desktop=d-1", "--dry-run", "--results=one.csv"], 0, &[0, 1]);

    // Files of any name.
    for name in [&b"Q3 'leavers' $(x).csv"[..], b"-l.csv", b"caf\xe9.csv", b"two\nlines\x1b[31m.csv", b"a;b&c|d.csv"] {
        let (stage, name) = (with(&[]), OsStr::from_bytes(name));
        fs::rename(stage.path("leavers.csv"), stage.path(".").join(name)).unwrap();
        let mut command = stage.command(&["plan"]);
        let ended = stage
            .spawn({
                command.arg(Path::new(".").join(name));
                command
            })
            .wait()
            .expect(0);
        type_next(&stage, &ended).expect(0);
        assert_eq!(bound(&stage), Vec::<usize>::new(), "{name:?}");
        typed += 1;
    }

    // A rehearsal stays one.
    let stage = with(&[]);
    let ended = type_next(&stage, &stage.run(&["plan", "leavers.csv", "--simulate"]).expect(0)).expect(1);
    let again = type_next(&stage, &ended);
    assert!(again.code.is_some_and(|code| code < 2), "{}", again.stderr);
    assert_eq!((bound(&stage).len(), stage.service.received()), (ROWS, 0));
    assert_eq!(typed + 2, 19, "the number that tests/README.md tells");
}

#[test]
fn p21_after_a_run_the_command_that_is_told_goes_on_with_it() {
    let mut typed = 0;
    let mut after = |stage: &Stage, ended: Ended, code: i32, left: &[usize]| {
        let next = type_next(stage, &ended).expect(code);
        assert_eq!(bound(stage), left, "{}", next.stderr);
        typed += 1;
        next
    };
    // 3: nobody can be asked; a guard; an approved plan that is another one by now.
    let stage = with(&[]);
    after(&stage, stage.run(&["run", "leavers.csv"]).expect(3), 0, &[]);
    let stage = with(&[]);
    let shown = after(&stage, stage.run(&[&RUN[..], &["--max-desktops=3"]].concat()).expect(3), 3, &[0, 1, 2, 3]);
    assert!(shown.stdout.contains("4 desktops touched"), "the plan is shown: {}", shown.stdout);
    let stage = with(&[]);
    stage.write("p.json", &stage.run(&["plan", "leavers.csv", "--format=json"]).expect(0).stdout);
    stage.service.app.world().bind(seat("d-3", "somebody"));
    let words = ["run", "leavers.csv", "--approved=p.json"];
    after(&stage, stage.run(&words).expect(3), 0, &[0, 1, 2, 3, 3]);
    // 1: rows that failed; in use; unknown; invalid.
    let stage = with(&[fails(1)]);
    after(&stage, stage.run(&RUN).expect(1), 0, &[]);
    assert_eq!(stage.records("leavers.retry.results.csv").len(), 1);
    let stage = with(&[fails(2)]);
    after(&stage, stage.run(&[&RUN[..], &["--results=mine.csv", "--delimiter=,"]].concat()).expect(1), 0, &[]);
    let stage = with(&[fails(2)]);
    stage.run(&RUN).expect(1);
    after(&stage, stage.run(&RUN).expect(1), 0, &[]); // it is finished: the same command again
    let stage = with(&[fails(0), fails(3)]);
    let protects = ["--protect=ceo*", "--protect=a b,c"];
    let next = after(&stage, stage.run(&[&RUN[..], &protects].concat()).expect(1), 0, &[]);
    assert!(next.stdout.contains("2 of 2") || next.stdout.contains("detached"), "{}", next.stdout);
    let stage = with(&[(1, Fate::Connected)]);
    let ended = stage.run(&[&RUN[..], &["--in-use=skip"]].concat()).expect(1);
    stage.service.app.world().desktop_mut(&id("d-1")).unwrap().live.login_status = "REGISTERED".into();
    after(&stage, ended, 0, &[]);
    let stage = with(&[]).set("READ_BACK_DEADLINE", "900ms");
    let lost = Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).count(1);
    let blind = Fault::new(Op::ListDesktops, refused(502)).after(2);
    for fault in [lost, blind] {
        stage.service.app.add_fault(fault);
    }
    let ended = stage.run(&RUN);
    stage.service.app.clear_faults();
    assert!(matches!(ended.code, Some(1 | 5)), "{}", ended.stderr);
    after(&stage, ended, 0, &[]);
    let stage = with(&[]);
    stage.write("leavers.csv", "desktop_id,user_name\nd-0,u-0\nd-1,\n");
    let ended = stage.run(&[&RUN[..], &["--on-invalid=skip"]].concat()).expect(1);
    stage.write("leavers.csv", "desktop_id,user_name\nd-0,u-0\nd-1,u-1\n");
    after(&stage, ended, 0, &[2, 3]);
    // 4: no access before the first write.
    let stage = with(&[]);
    stage.service.app.add_fault(Fault::new(Op::ListDesktops, refused(403)).count(1));
    after(&stage, stage.run(&RUN).expect(4), 0, &[]);
    // 5: a signal, twice; time; a brake; a canary; an outage; results that can't be written.
    let stage = with(&[]);
    after(&stage, stopped(&stage, &RUN), 0, &[]);
    let stage = with(&[]);
    let words = ["run", "leavers.csv", "--yes", "--results=a b.csv", "--protect=x y"];
    after(&stage, stopped(&stage, &words), 0, &[]);
    let stage = killed(&[]);
    let ended = stopped(&stage, &["run", JOURNAL, "--yes"]);
    after(&stage, ended, 0, &[]);
    let stage = with(&[]);
    let slowly = ["--max-desktops-per-request=1", "--write-rate=2/s", "--max-runtime=1s"];
    let ended = stage.run(&[&RUN[..], &slowly].concat()).expect(5);
    let again = type_next(&stage, &ended);
    assert!(matches!(again.code, Some(0 | 5)) && bound(&stage).len() < ROWS, "{}", again.stderr);
    let stage = with(&[fails(0)]);
    after(&stage, stage.run(&[&RUN[..], &["--canary=2"]].concat()).expect(5), 0, &[]);
    let stage = with(&[fails(0)]);
    let rows = "d-0,u-0,failed\nd-1,u-1,failed\nd-2,u-2,detached\nd-3,u-3,detached\n";
    stage.write("leavers.csv", &format!("desktop_id,user_name,outcome\n{rows}"));
    stage.run(&[&RUN[..], &["--canary=1", "--only=failed"]].concat()).expect(5);
    // Named by its journal, it is still for those rows alone.
    after(&stage, stage.run(&["run", JOURNAL, "--yes"]).expect(5), 0, &[2, 3]);
    let stage = with(&[]).set("OUTAGE_LIMIT", "700ms");
    stage.service.app.add_fault(Fault::new(Op::BatchDetach, refused(503)));
    let ended = stage.run(&RUN).expect(5);
    stage.service.app.clear_faults();
    after(&stage, ended, 0, &[]);
    let stage = with(&[]);
    stage.service.app.add_fault(Fault::new(Op::BatchDetach, refused(401)));
    let ended = stage.run(&RUN);
    stage.service.app.clear_faults();
    assert!(matches!(ended.code, Some(4 | 5)), "{}", ended.stderr);
    after(&stage, ended, 0, &[]);
    assert_eq!(typed + 1, 19, "the number that tests/README.md tells");
}

#[test]
fn p21_what_status_and_refusals_tell_is_taken_too() {
    let mut typed = 0;
    // What `status` prints is the last line of its output.
    let mut look = |stage: &Stage, journal: &str, code: i32, left: &[usize]| {
        let told = stage.run(&["status", journal]).expect(0).stdout;
        let command = told.trim_end().lines().next_back().unwrap().trim();
        let next = stage.sh(command);
        let next = if next.code == Some(3) { type_next(stage, &next) } else { next }.expect(code);
        assert_eq!(bound(stage), left, "`{command}`: {}", next.stderr);
        typed += 1;
    };
    look(&killed(&[]), JOURNAL, 0, &[]);
    // In a shell that has none of its variables.
    let stage = killed(&["--protect=ceo"]).without("BATCH_DETACH_ENDPOINT").without("BATCH_DETACH_PROJECT_ID");
    look(&stage, JOURNAL, 0, &[]);
    let stage = with(&[fails(3)]);
    stage.run(&RUN).expect(1);
    let stage = stage.without("BATCH_DETACH_ENDPOINT").without("BATCH_DETACH_PROJECT_ID");
    look(&stage, JOURNAL, 0, &[]);
    let stage = with(&[fails(0)]);
    stage.run(&[&RUN[..], &["--canary=1"]].concat()).expect(5);
    look(&stage, JOURNAL, 0, &[]);
    let stage = killed(&[]);
    stage.run(&["undo", JOURNAL, "--yes"]).expect(0);
    look(&stage, JOURNAL, 0, &[0, 1, 2, 3]); // to see where the undo stands
    let stage = killed(&[]);
    stage.run(&["run", "leavers.csv", "--yes", "--simulate", "--results=rehearsed.csv"]).code.unwrap();
    look(&stage, "rehearsed.csv.journal", 0, &bound(&stage));

    // 6: somebody works on it. 2: another run's journal, a newer one, a damaged one; what can't be said.
    let mut told = |stage: &Stage, ended: Ended, code: i32| {
        typed += 1;
        type_next(stage, &ended).expect(code)
    };
    let stage = with(&[]);
    stage.service.app.add_fault(Fault::new(Op::BatchDetach, Effect::Delay(Duration::from_secs(60))));
    let running = stage.start(&RUN);
    stage.service.wait_for("a write came", |log| log.iter().any(|entry| entry.op.is_write()));
    let next = told(&stage, stage.run(&RUN).expect(6), 0);
    assert!(next.stdout.contains("running"), "{}", next.stdout);
    running.kill();
    stage.service.app.clear_faults();
    stage.leavers([("d-0", "u-0")]);
    let next = told(&stage, stage.run(&RUN).expect(2), 0);
    assert!(next.stdout.contains("stopped"), "{}", next.stdout);
    for damage in [60..64, 100..4_000] {
        let stage = with(&[]);
        stage.run(&RUN).expect(0);
        let mut bytes = fs::read(stage.path(JOURNAL)).unwrap();
        bytes[damage].fill(9);
        fs::write(stage.path(JOURNAL), bytes).unwrap();
        told(&stage, stage.run(&RUN).expect(2), 0);
    }
    for words in [&["run", "leavers.csv", "--no-such-option"][..], &["walk"], &["run"]] {
        let next = told(&stage, stage.run(words).expect(2), 0);
        assert!(next.stdout.contains("Usage:"), "{}", next.stdout);
    }
    // An undo that nobody confirmed, that was stopped, that left rows.
    let stage = with(&[]);
    stage.run(&RUN).expect(0);
    told(&stage, stage.run(&["undo", JOURNAL]).expect(3), 0);
    assert_eq!(bound(&stage), [0, 1, 2, 3]);
    let stage = with(&[]);
    stage.run(&RUN).expect(0);
    stage.service.app.add_fault(Fault::new(Op::BatchAttach, refused(503)));
    let stage = stage.set("OUTAGE_LIMIT", "700ms");
    let ended = stage.run(&["undo", JOURNAL, "--yes"]).expect(5);
    stage.service.app.clear_faults();
    told(&stage, ended, 0);
    assert_eq!(bound(&stage), [0, 1, 2, 3]);

    // What can only fail again is not told; what to change is.
    let stage = with(&[]);
    stage.write("bad.csv", "desktop_id,user_name\nd-1,\n");
    for (words, what) in [
        (&["run", "not-there.csv"][..], "See to the file"),
        (&["run", "bad.csv"], "Correct the rows"),
        (&["plan", "bad.csv"], "Correct the rows"),
        (&["run", "leavers.csv", "--write-rate=no"], "Change the setting `write-rate` (option --write-rate)"),
        (&["run", "-", "--yes"], "Change the command"),
        (&["plan", "leavers.csv", "--max-desktops=1"], "raise the limit"),
        (&["run", "leavers.csv", "--dry-run", "--max-percent=1"], "raise the limit"),
        (&["run", "leavers.csv", "--results=leavers.csv"], "Change the command"),
    ] {
        let ended = stage.run(words);
        assert!(matches!(ended.code, Some(2 | 3)), "{words:?}");
        assert!(ended.last_line().contains(what) && !ended.last_line().contains("next:"), "{}", ended.last_line());
    }
    assert_eq!(typed, 15, "the number that tests/README.md tells");
}
