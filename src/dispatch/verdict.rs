//! What follows from the answer to a write: a view of [`crate::api::classify`].

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::classify::{Executed, Judged, Meaning, classify, listed, why};
use crate::api::wire::WriteAnswer;
use crate::api::{Answer, Reply};
use crate::model::Refusal;
use crate::pace::ThrottleHint;
use crate::text::escape_untrusted;

pub use crate::api::classify::is_passing;

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

/// Judges the reply to a write; `was_sent`: whether it carried this desktop.
pub fn judge(reply: &Reply, was_sent: impl Fn(&str) -> bool) -> Verdict {
    let Judged { meaning, cause, hint } = classify(reply);
    match (meaning.executed(), reply) {
        (Executed::AsTold, Reply::Answer(answer)) => return taken(answer, was_sent),
        (Executed::AsTold | Executed::Doubt, _) => return Verdict::Doubt { cause },
        (Executed::No, _) => {}
    }
    match meaning {
        Meaning::NoConnection => Verdict::NotSent { cause: cause.message },
        Meaning::Throttled => Verdict::Throttled { hint, cause },
        Meaning::Unchecked => Verdict::Later { cause },
        Meaning::Credentials => Verdict::Unauthorized { cause },
        Meaning::Busy => Verdict::Busy { cause },
        Meaning::NotPermitted => Verdict::Forbidden { cause },
        _ if meaning.is_final() => Verdict::Halt { why: why(meaning, reply, &cause), cause },
        _ => Verdict::Divide { cause },
    }
}

/// Members of a write's answer. An object with none of them is no word about the write.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    failed_operation_list: Told,
    job_id: Told,
    success_job_ids: Told,
}

/// Whether a member is there, null or not.
#[derive(Default)]
struct Told(bool);

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

fn taken(answer: &Answer, was_sent: impl Fn(&str) -> bool) -> Verdict {
    let doubt = |message: String| Verdict::Doubt { cause: Refusal { code: "UNCLEAR_ANSWER".to_owned(), message } };
    let told: Result<(Members, WriteAnswer), _> =
        serde_json::from_slice(&answer.body).and_then(|members| Ok((members, serde_json::from_slice(&answer.body)?)));
    let (members, told) = match told {
        Ok(told) => told,
        Err(error) => return doubt(escape_untrusted(&format!("the answer cannot be read: {error}"), 300)),
    };
    if ![members.failed_operation_list, members.job_id, members.success_job_ids].iter().any(|told| told.0) {
        return doubt("the answer says nothing of what was done".to_owned());
    }
    if let Some(foreign) = told.failed_operation_list.iter().find(|failed| !was_sent(&failed.desktop_id)) {
        return doubt(format!(
            "the answer names a desktop that was not sent: {:?}",
            escape_untrusted(&foreign.desktop_id, 60)
        ));
    }
    let refused = told.failed_operation_list.into_iter();
    Verdict::Taken {
        refused: refused.map(|failed| (failed.desktop_id, listed(&failed.error_code, &failed.error_msg))).collect(),
        job_id: escape_untrusted(&told.job_id, 255),
        success_jobs: told.success_job_ids.iter().map(|id| escape_untrusted(id, 255)).collect(),
    }
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
        (200, r"{}", "doubt"),
        (200, r#"{"job_id":""}"#, "taken"),
        (200, r#"{"error_code":"WKS.1","error_msg":"busy"}"#, "doubt"),
        (200, r#"{"error_msg":"busy","failed_operation_list":[]}"#, "doubt"),
        (200, r#"{"error":{"code":"WKS.1"},"job_id":""}"#, "doubt"),
        (200, r#"{"result":"ok"}"#, "doubt"),
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
        (405, r#"{"error_code":"APIGW.0502"}"#, "halt"),
        (405, r#"{"error_code":"WKS.4711"}"#, "divide"),
        (407, "", "halt"),
        (407, r#"{"error_code":"APIGW.0308"}"#, "halt"),
        (408, "", "doubt"),
        (409, "", "busy"),
        (409, r#"{"error_code":"WKS.00010032"}"#, "busy"),
        (413, r#"{"error_code":"APIGW.0201"}"#, "divide"),
        (414, "", "divide"),
        (418, "", "doubt"),
        (429, "", "throttled"),
        (431, "", "divide"),
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
    fn every_answer_of_the_table_means_what_follows_from_it() {
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
        assert!(why.contains("redirect to evil.example/path;"), "{why}");
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
