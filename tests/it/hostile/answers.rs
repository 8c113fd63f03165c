//! H: answers that no honest server gives.

use std::time::Duration;

use super::play::{Played, RUNTIME, command, play, run, side_by_side};
use super::proxy::{Prey, Step};

const NO_PAUSE: Duration = Duration::ZERO;

fn ok(body: impl AsRef<[u8]>) -> Step {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    Step::Bytes([head.as_bytes(), body].concat())
}

fn raw(text: &str) -> Step {
    Step::Bytes(text.as_bytes().to_vec())
}

fn open_ended(first: &str) -> Step {
    raw(&format!("HTTP/1.1 200 OK\r\n{first}\r\n"))
}

/// Answers that say nothing about what was done: all of it is a doubt. Each is played for a write that was executed and
/// for one that was not.
fn doubts() -> Vec<(&'static str, Vec<Step>)> {
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes)).into_bytes();
    let slow = Duration::from_millis(30);
    vec![
        ("a slow drip of headers", vec![raw("HTTP/1.1 200 OK\r\n"), Step::Endless(b"A: b\r\n".to_vec(), slow)]),
        ("a slow drip of body", vec![open_ended("Content-Length: 100000\r\n"), Step::Endless(b"x".to_vec(), slow)]),
        (
            "an endless chunked body",
            vec![open_ended("Transfer-Encoding: chunked\r\n"), Step::Endless(chunk(65_536), NO_PAUSE)],
        ),
        (
            "an endless chunked body of one byte a chunk",
            vec![open_ended("Transfer-Encoding: chunked\r\n"), Step::Endless(chunk(1).repeat(10_000), NO_PAUSE)],
        ),
        (
            "a body of 1 GiB",
            vec![open_ended("Content-Length: 1073741824\r\n"), Step::Endless(vec![b' '; 65_536], NO_PAUSE)],
        ),
        ("an endless body without a length", vec![open_ended(""), Step::Endless(vec![b' '; 65_536], NO_PAUSE)]),
        ("100 k headers", vec![raw("HTTP/1.1 200 OK\r\n"), Step::Bytes(b"A: b\r\n".repeat(100_000)), Step::Close]),
        ("endless headers", vec![raw("HTTP/1.1 200 OK\r\n"), Step::Endless(b"A: b\r\n".repeat(1_000), NO_PAUSE)]),
        ("one header of 10 MiB", vec![raw("HTTP/1.1 200 OK\r\nA: "), Step::Bytes(vec![b'a'; 10 << 20]), Step::Close]),
        ("deeply nested JSON", vec![ok("[".repeat(1_000_000))]),
        ("a deeply nested list", vec![ok("{\"failed_operation_list\":".repeat(100_000))]),
        ("a duplicate key", vec![ok(r#"{"failed_operation_list":[],"failed_operation_list":[{"desktop_id":"x"}]}"#)]),
        ("HTML", vec![ok("<html><body>Welcome to the hotel's wireless network</body></html>")]),
        ("an empty body", vec![ok("")]),
        ("blanks alone", vec![ok(" \r\n\t ")]),
        ("invalid UTF-8", vec![ok(b"{\"failed_operation_list\":[],\"job_id\":\"\xff\xfe\"}")]),
        ("UTF-16", vec![ok(b"{\0}\0")]),
        ("a byte order mark", vec![ok(b"\xef\xbb\xbf{\"failed_operation_list\":[]}")]),
        ("NUL bytes", vec![ok([0; 64])]),
        ("two objects", vec![ok("{}{}")]),
        ("an object and then some", vec![ok("{\"failed_operation_list\":[]} trailing")]),
        ("an open object", vec![ok("{\"failed_operation_list\":[]")]),
        ("a list", vec![ok("[]")]),
        ("null", vec![ok("null")]),
        ("a number", vec![ok("200")]),
        ("a text", vec![ok("\"success\"")]),
        ("true", vec![ok("true")]),
        ("an object for a list", vec![ok(r#"{"failed_operation_list":{"desktop_id":"d-0000"}}"#)]),
        ("texts in the list", vec![ok(r#"{"failed_operation_list":["d-0002"]}"#)]),
        ("a number for a job", vec![ok(r#"{"failed_operation_list":[],"job_id":7}"#)]),
        ("a failure without an id", vec![ok(r#"{"failed_operation_list":[{"error_code":"WKS.0001"}]}"#)]),
        (
            "a failure of a desktop that was not sent",
            vec![ok(r#"{"failed_operation_list":[{"desktop_id":"d-9999"}]}"#)],
        ),
        ("compressed", vec![raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x00")]),
        ("a cut body", vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{\"failed_op"), Step::Close]),
        ("a cut chunk", vec![raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), Step::Close]),
        (
            "a chunk size that is none",
            vec![raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")],
        ),
        (
            "a chunk size that overflows",
            vec![raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n")],
        ),
        ("a length below zero", vec![raw("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"), Step::Close]),
        ("two lengths", vec![raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), Step::Close]),
        ("a status of four digits", vec![raw("HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}"), Step::Close]),
        ("no HTTP", vec![raw("220 mail.example.com ESMTP\r\n"), Step::Close]),
        ("HTTP/2", vec![Step::Bytes(b"\0\0\x12\x04\0\0\0\0\0".to_vec()), Step::Close]),
        ("TLS", vec![Step::Bytes(b"\x15\x03\x01\x00\x02\x02\x46".to_vec()), Step::Close]),
        ("JSON without a head", vec![raw("{\"failed_operation_list\":[]}"), Step::Close]),
        ("100 without an end", vec![Step::Endless(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), slow)]),
        (
            "101",
            vec![raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{}"), Step::Close],
        ),
        ("201", vec![raw("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")]),
        ("204", vec![raw("HTTP/1.1 204 No Content\r\n\r\n")]),
        ("206", vec![raw("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\n{}")]),
        ("500 with HTML", vec![raw("HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\n<html>")]),
        (
            "502 with an endless body",
            vec![raw("HTTP/1.1 502 Bad\r\n\r\n"), Step::Endless(vec![b'x'; 65_536], NO_PAUSE)],
        ),
        ("599", vec![raw("HTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n")]),
        ("799", vec![raw("HTTP/1.1 799 X\r\nContent-Length: 0\r\n\r\n")]),
        (
            "control characters in the error",
            vec![raw(
                "HTTP/1.1 500 X\r\nContent-Length: 62\r\n\r\n{\"error_code\":\"\\u001b[2J\",\"error_msg\":\"\\u202etxt.exe\\u0000\\u001b]0;\"}",
            )],
        ),
        ("nothing at all", vec![Step::Close]),
    ]
}

#[test]
fn p18_p02_forty_answers_to_a_write_that_say_nothing_leave_every_outcome_true_and_memory_flat() {
    let cases: Vec<_> =
        doubts().into_iter().flat_map(|(name, steps)| [(name, true, steps.clone()), (name, false, steps)]).collect();
    assert!(cases.len() >= 80);
    side_by_side(&cases, |(name, executed, steps)| {
        let before = if *executed { vec![Step::Execute] } else { Vec::new() };
        let played = play(Prey::Write(2), [before, steps.clone(), vec![Step::Close]].concat());
        let name = format!("{name}, executed: {executed}");
        played.check(&name);
        assert!(played.code == 0 && played.all("detached"), "{name}: {:?}\n{}", played.outcomes, played.stderr);
        assert_eq!(played.proxy.hits(), 1, "{name}");
        // What was done is not sent again; what was not done is sent once more.
        assert_eq!(played.writes(), if *executed { 3 } else { 4 }, "{name}: {}", played.stderr);
    });
}

#[test]
fn p18_p02_the_same_answers_to_a_read_are_no_word_about_anybody() {
    // Reads have a larger cap, and an answer in which nobody is bound looks like success.
    let mut cases = doubts();
    cases.extend([
        ("a read without its list", vec![ok("{}")]),
        ("a list that is null", vec![ok(r#"{"desktops":null,"total_count":0}"#)]),
        ("an empty list", vec![ok(r#"{"desktops":[],"total_count":0}"#)]),
        ("desktops without bindings", vec![ok(r#"{"desktops":[{"desktop_id":"d-0000"},{"desktop_id":"d-0002"}]}"#)]),
        ("a text for the bindings", vec![ok(r#"{"desktops":[{"desktop_id":"d-0000","attach_user_infos":"none"}]}"#)]),
    ]);
    side_by_side(&cases, |(name, steps)| {
        let played = play(Prey::Read(1), [steps.clone(), vec![Step::Close]].concat());
        played.check(name);
        assert!(played.code == 0 && played.all("detached"), "{name}: {:?}\n{}", played.outcomes, played.stderr);
        assert_eq!((played.proxy.hits(), played.writes()), (1, 3), "{name}: {}", played.stderr);
    });
}

#[test]
fn p02_where_no_read_is_ever_good_again_what_was_sent_is_unknown() {
    let empty = vec![ok(r#"{"desktops":[],"total_count":0}"#)];
    let html = vec![ok("<html>")];
    let cases = [("HTML for ever", html), ("empty lists for ever", empty)];
    side_by_side(&cases, |(name, steps)| {
        let played = play(Prey::EveryRead, steps.clone());
        played.check(name);
        assert!(matches!(played.code, 1 | 5), "{name}: {} {}", played.code, played.stderr);
        assert!(played.all("unknown"), "{name}: {:?}", played.outcomes);
        assert_eq!(played.writes(), 3, "{name}: p07: something was sent again");
    });
}

#[test]
fn p10_a_write_that_is_answered_with_nonsense_for_ever_is_repeated_five_times_at_most() {
    let played = play(Prey::EveryWrite, vec![ok("<html>")]);
    played.check("HTML to every write");
    assert_eq!(played.code, 1, "{}", played.stderr);
    assert!(played.all("failed"), "{:?}", played.outcomes);
    assert!(played.writes() <= 15, "{} writes", played.writes());
}

#[test]
fn p20_a_redirect_of_a_write_stops_the_run_and_its_target_is_never_connected_to() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let target = elsewhere.local_addr().unwrap();
    side_by_side(&[301, 302, 303, 307, 308], |status| {
        let answer = format!("HTTP/1.1 {status} X\r\nLocation: http://{target}/v2\r\nContent-Length: 0\r\n\r\n");
        let played = play(Prey::EveryWrite, vec![raw(&answer)]);
        played.check(&format!("{status}"));
        assert_eq!(played.code, 4, "{status}, before anything was done: {}", played.stderr);
        assert!(played.stderr.contains("redirect to 127.0.0.1"), "the target is not named: {}", played.stderr);
        assert!(played.all("not_sent"), "{:?}", played.outcomes);

        // Also where the answer to the write before is still on its way (it was told as "before anything was sent").
        let played = play(Prey::Write(2), vec![raw(&answer)]);
        played.check(&format!("{status}"));
        assert_eq!(played.code, 5, "{status}, after a write: {}", played.stderr);
        assert!(played.outcomes.values().any(|outcome| outcome == "not_sent"), "{:?}", played.outcomes);
    });
    assert!(elsewhere.accept().is_err(), "somebody connected");
}

#[test]
fn answers_that_are_odd_and_yet_complete_are_taken() {
    let cases: Vec<(&str, Vec<Step>)> = vec![
        ("an unknown key", vec![Step::Execute, ok(r#"{"failed_operation_list":[],"x":[{"y":null}],"job_id":""}"#)]),
        ("a null list", vec![Step::Execute, ok(r#"{"failed_operation_list":null}"#)]),
        ("an empty object", vec![Step::Execute, ok("{}")]),
        ("blanks around", vec![Step::Execute, ok("\r\n {} \r\n")]),
        ("without a length", vec![Step::Execute, Step::AnswerUnder("HTTP/1.1 200 OK\r\n\r\n"), Step::Close]),
        ("HTTP/1.0", vec![Step::Execute, Step::AnswerUnder("HTTP/1.0 200 OK\r\n\r\n"), Step::Close]),
        ("no reason", vec![Step::Execute, Step::AnswerUnder("HTTP/1.1 200\r\nConnection: close\r\n\r\n"), Step::Close]),
        ("100 first", vec![Step::Execute, raw("HTTP/1.1 100 Continue\r\n\r\n"), Step::Answer]),
        (
            "text/html",
            vec![Step::Execute, Step::AnswerUnder("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"), Step::Close],
        ),
        (
            "strange headers",
            vec![
                Step::Execute,
                Step::AnswerUnder("HTTP/1.1 200 OK\r\nX-Request-Id: \x1b[2J\r\nRetry-After: -1\r\n\r\n"),
                Step::Close,
            ],
        ),
    ];
    side_by_side(&cases, |(name, steps)| {
        let played = play(Prey::Write(2), steps.clone());
        played.check(name);
        assert!(played.code == 0 && played.all("detached"), "{name}: {:?}\n{}", played.outcomes, played.stderr);
        assert_eq!((played.proxy.hits(), played.writes()), (1, 3), "{name}: {}", played.stderr);
    });
}

#[test]
fn p20_a_plain_server_on_the_tls_port_is_found_out_before_anything_is_sent() {
    let played: Played = play(Prey::Nothing, Vec::new());
    let directory = tempfile::tempdir().unwrap();
    let asked = played.proxy.seen().len();
    let endpoint = format!("https://{}", played.proxy.address);
    let mut command = command(directory.path(), &endpoint);
    let (code, stderr, ..) = run(&mut command, directory.path(), "desktop_id,user_name\nd-0000,u-0\n");
    assert_eq!(code, 4, "{stderr}");
    assert_eq!(played.proxy.seen().len(), asked, "a request reached it");
    assert!(!directory.path().join("leavers.results.csv.journal").exists());
    drop(RUNTIME.enter());
}
