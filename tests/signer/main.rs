//! The signer as a program, so that another implementation can be compared with it.
//!
//! With `BATCH_DETACH_SIGN_LINES` set it reads requests from standard input, one JSON object a line, and answers each
//! with its `Authorization`, a line each: `tests/python/sign_against_sdk.py` talks to it. Without, it checks that these
//! lines give the official vectors' signatures.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use batch_detach::testing::api::auth::canonical;
use batch_detach::testing::api::auth::sign::{Key, Scheme, authorization, sign};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// One line.
#[derive(Deserialize)]
struct Line {
    access: String,
    secret: String,
    method: String,
    /// `X-Sdk-Date`.
    date: String,
    /// As on the wire.
    path: String,
    /// As on the wire, without the `?`.
    query: String,
    host: String,
    body: String,
    #[serde(default)]
    project_id: Option<String>,
    #[serde(default)]
    security_token: Option<String>,
    /// Exactly these are signed; without them, those that the program itself signs.
    #[serde(default)]
    headers: Option<Vec<(String, String)>>,
}

fn answer(line: &str) -> Result<String, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let key = Key::new(&line.access, &line.secret, line.security_token.as_deref());
    if let Some(headers) = line.headers {
        let mut headers: Vec<(String, String)> = headers
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), value))
            .filter(|(name, _)| !name.contains('_'))
            .collect();
        headers.sort();
        let given = headers.iter().find(|(name, _)| name == "x-sdk-content-sha256" && !line.body.is_empty());
        let hash = given.map_or_else(|| canonical::payload_hash(line.body.as_bytes()), |(_, hash)| hash.clone());
        let text = canonical::request(&line.method, &line.path, &line.query, &headers, &hash);
        return Ok(authorization(&key, Scheme::Plain, &line.date, &text, &canonical::signed_names(&headers)));
    }
    let question = if line.query.is_empty() { "" } else { "?" };
    let request = http::Request::builder()
        .method(line.method.as_str())
        .uri(format!("https://{}{}{question}{}", line.host, line.path, line.query));
    let mut request = match &line.project_id {
        Some(project) => request.header("X-Project-Id", project),
        None => request,
    }
    .body(Bytes::from(line.body))
    .map_err(|error| error.to_string())?;
    let now = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", &line.date)
        .and_then(|time| time.to_datetime())
        .and_then(|time| jiff::tz::Offset::UTC.to_timestamp(time))
        .map_err(|error| error.to_string())?;
    sign(&mut request, &key, now)?;
    let value = request.headers().get("authorization").ok_or("no Authorization")?;
    value.to_str().map(str::to_owned).map_err(|error| error.to_string())
}

/// Answers lines until the input ends.
fn serve() -> io::Result<()> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        writeln!(output, "{}", answer(&line?).unwrap_or_else(|problem| format!("error: {problem}")))?;
        output.flush()?;
    }
    Ok(())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// The line for a vector, with the headers that the official signer sends.
fn line_of(vector: &Value) -> Value {
    let (input, expected) = (&vector["input"], &vector["expected"]);
    let sent = expected["headers_sent_besides_authorization"].as_object().cloned().unwrap_or_default();
    let mut headers: Vec<(String, String)> =
        sent.iter().map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap_or_default().to_owned())).collect();
    // That signer sends ISO 8859-1 and signs UTF-8: the value as it was given is the one that is signed.
    let given = input["headers"].as_array().cloned().unwrap_or_default();
    for pair in given {
        let name = pair[0].as_str().unwrap_or_default().to_lowercase();
        for (_, value) in headers.iter_mut().filter(|(known, _)| *known == name) {
            pair[1].as_str().unwrap_or_default().clone_into(value);
        }
    }
    let date = headers.iter().find(|(name, _)| name == "x-sdk-date").map(|(_, value)| value.clone());
    let part = |value: &Value| canonical::encode(value.as_str().unwrap_or_default());
    let query: Vec<String> = input["query"]
        .as_array()
        .map(|pairs| pairs.iter().map(|pair| format!("{}={}", part(&pair[0]), part(&pair[1]))).collect())
        .unwrap_or_default();
    serde_json::json!({
        "access": input["access_key"], "secret": input["secret_key"], "method": input["method"], "date": date,
        "path": input["path"], "query": query.join("&"), "host": input["host"], "body": input["body"], "headers": headers,
    })
}

fn check() -> io::Result<ExitCode> {
    let mut output = io::stdout().lock();
    let file: Value = serde_json::from_str(include_str!("../data/signing-vectors.json"))?;
    let vectors = file["vectors"].as_array().cloned().unwrap_or_default();
    let (mut passed, mut failed) = (0, 0);
    // A derived key is for endpoints that nobody has asked for yet; `auth::sign` tests it.
    for vector in vectors.iter().filter(|vector| vector["input"]["derived_auth"].is_null()) {
        let signed = answer(&line_of(vector).to_string());
        if signed.as_ref().is_ok_and(|signed| signed == text(&vector["expected"], "authorization")) {
            passed += 1;
        } else {
            failed += 1;
            writeln!(output, "{}: {signed:?}", text(vector, "name"))?;
        }
    }
    writeln!(output, "{passed} passed, {failed} failed")?;
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn main() -> io::Result<ExitCode> {
    if std::env::var_os("BATCH_DETACH_SIGN_LINES").is_some() {
        return serve().map(|()| ExitCode::SUCCESS);
    }
    // What test runners ask of a test binary.
    if std::env::args().any(|argument| argument == "--list") {
        if !std::env::args().any(|argument| argument == "--ignored") {
            writeln!(io::stdout(), "official_vectors: test")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    check()
}
