//! What an answer to a write means: the table of RELIABILITY.md section 4, as a pure function.

use crate::api::wire::WriteAnswer;
use crate::api::{Answer, ErrorBody, Reply};
use crate::model::Refusal;
use crate::pace::{ThrottleHint, parse_limit_text, parse_retry_after};
use crate::text::escape_untrusted;

/// What became of one write, and so what may be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// A complete 200: the desktops in `refused` were not taken, all others were.
    Taken { refused: Vec<(String, Refusal)>, job_id: String, success_jobs: Vec<String> },
    /// It may or may not have been executed: only a read-back tells. Never repeated blindly.
    Doubt { cause: Refusal },
    /// No connection: not executed, spends no attempt.
    NotSent { cause: String },
    /// 429: not executed, spends no attempt.
    Throttled { hint: ThrottleHint, cause: Refusal },
    /// The gateway could not check the request just now: not executed.
    Later { cause: Refusal },
    /// 401: not executed.
    Unauthorized { cause: Refusal },
    /// Some desktop is busy: not executed; the reads tell which.
    Busy { cause: Refusal },
    /// Refused as a whole, perhaps because of one desktop: not executed; divide it.
    Divide { cause: Refusal },
    /// Not permitted: not executed. One desktop may be the cause, or the caller lacks the right.
    Forbidden { cause: Refusal },
    /// The request can't succeed here at all: not executed; the run stops.
    Halt { cause: Refusal, why: String },
}

impl Verdict {
    /// Whether this reply proves that the service answers us: what ends an outage.
    pub const fn is_answer(&self) -> bool {
        !matches!(self, Self::NotSent { .. } | Self::Doubt { .. })
    }
}

/// Numbers of gateway codes that speak of credentials.
const CREDENTIALS: [&str; 5] = ["0301", "0303", "0305", "0307", "0311"];
/// Numbers of gateway codes that mean a wrong address, region, account or client: nothing will get through.
const HOPELESS: [&str; 16] = [
    "0101", "0103", "0302", "0304", "0306", "0310", "0401", "0402", "0404", "0501", "0502", "0607", "0801", "0802",
    "0104", "0105",
];
/// Codes of the service that mean: not for this tenant, whatever is asked.
const NOT_SERVED: [&str; 2] = ["WKS.00010099", "WKS.00170117"];

/// Whether a refusal says that the desktop is busy, or that the same may be tried again.
pub fn is_passing(refusal: &Refusal) -> bool {
    ["WKS.0407", "WKS.00010032"].contains(&refusal.code.as_str())
        || refusal.code.contains("CAN_DEATTACH_AGAIN")
        || refusal.message.contains("CAN_DEATTACH_AGAIN")
        || refusal.code.contains("CAN_ATTACH_AGAIN")
        || refusal.message.contains("CAN_ATTACH_AGAIN")
}

/// Judges the reply to a write; `was_sent`: whether it carried this desktop. Codes come first, then the status.
pub fn judge(reply: &Reply, was_sent: impl Fn(&str) -> bool) -> Verdict {
    let answer = match reply {
        Reply::NotSent { cause } => return Verdict::NotSent { cause: escape_untrusted(cause, 300) },
        Reply::Lost { cause } => {
            return Verdict::Doubt {
                cause: Refusal { code: "NO_ANSWER".to_owned(), message: escape_untrusted(cause, 300) },
            };
        }
        Reply::Answer(answer) => answer,
    };
    if answer.status == 200 { taken(answer, was_sent) } else { refused(answer) }
}

fn taken(answer: &Answer, was_sent: impl Fn(&str) -> bool) -> Verdict {
    let doubt = |message: String| Verdict::Doubt { cause: Refusal { code: "UNCLEAR_ANSWER".to_owned(), message } };
    // Only an object: serde would also read a sequence of fields in their order, which no server means.
    if answer.body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return doubt("the answer is not a JSON object".to_owned());
    }
    let told: WriteAnswer = match serde_json::from_slice(&answer.body) {
        Ok(told) => told,
        Err(error) => return doubt(escape_untrusted(&format!("the answer cannot be read: {error}"), 300)),
    };
    if let Some(foreign) = told.failed_operation_list.iter().find(|failed| !was_sent(&failed.desktop_id)) {
        return doubt(format!(
            "the answer names a desktop that was not sent: {:?}",
            escape_untrusted(&foreign.desktop_id, 60)
        ));
    }
    let refused = told.failed_operation_list.into_iter().map(|failed| {
        let code =
            if failed.error_code.is_empty() { "REFUSED".to_owned() } else { escape_untrusted(&failed.error_code, 255) };
        (failed.desktop_id, Refusal { code, message: escape_untrusted(&failed.error_msg, crate::api::fault::MAX_TEXT) })
    });
    Verdict::Taken {
        refused: refused.collect(),
        job_id: escape_untrusted(&told.job_id, 255),
        success_jobs: told.success_job_ids.iter().map(|id| escape_untrusted(id, 255)).collect(),
    }
}

/// Code and message of an answer that is not a 200, as a row will show them.
pub(crate) fn refusal_of(answer: &Answer) -> (ErrorBody, Refusal) {
    let body = ErrorBody::parse(&answer.body);
    let code = if body.code.is_empty() { format!("HTTP_{}", answer.status) } else { body.code.clone() };
    let message = if body.message.is_empty() { format!("HTTP status {}", answer.status) } else { body.message.clone() };
    (body, Refusal { code, message })
}

fn refused(answer: &Answer) -> Verdict {
    let (body, cause) = refusal_of(answer);
    let number = body.number();
    let hint = || ThrottleHint {
        retry_after: answer.retry_after.as_deref().and_then(|value| parse_retry_after(value, answer.date.as_deref())),
        limit: parse_limit_text(&cause.message),
    };
    if body.is_gateway() {
        if number == "0308" {
            return Verdict::Throttled { hint: hint(), cause };
        }
        if number == "0613" {
            return Verdict::Later { cause };
        }
        if CREDENTIALS.contains(&number) {
            return Verdict::Unauthorized { cause };
        }
        if HOPELESS.contains(&number) && !(500..600).contains(&answer.status) {
            let why = format!("the gateway refuses this API, region or account ({}: {})", cause.code, cause.message);
            return Verdict::Halt { cause, why };
        }
    }
    if NOT_SERVED.contains(&body.code.as_str()) {
        let why = format!("Workspace is not active here ({}: {})", cause.code, cause.message);
        return Verdict::Halt { cause, why };
    }
    if is_passing(&cause) && (400..500).contains(&answer.status) {
        return Verdict::Busy { cause };
    }
    match answer.status {
        300..=399 => {
            let host = answer.location.as_deref().map_or_else(|| "another place".to_owned(), host_of);
            let why = format!("the endpoint answers with a redirect to {host}; redirects are never followed");
            Verdict::Halt { cause, why }
        }
        401 => Verdict::Unauthorized { cause },
        403 if body.is_gateway() || body.code.is_empty() => {
            let why = format!("the gateway forbids it ({}: {})", cause.code, cause.message);
            Verdict::Halt { cause, why }
        }
        403 => Verdict::Forbidden { cause },
        404 if body.is_gateway() || body.code.is_empty() => {
            let why = format!("there is no such API at this endpoint ({}: {})", cause.code, cause.message);
            Verdict::Halt { cause, why }
        }
        405 | 407 | 494 => {
            let why = format!("the endpoint does not take such requests ({}: {})", cause.code, cause.message);
            Verdict::Halt { cause, why }
        }
        409 => Verdict::Busy { cause },
        400 | 404 | 413 => Verdict::Divide { cause },
        429 => Verdict::Throttled { hint: hint(), cause },
        // 408, every 5xx, every other 2xx and whatever nobody has heard of: it may have been executed.
        _ => Verdict::Doubt { cause },
    }
}

/// The host that a `Location` names, safe to print.
fn host_of(location: &str) -> String {
    let host = location.split_once("://").map_or(location, |(_, rest)| rest);
    escape_untrusted(host.split(['/', '?', '#']).next().unwrap_or(host), 100)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Taken { .. } => "taken",
            Verdict::Doubt { .. } => "doubt",
            Verdict::NotSent { .. } => "not sent",
            Verdict::Throttled { .. } => "throttled",
            Verdict::Later { .. } => "later",
            Verdict::Unauthorized { .. } => "unauthorized",
            Verdict::Busy { .. } => "busy",
            Verdict::Divide { .. } => "divide",
            Verdict::Forbidden { .. } => "forbidden",
            Verdict::Halt { .. } => "halt",
        }
    }

    fn answer(status: u16, body: &str) -> Reply {
        Reply::Answer(Answer { status, body: Bytes::copy_from_slice(body.as_bytes()), ..Answer::default() })
    }

    /// The golden table: status, body, what it means.
    const TABLE: &[(u16, &str, &str)] = &[
        (200, r"{}", "taken"),
        (200, r#"{"failed_operation_list":null,"job_id":null}"#, "taken"),
        (200, r#"{"failed_operation_list":[]}"#, "taken"),
        (200, r#"{"failed_operation_list":[{"desktop_id":"a","error_code":"WKS.1"}]}"#, "taken"),
        (200, r#"{"failed_operation_list":[{"desktop_id":"zz","error_code":"WKS.1"}]}"#, "doubt"),
        (200, r#"{"failed_operation_list":[{"desktop_id":""}]}"#, "doubt"),
        (200, r#"{"failed_operation_list":"none"}"#, "doubt"),
        (200, r#"{"job_id":"x","job_id":"y"}"#, "doubt"),
        (200, r#"{"job_id":"#, "doubt"),
        (200, "", "doubt"),
        (200, "[]", "doubt"),
        (200, "<html></html>", "doubt"),
        (201, "{}", "doubt"),
        (202, "{}", "doubt"),
        (204, "", "doubt"),
        (301, "", "halt"),
        (307, "", "halt"),
        (400, r#"{"error_code":"WKS.0001","error_msg":"x"}"#, "divide"),
        (400, r#"{"error_code":"APIGW.0201","error_msg":"x"}"#, "divide"),
        (400, "", "divide"),
        (400, r#"{"error_code":"WKS.0407","error_msg":"disks are being added"}"#, "busy"),
        (400, r#"{"error_code":"WKS.00170117","error_msg":"no tenant"}"#, "halt"),
        (401, "", "unauthorized"),
        (401, r#"{"error_code":"APIGW.0301","error_msg":"x"}"#, "unauthorized"),
        (401, r#"{"error_code":"APIG.0307","error_msg":"x"}"#, "unauthorized"),
        (403, "", "halt"),
        (403, r#"{"error_code":"APIGW.0802"}"#, "halt"),
        (403, r#"{"error_code":"WKS.00010099"}"#, "halt"),
        (403, r#"{"error_code":"WKS.4711"}"#, "forbidden"),
        (404, "", "halt"),
        (404, r#"{"error_code":"APIGW.0101"}"#, "halt"),
        (404, r#"{"error_code":"WKS.0202"}"#, "divide"),
        (405, "", "halt"),
        (407, "", "halt"),
        (408, "", "doubt"),
        (409, "", "busy"),
        (409, r#"{"error_code":"WKS.00010032"}"#, "busy"),
        (413, r#"{"error_code":"APIGW.0201"}"#, "divide"),
        (418, "", "doubt"),
        (429, "", "throttled"),
        (429, r#"{"error_code":"APIGW.0308","error_msg":"limit:60,time:1 minute"}"#, "throttled"),
        (400, r#"{"error_code":"APIC.0308"}"#, "throttled"),
        (494, "", "halt"),
        (500, "", "doubt"),
        (500, r#"{"error_code":"WKS.0202"}"#, "doubt"),
        (502, r#"{"error_code":"APIGW.0201"}"#, "doubt"),
        (503, "", "doubt"),
        (503, r#"{"error_code":"APIGW.0613"}"#, "later"),
        (504, "", "doubt"),
        (599, "", "doubt"),
        (777, "", "doubt"),
    ];

    #[test]
    fn every_answer_of_the_table_means_what_section_4_says() {
        let sent = |id: &str| ["a", "b"].contains(&id);
        for (status, body, expected) in TABLE {
            assert_eq!(word(&judge(&answer(*status, body), sent)), *expected, "{status} {body}");
        }
        assert_eq!(word(&judge(&Reply::NotSent { cause: "dns".to_owned() }, sent)), "not sent");
        assert_eq!(word(&judge(&Reply::Lost { cause: "reset".to_owned() }, sent)), "doubt");
    }

    #[test]
    fn a_redirect_names_the_host_it_points_to() {
        let reply = Reply::Answer(Answer {
            status: 307,
            location: Some("https://evil.example/path?x".to_owned()),
            ..Answer::default()
        });
        let Verdict::Halt { why, .. } = judge(&reply, |_| false) else { panic!("not halted") };
        assert!(why.contains("evil.example;"), "{why}");
    }

    #[test]
    fn p09_a_429_brings_the_limit_that_its_text_names() {
        let reply = answer(
            429,
            r#"{"error_code":"APIGW.0308","error_msg":"policy user over ratelimit,limit:60,time:1 minute"}"#,
        );
        let Verdict::Throttled { hint, .. } = judge(&reply, |_| false) else { panic!("not throttled") };
        assert_eq!(hint.limit, Some((60, Duration::from_secs(60))));
    }

    proptest::proptest! {
        #[test]
        fn p18_any_answer_is_judged(status in 0_u16..1000, body in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let reply = Reply::Answer(Answer { status, body: Bytes::from(body), ..Answer::default() });
            let _ = judge(&reply, |id| id == "a");
        }
    }
}
