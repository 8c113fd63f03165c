//! Why a server refuses us, in the words of somebody who has to do something about it.

use jiff::{SignedDuration, Timestamp};

use super::classify::{Meaning, classify, redirect_target};
use super::codes;
use super::endpoints::WORKSPACE_REGIONS;
use super::fault::ErrorBody;
use super::transport::{Answer, Reply, skew};
use crate::model::Class;

/// Signatures older or newer than this are refused.
pub(crate) const MAX_SKEW: SignedDuration = SignedDuration::from_mins(15);
/// How long a key stays locked after too many refusals in a row.
const LOCK: SignedDuration = SignedDuration::from_mins(5);

/// A 407.
pub(crate) const PROXY: &str = "the proxy wants a name and a password, or refuses those it was given; set them in \
    HTTPS_PROXY, or go around it with NO_PROXY";

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
        Self { who, endpoint, action: action(class), only_reads: class.is_of_bindings() && !class.is_write() }
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
        Class::ListUserGroups => "workspace:userGroups:list",
        Class::ListGroupUsers => "workspace:userGroups:getUsers",
        Class::ListPools => "workspace:desktopPools:list",
        Class::ListPoolUsers => "workspace:desktopPools:listUsers",
    }
}

/// What a reply that is no success means, and what to do about it: with the server's code and words, and without
/// secrets. `now` is the time of its arrival.
pub(crate) fn explain(reply: &Reply, asked: &Asked<'_>, now: Timestamp) -> String {
    match reply {
        Reply::NotSent { cause } => format!("{cause}{}", unreachable_hint(asked.endpoint)),
        Reply::Lost { cause } => format!("{cause}; check the network and the proxy, then run again"),
        Reply::Answer(answer) => {
            let body = ErrorBody::parse(&answer.body);
            let words = words(classify(reply).meaning, answer, &body, asked, now);
            format!("{words} ({})", said(answer, &body))
        }
    }
}

/// What the server said, in its own words.
fn said(answer: &Answer, body: &ErrorBody) -> String {
    let mut said = format!("HTTP {}", answer.status);
    for part in [&body.code, &body.message].into_iter().filter(|part| !part.is_empty()) {
        said.push_str(if said.contains(',') { ": " } else { ", " });
        said.push_str(part);
    }
    if let Some(id) = answer.request_id.as_ref().or(body.request_id.as_ref()) {
        said.push_str("; request id ");
        said.push_str(id);
    }
    said
}

/// Of a region that may not have the service: those that have it.
fn unreachable_hint(endpoint: &str) -> String {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let region = host.strip_prefix("workspace.").and_then(|rest| rest.strip_suffix(".myhuaweicloud.com"));
    match region {
        Some(region) if !WORKSPACE_REGIONS.contains(&region) => {
            format!("; the region {region} is not one where Workspace is known to be: {}", WORKSPACE_REGIONS.join(", "))
        }
        _ => String::new(),
    }
}

fn words(meaning: Meaning, answer: &Answer, body: &ErrorBody, asked: &Asked<'_>, now: Timestamp) -> String {
    let endpoint = asked.endpoint;
    let advice = || codes::advice(&body.code, Some(answer.status)).filter(|_| !body.code.is_empty());
    let advised = || advice().map(|advice| format!("{endpoint}: {}; {}", advice.meaning, advice.action));
    match meaning {
        Meaning::Redirected => format!(
            "{endpoint} points to {}, and redirects are never followed; check --endpoint",
            redirect_target(answer)
        ),
        Meaning::Credentials => unauthorized(answer, body, asked.who, now),
        Meaning::NotActivated => {
            "Workspace is not activated in this project and region; check --region and --project-id".to_owned()
        }
        Meaning::NotPermitted => not_permitted(body, asked),
        Meaning::Blocked => advised().unwrap_or_else(|| blocked(asked)),
        Meaning::WrongPlace => advised().unwrap_or_else(|| {
            format!("{endpoint} does not know this request; check --region, --endpoint and --project-id")
        }),
        Meaning::Proxy => PROXY.to_owned(),
        Meaning::Throttled => {
            "too many requests in a minute, perhaps by another program of this user; wait a minute, then run again"
                .to_owned()
        }
        Meaning::ServerFault | Meaning::Unchecked => format!("{endpoint} has a fault; run again later"),
        Meaning::Complete | Meaning::Unclear if (200..300).contains(&answer.status) && body.code.is_empty() => {
            format!("{endpoint} answers, and not as the Workspace API does; check --endpoint")
        }
        _ => codes::advice(&body.code, Some(answer.status)).map_or_else(
            || format!("{endpoint} refuses the request"),
            |advice| format!("{}; {}", advice.meaning, advice.action),
        ),
    }
}

/// A 403 that no service gave: the gateway, or whatever stands before it, lets nothing through.
fn blocked(asked: &Asked<'_>) -> String {
    format!(
        "{} does not let this request through; check --endpoint, the network's own filters, and that the IAM user may use the \
         API ({})",
        asked.endpoint, asked.who
    )
}

/// How far this machine's clock is off, where that alone is why credentials are refused.
pub(crate) fn clock_is_off(answer: &Answer, now: Timestamp) -> Option<String> {
    let skew = skew(answer, now).filter(|skew| skew.abs() > MAX_SKEW)?;
    let way = if skew.is_negative() { "behind" } else { "ahead of" };
    Some(format!(
        "this machine's clock is {} {way} the server's, and a difference of more than 15 min is refused; set the clock, \
         then run again",
        in_words(skew.abs())
    ))
}

fn unauthorized(answer: &Answer, body: &ErrorBody, who: &str, now: Timestamp) -> String {
    if let Some(words) = clock_is_off(answer, now) {
        return words;
    }
    let text = body.message.to_ascii_lowercase();
    if text.contains("reach the limit") {
        // The lock ends by the server's clock; it is told in UTC, as all times are.
        let opens = now + LOCK;
        return format!(
            "the access key is locked, since more than 5 requests in a row were refused; it opens again by {} UTC if nothing \
             is sent with it until then ({who}); look for another program that uses a wrong secret key",
            opens.strftime("%H:%M:%S")
        );
    }
    if text.contains("get secretkey failed") {
        return format!(
            "the access key is not known: mistyped, deleted, disabled, or of another site of the cloud; check the {who}"
        );
    }
    if text.contains("aksk signature") {
        return format!("the signature is refused: the secret key does not belong to the access key; check the {who}");
    }
    if body.number() == "0307" || text.contains("token expires") || text.contains("token expired") {
        return format!(
            "the token has ended, or is for another region or project; get a new one, and check --region ({who})"
        );
    }
    if text.contains("decrypt token") {
        return format!("the token can't be read: cut off, of another cloud, or ended; get a new one ({who})");
    }
    format!("the credentials are refused; check the {who}")
}

fn not_permitted(body: &ErrorBody, asked: &Asked<'_>) -> String {
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
    words
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

    fn explained(answer: Answer) -> String {
        let who = "access key …0001 from HUAWEICLOUD_SDK_AK";
        let asked = Asked::of(Class::ListDesktops, who, "https://workspace.cn-north-4.myhuaweicloud.com");
        explain(&Reply::Answer(answer), &asked, NOW.parse().unwrap())
    }

    #[test]
    fn refusals_are_told_by_their_cause_and_what_to_do() {
        let head = "Incorrect IAM authentication information: ";
        for (status, code, message, words) in [
            (401, "APIGW.0301", "verify aksk signature fail", "HUAWEICLOUD_SDK_AK"),
            (401, "APIGW.0301", "Get secretKey failed", "not known"),
            (401, "APIG.0301", "AK access failed to reach the limit,forbidden", "opens again by 08:35:00 UTC"),
            (401, "APIGW.0301", "decrypt token fail", "new one"),
            (401, "APIGW.0301", "token expires", "has ended"),
            (401, "APIGW.0307", "The token must be updated.", "--region"),
            (401, "", "", "HUAWEICLOUD_SDK_AK"),
            (403, "WKS.00010099", "The Workspace service is disabled.", "not activated"),
            (400, "WKS.00170117", "The tenant does not exist.", "not activated"),
            (403, "APIGW.0802", "forbidden", "may not use this region"),
            (404, "APIGW.0101", "The API does not exist", "--region"),
            (405, "APIGW.0502", "The app has been frozen.", "payment"),
            (403, "PAP5.0018", "denied", "workspace:desktops:list"),
            (429, "APIGW.0308", "over", "wait a minute"),
            (503, "", "", "run again later"),
        ] {
            let told = explained(answer(status, code, &format!("{head}{message}")));
            assert!(told.contains(words) && told.contains(&format!("HTTP {status}")), "{}", told);
            assert!(told.ends_with("request id r1)"), "{}", told);
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
            assert!(told.contains(words), "{}", told);
        }
        let close = Answer { date: Some("Tue, 15 Sep 2026 08:40:00 GMT".to_owned()), ..answer(401, "", "") };
        assert_eq!(skew(&close, NOW.parse().unwrap()), Some(SignedDuration::from_mins(-10)));
        assert!(explained(close).contains("the credentials are refused"));
        assert_eq!(skew(&answer(401, "", ""), NOW.parse().unwrap()), None);
    }

    #[test]
    fn a_missing_permission_names_the_action_and_how_to_read_the_reason() {
        let body = r#"{"error_code":"PAP5.0018","error_msg":"Policy doesn't allow workspace:desktops:listDetail to be performed.","encoded_authorization_message":"Egpjbi1ub"}"#;
        let told = explained(Answer { status: 403, body: Bytes::from_static(body.as_bytes()), ..Answer::default() });
        assert!(told.contains("the IAM action workspace:desktops:listDetail"), "{}", told);
        assert!(told.contains("hcloud STS DecodeAuthorizationMessage --encoded_message=Egpjbi1ub"), "{}", told);
        assert!(told.contains("--preflight off --verify off"), "{}", told);
        let write = Asked::of(Class::BatchDetach, "token", "https://x");
        let told = explain(&Reply::Answer(answer(403, "PAP5.0018", "no")), &write, NOW.parse().unwrap());
        assert!(told.contains("workspace:desktops:batchDetach") && !told.contains("--preflight"));
    }

    #[test]
    fn p20_a_redirect_names_its_target() {
        let told =
            explained(Answer { location: Some("https://other.example/x?t=CANARY".to_owned()), ..answer(307, "", "") });
        assert!(told.contains("https://other.example/x"), "{}", told);
    }

    #[test]
    fn an_unreachable_region_that_is_not_known_lists_those_that_are() {
        let reply = Reply::NotSent { cause: "cannot connect".to_owned() };
        let now = NOW.parse().unwrap();
        let asked = Asked::of(Class::ListDesktops, "x", "https://workspace.cn-nort-4.myhuaweicloud.com");
        assert!(explain(&reply, &asked, now).contains("cn-nort-4 is not one where Workspace is known to be: af-"));
        let asked = Asked::of(Class::ListDesktops, "x", "https://workspace.cn-north-4.myhuaweicloud.com");
        assert_eq!(explain(&reply, &asked, now), "cannot connect");
    }
}
