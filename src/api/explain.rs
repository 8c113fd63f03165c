//! Why a server refuses us, in the words of somebody who has to do something about it.

use jiff::{SignedDuration, Timestamp};

use super::codes;
use super::endpoints::WORKSPACE_REGIONS;
use super::fault::ErrorBody;
use super::transport::{Answer, Reply};
use crate::error::Error;
use crate::model::Class;

/// Signatures older or newer than this are refused.
pub(crate) const MAX_SKEW: SignedDuration = SignedDuration::from_mins(15);
/// How long a key stays locked after too many refusals in a row.
const LOCK: SignedDuration = SignedDuration::from_mins(5);

/// What is behind a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Key, secret or token are wrong or no longer good.
    WrongCredentials,
    /// Too many refusals in a row: the key opens again by itself.
    KeyLocked,
    /// This machine's clock and the server's differ too much.
    ClockOff,
    TokenEnded,
    /// The address, the region or the project is not the right one.
    WrongPlace,
    NotActivated,
    /// An IAM action is missing.
    NotPermitted,
    /// The account is frozen.
    Arrears,
    Redirected,
    /// No connection came about.
    Unreachable,
    /// A connection, and no answer.
    NoAnswer,
    Throttled,
    /// A fault of the server, which may pass.
    ServerFault,
    /// Refused for another reason; the text is the server's.
    Other,
}

/// Why we can't work with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    pub cause: Cause,
    /// What is wrong and what to do, with the server's code and text; no secrets.
    pub message: String,
    pub status: Option<u16>,
    /// The server's code, or empty.
    pub code: String,
    pub request_id: Option<String>,
}

impl std::fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProbeFailure {}

impl From<ProbeFailure> for Error {
    fn from(failure: ProbeFailure) -> Self {
        Self::NoAccess(failure.message)
    }
}

/// Who asked whom for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Of the credentials, as [`super::auth::Authenticator::describe`] has it.
    pub who: &'a str,
    /// The server's address.
    pub endpoint: &'a str,
    /// The IAM action that is needed.
    pub action: &'a str,
    /// Whether without this permission a run can do with `--preflight off --verify off`.
    pub only_reads: bool,
}

impl<'a> Asked<'a> {
    /// For a call of the Workspace API.
    pub(crate) fn of(class: Class, who: &'a str, endpoint: &'a str) -> Self {
        Self { who, endpoint, action: action(class), only_reads: !class.is_write() }
    }
}

/// The IAM action that a call needs (for the lists of desktops and users and for a job: as far as is published).
pub const fn action(class: Class) -> &'static str {
    match class {
        Class::BatchDetach => "workspace:desktops:batchDetach",
        Class::BatchAttach => "workspace:desktops:batchAttachUsers",
        Class::ListDesktops => "workspace:desktops:list",
        Class::ShowDesktop => "workspace:desktops:get",
        Class::ShowJob => "workspace:jobs:get",
        Class::ListSubJobs => "workspace:jobs:listSubJobs",
        Class::ListUsers => "workspace:users:list",
    }
}

/// How far this machine's clock is ahead of the server's (behind: negative), by the answer's `Date`, which has whole
/// seconds.
pub(crate) fn skew(answer: &Answer, now: Timestamp) -> Option<SignedDuration> {
    let date = httpdate::parse_http_date(answer.date.as_deref()?).ok()?;
    Some(now.duration_since(Timestamp::try_from(date).ok()?))
}

/// What a reply that is no success means. `now` is the time of its arrival.
pub(crate) fn explain(reply: &Reply, asked: &Asked<'_>, now: Timestamp) -> ProbeFailure {
    let bare = |cause, message| ProbeFailure { cause, message, status: None, code: String::new(), request_id: None };
    match reply {
        Reply::NotSent { cause } => bare(Cause::Unreachable, format!("{cause}{}", unreachable_hint(asked.endpoint))),
        Reply::Lost { cause } => {
            bare(Cause::NoAnswer, format!("{cause}; check the network and the proxy, then run again"))
        }
        Reply::Answer(answer) => explain_answer(answer, asked, now),
    }
}

fn unreachable_hint(endpoint: &str) -> String {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let region = host.strip_prefix("workspace.").and_then(|rest| rest.strip_suffix(".myhuaweicloud.com"));
    match region {
        Some(region) if !WORKSPACE_REGIONS.contains(&region) => {
            format!("; the region {region} is not one where Workspace is known to be: {}", WORKSPACE_REGIONS.join(", "))
        }
        _ => "; check the network, the proxy, --region and --endpoint".to_owned(),
    }
}

fn explain_answer(answer: &Answer, asked: &Asked<'_>, now: Timestamp) -> ProbeFailure {
    let body = ErrorBody::parse(&answer.body);
    let (cause, words) = judge(answer, &body, asked, now);
    let request_id = answer.request_id.clone().or(body.request_id.clone());
    let mut said = format!("HTTP {}", answer.status);
    for part in [Some(&body.code), Some(&body.message)].into_iter().flatten().filter(|part| !part.is_empty()) {
        said.push_str(if said.contains(',') { ": " } else { ", " });
        said.push_str(part);
    }
    if let Some(id) = &request_id {
        said.push_str("; request id ");
        said.push_str(id);
    }
    ProbeFailure {
        cause,
        message: format!("{words} ({said})"),
        status: Some(answer.status),
        code: body.code,
        request_id,
    }
}

fn judge(answer: &Answer, body: &ErrorBody, asked: &Asked<'_>, now: Timestamp) -> (Cause, String) {
    let (who, endpoint) = (asked.who, asked.endpoint);
    let number = body.number();
    match answer.status {
        300..=399 => {
            // Without its query, which may hold what a login page is meant to get.
            let target =
                answer.location.as_deref().and_then(|text| text.split(['?', '#']).next()).unwrap_or("somewhere else");
            (
                Cause::Redirected,
                format!("{endpoint} points to {target}, and redirects are never followed; check --endpoint"),
            )
        }
        401 => unauthorized(answer, body, who, now),
        _ if number == "00010099" || number == "00170117" => (
            Cause::NotActivated,
            "Workspace is not activated in this project and region; check --region and --project-id".to_owned(),
        ),
        403..=405 if body.is_gateway() && matches!(number, "0101" | "0103" | "0310" | "0801" | "0802") => {
            let advice = codes::advice(&body.code, Some(answer.status));
            let words = advice.map_or_else(String::new, |advice| format!("{}; {}", advice.meaning, advice.action));
            (Cause::WrongPlace, format!("{endpoint}: {words}"))
        }
        405 if number == "0502" => (
            Cause::Arrears,
            "the account is frozen, mostly for a payment that is due; settle it, then run again".to_owned(),
        ),
        403 => not_permitted(body, asked),
        404 | 405 => (
            Cause::WrongPlace,
            format!("{endpoint} does not know this request; check --region, --endpoint and --project-id"),
        ),
        407 => (
            Cause::Unreachable,
            "the proxy wants a name and a password; set them in HTTPS_PROXY, or go around it with NO_PROXY".to_owned(),
        ),
        429 => (
            Cause::Throttled,
            "too many requests in a minute, perhaps by another program of this user; wait a minute, then run again"
                .to_owned(),
        ),
        500..=599 => (Cause::ServerFault, format!("{endpoint} has a fault; run again later")),
        200..=299 => {
            (Cause::WrongPlace, format!("{endpoint} answers, and not as the Workspace API does; check --endpoint"))
        }
        _ => {
            let advice = codes::advice(&body.code, Some(answer.status));
            (
                Cause::Other,
                advice.map_or_else(
                    || format!("{endpoint} refuses the request"),
                    |a| format!("{}; {}", a.meaning, a.action),
                ),
            )
        }
    }
}

fn unauthorized(answer: &Answer, body: &ErrorBody, who: &str, now: Timestamp) -> (Cause, String) {
    if let Some(skew) = skew(answer, now).filter(|skew| skew.abs() > MAX_SKEW) {
        let way = if skew.is_negative() { "behind" } else { "ahead of" };
        let words = format!(
            "this machine's clock is {} {way} the server's, and a difference of more than 15 min is refused; set the clock, \
             then run again",
            in_words(skew.abs())
        );
        return (Cause::ClockOff, words);
    }
    let text = body.message.to_ascii_lowercase();
    if text.contains("reach the limit") {
        // The lock ends by the server's clock; it is told in UTC, as all times are.
        let opens = now + LOCK;
        let words = format!(
            "the access key is locked, since more than 5 requests in a row were refused; it opens again by {} UTC if nothing \
             is sent with it until then ({who}); look for another program that uses a wrong secret key",
            opens.strftime("%H:%M:%S")
        );
        return (Cause::KeyLocked, words);
    }
    if text.contains("get secretkey failed") {
        let words = format!(
            "the access key is not known: mistyped, deleted, disabled, or of another site of the cloud; check the {who}"
        );
        return (Cause::WrongCredentials, words);
    }
    if text.contains("aksk signature") {
        let words =
            format!("the signature is refused: the secret key does not belong to the access key; check the {who}");
        return (Cause::WrongCredentials, words);
    }
    if body.number() == "0307" || text.contains("token expires") {
        let words = format!(
            "the token has ended, or is for another region or project; get a new one, and check --region ({who})"
        );
        return (Cause::TokenEnded, words);
    }
    if text.contains("decrypt token") {
        let words = format!("the token can't be read: cut off, of another cloud, or ended; get a new one ({who})");
        return (Cause::TokenEnded, words);
    }
    (Cause::WrongCredentials, format!("the credentials are refused; check the {who}"))
}

fn not_permitted(body: &ErrorBody, asked: &Asked<'_>) -> (Cause, String) {
    let action = action_in(&body.message).unwrap_or(asked.action);
    let mut words =
        format!("the permission is missing: the IAM action {action}; ask the administrator for it ({})", asked.who);
    if asked.only_reads {
        words.push_str("; where only writing is allowed, run with --preflight off --verify off");
    }
    if let Some(encoded) = &body.encoded_authorization_message {
        words.push_str("; the administrator sees the policy that decided by: hcloud STS DecodeAuthorizationMessage --encoded_message=");
        words.push_str(encoded);
    }
    (Cause::NotPermitted, words)
}

/// An IAM action (`service:resource:verb`) that the server names.
fn action_in(message: &str) -> Option<&str> {
    message.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':')).map(|word| word.trim_matches(':')).find(|word| {
        let mut parts = word.split(':');
        let service = parts.next().unwrap_or_default();
        let service = !service.is_empty() && service.bytes().all(|byte| byte.is_ascii_lowercase());
        service
            && parts.clone().count() == 2
            && parts.all(|part| part.bytes().all(|byte| byte.is_ascii_alphabetic()) && !part.is_empty())
    })
}

/// A length of time in its two largest units.
fn in_words(time: SignedDuration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} days {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NOW: &str = "2026-09-15T08:30:00Z";

    fn answer(status: u16, code: &str, message: &str) -> Answer {
        let body = serde_json::json!({ "error_code": code, "error_msg": message }).to_string();
        Answer { status, body: Bytes::from(body), request_id: Some("r1".to_owned()), ..Answer::default() }
    }

    fn explained(answer: Answer) -> ProbeFailure {
        let who = "access key AKPU… from HUAWEICLOUD_SDK_AK";
        let asked = Asked::of(Class::ListDesktops, who, "https://workspace.cn-north-4.myhuaweicloud.com");
        explain(&Reply::Answer(answer), &asked, NOW.parse().unwrap())
    }

    #[test]
    fn refusals_are_told_by_their_cause_and_what_to_do() {
        let head = "Incorrect IAM authentication information: ";
        for (status, code, message, cause, words) in [
            (401, "APIGW.0301", "verify aksk signature fail", Cause::WrongCredentials, "HUAWEICLOUD_SDK_AK"),
            (401, "APIGW.0301", "Get secretKey failed", Cause::WrongCredentials, "not known"),
            (
                401,
                "APIG.0301",
                "AK access failed to reach the limit,forbidden",
                Cause::KeyLocked,
                "opens again by 08:35:00 UTC",
            ),
            (401, "APIGW.0301", "decrypt token fail", Cause::TokenEnded, "new one"),
            (401, "APIGW.0301", "token expires", Cause::TokenEnded, "has ended"),
            (401, "APIGW.0307", "The token must be updated.", Cause::TokenEnded, "--region"),
            (401, "", "", Cause::WrongCredentials, "HUAWEICLOUD_SDK_AK"),
            (403, "WKS.00010099", "The Workspace service is disabled.", Cause::NotActivated, "not activated"),
            (400, "WKS.00170117", "The tenant does not exist.", Cause::NotActivated, "not activated"),
            (403, "APIGW.0802", "forbidden", Cause::WrongPlace, "may not use this region"),
            (404, "APIGW.0101", "The API does not exist", Cause::WrongPlace, "--region"),
            (405, "APIGW.0502", "The app has been frozen.", Cause::Arrears, "payment"),
            (403, "PAP5.0018", "denied", Cause::NotPermitted, "workspace:desktops:list"),
            (429, "APIGW.0308", "over", Cause::Throttled, "wait a minute"),
            (503, "", "", Cause::ServerFault, "run again later"),
        ] {
            let told = explained(answer(status, code, &format!("{head}{message}")));
            assert_eq!(told.cause, cause, "{code} {message}");
            assert!(
                told.message.contains(words) && told.message.contains(&format!("HTTP {status}")),
                "{}",
                told.message
            );
            assert!(told.message.ends_with("request id r1)"), "{}", told.message);
        }
    }

    #[test]
    fn p11_a_clock_that_is_off_is_named_with_its_skew() {
        for (date, words) in [
            ("Tue, 15 Sep 2026 08:50:03 GMT", "20 min 3 s behind"),
            ("Tue, 15 Sep 2026 06:29:00 GMT", "2 h 1 min ahead of"),
            ("Sun, 13 Sep 2026 08:30:00 GMT", "2 days 0 h ahead of"),
        ] {
            let told = explained(Answer {
                date: Some(date.to_owned()),
                ..answer(401, "APIGW.0301", "verify aksk signature fail")
            });
            assert!(told.cause == Cause::ClockOff && told.message.contains(words), "{}", told.message);
        }
        let close = Answer { date: Some("Tue, 15 Sep 2026 08:40:00 GMT".to_owned()), ..answer(401, "", "") };
        assert_eq!(skew(&close, NOW.parse().unwrap()), Some(SignedDuration::from_mins(-10)));
        assert_eq!(explained(close).cause, Cause::WrongCredentials);
        assert_eq!(skew(&answer(401, "", ""), NOW.parse().unwrap()), None);
    }

    #[test]
    fn a_missing_permission_names_the_action_and_how_to_read_the_reason() {
        let body = r#"{"error_code":"PAP5.0018","error_msg":"Policy doesn't allow workspace:desktops:listDetail to be performed.","encoded_authorization_message":"Egpjbi1ub"}"#;
        let told = explained(Answer { status: 403, body: Bytes::from_static(body.as_bytes()), ..Answer::default() });
        assert!(told.message.contains("the IAM action workspace:desktops:listDetail"), "{}", told.message);
        assert!(
            told.message.contains("hcloud STS DecodeAuthorizationMessage --encoded_message=Egpjbi1ub"),
            "{}",
            told.message
        );
        assert!(told.message.contains("--preflight off --verify off"), "{}", told.message);
        let write = Asked::of(Class::BatchDetach, "token", "https://x");
        let told = explain(&Reply::Answer(answer(403, "", "no")), &write, NOW.parse().unwrap());
        assert!(told.message.contains("workspace:desktops:batchDetach") && !told.message.contains("--preflight"));
    }

    #[test]
    fn p20_a_redirect_names_its_target() {
        let told =
            explained(Answer { location: Some("https://other.example/x?t=CANARY".to_owned()), ..answer(307, "", "") });
        assert!(
            told.cause == Cause::Redirected && told.message.contains("https://other.example/x"),
            "{}",
            told.message
        );
    }

    #[test]
    fn an_unreachable_region_that_is_not_known_lists_those_that_are() {
        let reply = Reply::NotSent { cause: "cannot connect".to_owned() };
        let now = NOW.parse().unwrap();
        let asked = Asked::of(Class::ListDesktops, "x", "https://workspace.cn-nort-4.myhuaweicloud.com");
        assert!(
            explain(&reply, &asked, now).message.contains("cn-nort-4 is not one where Workspace is known to be: af-")
        );
        let asked = Asked::of(Class::ListDesktops, "x", "https://workspace.cn-north-4.myhuaweicloud.com");
        assert!(explain(&reply, &asked, now).message.contains("check the network"));
    }
}
