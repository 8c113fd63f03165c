//! What the answer to a read says, or why it says nothing. Pure: replies in, facts or faults out.

use std::time::Duration;

use crate::api::Reply;
use crate::api::classify::{Judged, Meaning, classify, is_not_found, why};
use crate::api::wire::{DesktopAnswer, DesktopsAnswer, JobAnswer, RawUser, SubJob, SubJobsAnswer, UsersAnswer};
use crate::model::{LiveDesktop, Refusal};
use crate::pace::{Heard, ThrottleHint};
use crate::text::escape_untrusted;

/// Why a read told nothing. Reads change nothing, so they may all be repeated.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadFault {
    /// No connection.
    NotSent { cause: String },
    /// Sent, and no complete answer.
    Lost { cause: String },
    /// An answer that makes no sense, or a 5xx: try again later.
    Trouble { cause: String, retry_after: Option<Duration> },
    /// 429.
    Throttled { hint: ThrottleHint, cause: Refusal },
    /// 401.
    Unauthorized { cause: Refusal },
    /// 403 of the service: the caller may not read.
    Forbidden { cause: Refusal },
    /// Nothing of this kind can succeed here (wrong endpoint, region, account).
    Halt { cause: Refusal, why: String },
    /// Refused as a request (400 and the like).
    Refused { cause: Refusal },
}

impl ReadFault {
    /// Whether nobody answered who could: nothing of it ends an outage.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::NotSent { .. } | Self::Lost { .. } | Self::Trouble { .. })
    }

    /// What the gates have to know of it, but for a 429, which they are told with its hint.
    pub const fn heard(&self) -> Heard {
        match self {
            Self::NotSent { .. } => Heard::NoConnection,
            // No answer, and no word on whether there is a server: it must not open the way for writes, each of which
            // would be a doubt, nor end a pause that others wait in.
            Self::Lost { .. } => Heard::Lost,
            Self::Trouble { .. } => Heard::Failed,
            Self::Throttled { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Halt { .. }
            | Self::Refused { .. } => Heard::Refused,
        }
    }

    /// In words, for logs and messages.
    pub fn in_words(&self) -> String {
        match self {
            Self::NotSent { cause } | Self::Lost { cause } | Self::Trouble { cause, .. } => cause.clone(),
            Self::Halt { why, .. } => why.clone(),
            Self::Throttled { cause, .. }
            | Self::Unauthorized { cause }
            | Self::Forbidden { cause }
            | Self::Refused { cause } => format!("{}: {}", cause.code, cause.message),
        }
    }
}

/// One page of desktops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub desktops: Vec<LiveDesktop>,
    /// Entries that the page held, readable or not: what an offset counts.
    pub received: usize,
    pub total: u64,
}

/// Reads `GET …/desktops/detail`. An answer without a list is a fault: it says nothing about any desktop.
pub fn desktops(reply: &Reply) -> Result<Page, ReadFault> {
    let told: DesktopsAnswer = body(reply)?;
    let Some(list) = told.desktops else {
        return Err(nonsense("the answer holds no list of desktops"));
    };
    let received = list.len();
    let desktops = list.into_iter().filter_map(crate::api::wire::RawDesktop::into_live).collect();
    Ok(Page { desktops, received, total: told.total_count })
}

/// Reads `GET …/desktops/{id}`. `Ok(None)`: the service says that there is no such desktop.
pub fn desktop(reply: &Reply, id: &str) -> Result<Option<LiveDesktop>, ReadFault> {
    if is_not_found(&classify(reply)) {
        return Ok(None);
    }
    let told: DesktopAnswer = body(reply)?;
    match told.desktop.and_then(crate::api::wire::RawDesktop::into_live) {
        Some(desktop) if desktop.id.as_str() == id => Ok(Some(desktop)),
        _ => Err(nonsense("the answer does not show the desktop that was asked for")),
    }
}

/// Reads `GET …/workspace-jobs/{id}`. `Ok(None)`: no such job (yet).
pub fn job(reply: &Reply) -> Result<Option<JobAnswer>, ReadFault> {
    if is_not_found(&classify(reply)) {
        return Ok(None);
    }
    body(reply).map(Some)
}

/// Reads `GET …/workspace-sub-jobs`.
pub fn sub_jobs(reply: &Reply) -> Result<Vec<SubJob>, ReadFault> {
    let told: SubJobsAnswer = body(reply)?;
    Ok(told.jobs)
}

/// Reads `GET …/users`.
pub fn users(reply: &Reply) -> Result<(Vec<RawUser>, u64), ReadFault> {
    let told: UsersAnswer = body(reply)?;
    told.users.map(|users| (users, told.total_count)).ok_or_else(|| nonsense("the answer holds no list of users"))
}

fn nonsense(cause: &str) -> ReadFault {
    ReadFault::Trouble { cause: cause.to_owned(), retry_after: None }
}

fn body<T: serde::de::DeserializeOwned>(reply: &Reply) -> Result<T, ReadFault> {
    let Judged { meaning, cause, hint } = classify(reply);
    Err(match (meaning, reply) {
        (Meaning::Complete, Reply::Answer(answer)) => {
            return serde_json::from_slice(&answer.body)
                .map_err(|error| nonsense(&escape_untrusted(&format!("the answer cannot be read: {error}"), 300)));
        }
        (Meaning::NoConnection, _) => ReadFault::NotSent { cause: cause.message },
        (Meaning::NoAnswer, _) => ReadFault::Lost { cause: cause.message },
        (Meaning::Throttled, _) => ReadFault::Throttled { hint, cause },
        (Meaning::Credentials, _) => ReadFault::Unauthorized { cause },
        (Meaning::NotPermitted, _) => ReadFault::Forbidden { cause },
        (Meaning::Busy | Meaning::NotFound | Meaning::Unacceptable | Meaning::TooLarge, _) => {
            ReadFault::Refused { cause }
        }
        (meaning, reply) if meaning.is_final() => ReadFault::Halt { why: why(meaning, reply, &cause), cause },
        _ => {
            let cause = if cause.code == "UNCLEAR_ANSWER" {
                cause.message
            } else {
                format!("{}: {}", cause.code, cause.message)
            };
            ReadFault::Trouble { cause, retry_after: hint.retry_after }
        }
    })
}

/// What a job says when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobWord {
    /// Not at its end, or a word that nobody knows: ask again, until the deadline.
    Pending,
    /// Ended; desktops whose sub job failed, each with the refusal. A finished parent hides failed sub jobs.
    Ended { failed: Vec<(String, Refusal)> },
    /// Ended badly as a whole, and no sub job says which desktop: all of them.
    FailedWhole { refusal: Refusal },
}

/// Reads the words of a job and its sub jobs.
pub fn judge_job(parent: &JobAnswer, subs: &[SubJob]) -> JobWord {
    let done = |status: &str| ["SUCCESS", "COMPLETE", "COMPLETED"].iter().any(|w| status.eq_ignore_ascii_case(w));
    let failed = |status: &str| ["FAIL", "FAILED"].iter().any(|w| status.eq_ignore_ascii_case(w));
    if !done(&parent.status) && !failed(&parent.status) {
        return JobWord::Pending;
    }
    // Sub jobs that still run outlive a parent that calls itself complete.
    if subs.iter().any(|sub| !done(&sub.status) && !failed(&sub.status)) {
        return JobWord::Pending;
    }
    let refusal = |code: &str, texts: [&str; 2]| Refusal {
        code: if code.is_empty() { "JOB_FAILED".to_owned() } else { escape_untrusted(code, 255) },
        message: escape_untrusted(
            texts.into_iter().find(|text| !text.is_empty()).unwrap_or("the job failed and gave no reason"),
            crate::api::fault::MAX_TEXT,
        ),
    };
    let named: Vec<_> = subs
        .iter()
        .filter(|sub| failed(&sub.status) && !sub.entities.desktop_id.is_empty())
        .map(|sub| (sub.entities.desktop_id.clone(), refusal(&sub.error_code, [&sub.fail_reason, &sub.message])))
        .collect();
    if failed(&parent.status) && named.is_empty() {
        return JobWord::FailedWhole { refusal: refusal(&parent.job_error_code, [&parent.fail_reason, ""]) };
    }
    JobWord::Ended { failed: named }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::api::Answer;

    fn answer(status: u16, body: &str) -> Reply {
        Reply::Answer(Answer { status, body: Bytes::copy_from_slice(body.as_bytes()), ..Answer::default() })
    }

    #[test]
    fn p02_an_answer_without_the_list_says_nothing() {
        for body in ["{}", r#"{"desktops":null}"#, "[]", "", r#"{"desktops":{}}"#] {
            assert!(matches!(desktops(&answer(200, body)), Err(ReadFault::Trouble { .. })), "{body}");
        }
        assert_eq!(desktops(&answer(200, r#"{"desktops":[]}"#)).unwrap().received, 0);
    }

    #[test]
    fn only_the_services_own_not_found_speaks_of_a_desktop() {
        assert_eq!(desktop(&answer(404, r#"{"error_code":"WKS.0001"}"#), "a"), Ok(None));
        assert_eq!(desktop(&answer(500, r#"{"error_code":"WKS.0202"}"#), "a"), Ok(None));
        assert!(desktop(&answer(404, ""), "a").is_err());
        assert!(desktop(&answer(404, r#"{"error_code":"APIGW.0101"}"#), "a").is_err());
        assert!(desktop(&answer(200, r#"{"desktop":{"desktop_id":"b"}}"#), "a").is_err());
    }

    #[test]
    fn a_finished_parent_does_not_hide_a_failed_sub_job() {
        let parent = JobAnswer { status: "COMPLETE".to_owned(), ..JobAnswer::default() };
        let mut sub = SubJob { status: "FAILED".to_owned(), error_code: "WKS.9".to_owned(), ..SubJob::default() };
        sub.entities.desktop_id = "d".to_owned();
        let JobWord::Ended { failed } = judge_job(&parent, &[sub.clone()]) else { panic!("not ended") };
        assert_eq!(failed[0].1.code, "WKS.9");
        sub.status = "RUNNING".to_owned();
        assert_eq!(judge_job(&parent, &[sub]), JobWord::Pending);
    }

    #[test]
    fn an_unknown_status_word_is_pending() {
        let parent = JobAnswer { status: "ALMOST".to_owned(), ..JobAnswer::default() };
        assert_eq!(judge_job(&parent, &[]), JobWord::Pending);
    }
}
