//! What the answer to a read says, or why it says nothing. Pure: replies in, facts or faults out.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::api::classify::{Judged, Meaning, classify, is_not_found, why};
use crate::api::lenient::List;
use crate::api::wire::{
    Authorised, DesktopAnswer, DesktopsAnswer, JobAnswer, PoolUsersAnswer, PoolsAnswer, RawUser, SubJob, SubJobsAnswer,
    UserGroupsAnswer, UsersAnswer,
};
use crate::api::{Answer, Reply};
use crate::model::{DesktopId, LiveDesktop, Refusal};
use crate::pace::{Heard, ThrottleHint};
use crate::text::escape_untrusted;

/// A read that is answered with a 500 so often is asked for in parts.
const BROKEN_TRIES: u32 = 3;

/// Why a read told nothing. Reads change nothing, so they may all be repeated.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadFault {
    /// No connection.
    NotSent { cause: String },
    /// Sent, and no complete answer.
    Lost { cause: String },
    /// An answer that makes no sense, or a 5xx: try again later.
    Trouble { cause: String, retry_after: Option<Duration> },
    /// A 500. It may pass; where it does not, one of the things that were asked for may be its cause.
    Broken { cause: Refusal, retry_after: Option<Duration> },
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
        matches!(self, Self::NotSent { .. } | Self::Lost { .. } | Self::Trouble { .. } | Self::Broken { .. })
    }

    /// Whether one of several things that were asked for together may be the cause: then each has to be asked for in
    /// fewer company, down to the guilty one.
    ///
    /// * `tries`: how often this very read was made; a 500 may pass.
    pub(crate) fn may_be_of_one(&self, tries: u32) -> bool {
        match self {
            Self::Refused { .. } | Self::Forbidden { .. } => true,
            Self::Broken { .. } => tries >= BROKEN_TRIES,
            _ => false,
        }
    }

    /// What the gates have to know of it, but for a 429, which they are told with its hint.
    pub const fn heard(&self) -> Heard {
        match self {
            Self::NotSent { .. } => Heard::NoConnection,
            // No answer, and no word on whether there is a server: it must not open the way for writes, each of which
            // would be a doubt, nor end a pause that others wait in.
            Self::Lost { .. } => Heard::Lost,
            Self::Trouble { .. } | Self::Broken { .. } => Heard::Failed,
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
            | Self::Broken { cause, .. }
            | Self::Unauthorized { cause }
            | Self::Forbidden { cause }
            | Self::Refused { cause } => format!("{}: {}", cause.code, cause.message),
        }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub entries: Vec<T>,
    /// Entries that the page held, readable or not: what an offset counts.
    pub received: usize,
    /// How many there are in all, as far as the answer tells it.
    pub total: Option<u64>,
}

/// Reads `GET …/desktops/detail`. An answer without a list is a fault: it says nothing about any desktop.
pub fn desktops(reply: &Reply) -> Result<Page<LiveDesktop>, ReadFault> {
    let told: DesktopsAnswer = body(reply)?;
    let mut page = page(told.desktops, told.total_count, "the answer holds no list of desktops")?;
    // Which of two entries is true nobody can tell: a desktop that stands there twice was not shown.
    let mut times: HashMap<DesktopId, u32> = HashMap::with_capacity(page.entries.len());
    for desktop in &page.entries {
        *times.entry(desktop.id.clone()).or_default() += 1;
    }
    page.entries.retain(|desktop| times.get(&desktop.id) == Some(&1));
    Ok(page)
}

fn page<T>(list: Option<List<T>>, total: Option<u64>, missing: &str) -> Result<Page<T>, ReadFault> {
    let List { entries, received } = list.ok_or_else(|| nonsense(missing))?;
    Ok(Page { entries, received, total })
}

/// Reads `GET …/desktops/{id}`. `Ok(None)`: the service says that there is no such desktop. It may spell the id in
/// another case.
pub fn desktop(reply: &Reply, id: &DesktopId) -> Result<Option<LiveDesktop>, ReadFault> {
    if is_not_found(&classify(reply)) {
        return Ok(None);
    }
    let told: DesktopAnswer = body(reply)?;
    match told.desktop {
        Some(desktop) if desktop.id.is_spelling_of(id) => Ok(Some(desktop)),
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
pub fn sub_jobs(reply: &Reply) -> Result<SubJobsAnswer, ReadFault> {
    body(reply)
}

/// Reads `GET …/users`, or `GET …/groups/{id}/users`: those on one page.
pub fn users(reply: &Reply) -> Result<Page<RawUser>, ReadFault> {
    let told: UsersAnswer = body(reply)?;
    page(told.users, told.total_count, "the answer holds no list of users")
}

/// Reads `GET …/groups`: those on one page.
pub fn user_groups(reply: &Reply) -> Result<Page<RawUser>, ReadFault> {
    let told: UserGroupsAnswer = body(reply)?;
    page(told.user_groups, None, "the answer holds no list of user groups")
}

/// Reads `GET …/desktop-pools`: the pools on one page.
pub fn pools(reply: &Reply) -> Result<Page<RawUser>, ReadFault> {
    let told: PoolsAnswer = body(reply)?;
    page(told.desktop_pools, told.total_count, "the answer holds no list of desktop pools")
}

/// Reads `GET …/desktop-pools/{id}/users`: those on one page who are authorised.
pub fn pool_users(reply: &Reply) -> Result<Page<Authorised>, ReadFault> {
    let told: PoolUsersAnswer = body(reply)?;
    page(told.objects, told.total_count, "the answer holds no list of authorised users and groups")
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
        (Meaning::ServerFault, Reply::Answer(Answer { status: 500, .. })) => {
            ReadFault::Broken { cause, retry_after: hint.retry_after }
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
    /// Not at its end: ask again, until the deadline. With the word that it says, where that is not known as one of a job
    /// that still runs.
    Pending(Option<Refusal>),
    /// Ended; desktops whose sub job failed, each with the refusal. A finished parent hides failed sub jobs.
    Ended { failed: Vec<(String, Refusal)> },
    /// Ended badly as a whole, and no sub job says which desktop: all of them.
    FailedWhole { refusal: Refusal },
    /// Ended, and how is not said for every desktop: those that are in neither list are judged by reads alone.
    Unclear { failed: Vec<(String, Refusal)>, well: Vec<String>, said: Refusal },
}

/// Words of a job or sub job that has not ended.
const RUNNING: [&str; 6] = ["WAITING", "RUNNING", "INIT", "PENDING", "PROCESSING", "QUEUED"];

/// How far a job, or a sub job, has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Runs,
    /// In a word that nobody knows, and without an end.
    Perhaps,
    Well,
    Badly,
    /// At its end, in a word that nobody knows.
    Somehow,
}

impl Stage {
    fn of(status: &str, end_time: &str) -> Self {
        let is = |words: &[&str]| words.iter().any(|word| status.eq_ignore_ascii_case(word));
        match () {
            () if is(&["SUCCESS", "COMPLETE", "COMPLETED"]) => Self::Well,
            () if is(&["FAIL", "FAILED"]) => Self::Badly,
            () if is(&RUNNING) => Self::Runs,
            () if end_time.is_empty() => Self::Perhaps,
            () => Self::Somehow,
        }
    }
}

/// Sub jobs are read page by page; a job with more of them than this is not of our making.
const MAX_SUB_JOBS: usize = 10_000;

/// The sub jobs of a job, page by page up to one that brings nothing new.
#[derive(Debug, Default)]
pub(crate) struct SubJobs {
    found: Vec<SubJob>,
    known: HashSet<SubJob>,
    received: usize,
    total: Option<u64>,
    ended: bool,
}

impl SubJobs {
    /// * `total`: how many there are, as far as the job itself tells it.
    pub(crate) fn new(total: Option<u64>) -> Self {
        Self { total, ..Self::default() }
    }

    /// Where the next page begins, if there is one.
    pub(crate) fn next_offset(&self) -> Option<u64> {
        (!self.ended).then(|| u64::try_from(self.received).unwrap_or(u64::MAX))
    }

    pub(crate) fn add(&mut self, page: SubJobsAnswer) {
        self.total = page.total_count.or(self.total);
        let Some(List { entries, received }) = page.jobs else {
            // None are left; or, where nothing tells how many there are, nobody knows.
            self.total = self.total.or(self.found.is_empty().then_some(UNCOUNTED));
            self.ended = true;
            return;
        };
        self.received += received;
        let before = self.found.len();
        self.found.extend(entries.into_iter().filter(|sub| self.known.insert(sub.clone())));
        self.ended = self.found.len() == before;
        if self.found.len() > MAX_SUB_JOBS {
            (self.total, self.ended) = (Some(UNCOUNTED), true);
        }
    }

    pub(crate) fn found(&self) -> &[SubJob] {
        &self.found
    }

    /// See [`judge_job`].
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }
}

/// As a total: the sub jobs could not be read to the last one, and nobody tells how many there are.
pub(crate) const UNCOUNTED: u64 = u64::MAX;

/// Reads the words of a job and its sub jobs.
///
/// * `subs`: all that could be read.
/// * `total`: how many there are, as far as anybody tells, or [`UNCOUNTED`].
pub fn judge_job(parent: &JobAnswer, subs: &[SubJob], total: Option<u64>) -> JobWord {
    let of_sub = |sub: &SubJob| Stage::of(&sub.status, &sub.end_time);
    let of_job = Stage::of(&parent.status, &parent.end_time);
    let word = |status: &str| {
        let said = format!("the job says {:?}, which is not known", escape_untrusted(status, 60));
        Refusal { code: "JOB_WORD".to_owned(), message: said }
    };
    match of_job {
        Stage::Runs => return JobWord::Pending(None),
        Stage::Perhaps => return JobWord::Pending(Some(word(&parent.status))),
        Stage::Well | Stage::Badly | Stage::Somehow => {}
    }
    // Sub jobs that still run outlive a parent that calls itself complete.
    if subs.iter().any(|sub| of_sub(sub) == Stage::Runs) {
        return JobWord::Pending(None);
    }
    if let Some(sub) = subs.iter().find(|sub| of_sub(sub) == Stage::Perhaps) {
        return JobWord::Pending(Some(word(&sub.status)));
    }
    let refusal = |code: &str, texts: [&str; 2]| Refusal {
        code: if code.is_empty() { "JOB_FAILED".to_owned() } else { escape_untrusted(code, 255) },
        message: escape_untrusted(
            texts.into_iter().find(|text| !text.is_empty()).unwrap_or("the job failed and gave no reason"),
            crate::api::fault::MAX_TEXT,
        ),
    };
    let of_failed = |sub: &SubJob| refusal(&sub.error_code, [&sub.fail_reason, &sub.message]);
    let (named, nameless): (Vec<_>, Vec<_>) =
        subs.iter().filter(|sub| of_sub(sub) == Stage::Badly).partition(|sub| !sub.entities.desktop_id.is_empty());
    let failed: Vec<_> = named.iter().map(|sub| (sub.entities.desktop_id.clone(), of_failed(sub))).collect();
    let somehow = subs.iter().find(|sub| of_sub(sub) == Stage::Somehow).map(|sub| word(&sub.status));
    let read = u64::try_from(subs.len()).unwrap_or(u64::MAX);
    let unclear = if of_job == Stage::Somehow {
        Some(word(&parent.status))
    } else if let Some(sub) = nameless.first() {
        Some(of_failed(sub))
    } else if let Some(total) = total.filter(|total| *total != read) {
        let message = match total {
            UNCOUNTED => "the job does not show its sub jobs to the last one".to_owned(),
            _ => format!("the job counts {total} sub jobs, and shows {read}"),
        };
        Some(Refusal { code: "JOB_UNCLEAR".to_owned(), message })
    } else {
        somehow
    };
    if let Some(said) = unclear {
        return JobWord::Unclear { failed, well: Vec::new(), said };
    }
    if of_job != Stage::Badly {
        return JobWord::Ended { failed };
    }
    let of_job = refusal(&parent.job_error_code, [&parent.fail_reason, ""]);
    if failed.is_empty() {
        return JobWord::FailedWhole { refusal: of_job };
    }
    // It failed for these. Of the others those went well whose own sub job did.
    let well = subs.iter().filter(|sub| of_sub(sub) == Stage::Well).map(|sub| sub.entities.desktop_id.clone());
    JobWord::Unclear { failed, well: well.collect(), said: of_job }
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
    fn p02_a_desktop_that_stands_twice_in_one_answer_is_not_shown_by_it() {
        let body = r#"{"desktops":[{"desktop_id":"a","attach_state":"UNATTACH"},{"desktop_id":"b"},
            {"desktop_id":"a","attach_state":"ATTACHED"},{"desktop_id":"A"}]}"#;
        let page = desktops(&answer(200, body)).unwrap();
        let shown: Vec<_> = page.entries.iter().map(|desktop| desktop.id.as_str()).collect();
        assert_eq!((shown.as_slice(), page.received), (["b", "A"].as_slice(), 4));
    }

    fn id(text: &str) -> DesktopId {
        DesktopId::parse(text).unwrap()
    }

    #[test]
    fn only_the_services_own_not_found_speaks_of_a_desktop() {
        assert_eq!(desktop(&answer(404, r#"{"error_code":"WKS.0001"}"#), &id("a")), Ok(None));
        assert_eq!(desktop(&answer(500, r#"{"error_code":"WKS.0202"}"#), &id("a")), Ok(None));
        assert!(desktop(&answer(404, ""), &id("a")).is_err());
        assert!(desktop(&answer(404, r#"{"error_code":"APIGW.0101"}"#), &id("a")).is_err());
        assert!(desktop(&answer(200, r#"{"desktop":{"desktop_id":"b"}}"#), &id("a")).is_err());
        let spelled = desktop(&answer(200, r#"{"desktop":{"desktop_id":"a"}}"#), &id("A")).unwrap();
        assert_eq!(spelled.map(|desktop| desktop.id), Some(id("a")), "as the service spells it");
    }

    fn job_in(status: &str, end_time: &str) -> JobAnswer {
        JobAnswer { status: status.to_owned(), end_time: end_time.to_owned(), ..JobAnswer::default() }
    }

    fn sub(status: &str, desktop: &str) -> SubJob {
        let mut sub = SubJob { status: status.to_owned(), error_code: "WKS.9".to_owned(), ..SubJob::default() };
        sub.entities.desktop_id = desktop.to_owned();
        sub
    }

    #[test]
    fn a_finished_parent_does_not_hide_a_failed_sub_job() {
        let parent = job_in("COMPLETE", "");
        let JobWord::Ended { failed } = judge_job(&parent, &[sub("FAILED", "d")], Some(1)) else { panic!("not ended") };
        assert_eq!((failed[0].0.as_str(), failed[0].1.code.as_str()), ("d", "WKS.9"));
        assert_eq!(judge_job(&parent, &[sub("RUNNING", "d")], Some(1)), JobWord::Pending(None));
    }

    #[test]
    fn p02_the_sub_jobs_of_a_job_are_read_to_the_last_page_and_no_list_of_them_is_none() {
        // What the job counts, the pages (each with its total), and how many sub jobs are found, of how many.
        let well: fn(&[&str]) -> Option<List<SubJob>> = |desktops| {
            let entries: Vec<_> = desktops.iter().map(|desktop| sub("SUCCESS", desktop)).collect();
            Some(List { received: entries.len(), entries })
        };
        for (counted, pages, expected) in [
            (None, vec![(well(&["d", "e"]), None), (well(&["f"]), None), (well(&[]), None)], (3, None)),
            (None, vec![(well(&["d"]), Some(2)), (well(&["e"]), None), (well(&["e"]), None)], (2, Some(2))),
            (None, vec![(well(&["d"]), None), (None, None)], (1, None)),
            (Some(0), vec![(None, None)], (0, Some(0))),
            (None, vec![(None, None)], (0, Some(UNCOUNTED))),
        ] {
            let mut subs = SubJobs::new(counted);
            for (jobs, total_count) in &pages {
                assert!(subs.next_offset().is_some(), "{pages:?}");
                subs.add(SubJobsAnswer { jobs: jobs.clone(), total_count: *total_count });
            }
            assert_eq!(
                (subs.next_offset(), subs.found().len(), subs.total()),
                (None, expected.0, expected.1),
                "{pages:?}"
            );
        }
    }

    #[test]
    fn p02_a_good_end_is_that_of_the_job_and_of_every_sub_job_that_it_counts() {
        let ended = "2026-01-05 10:00:00";
        // The job's word and end, its sub jobs, how many it counts: what it says.
        for (status, end, subs, total, expected) in [
            ("SUCCESS", "", vec![], None, "ended"),
            ("SUCCESS", "", vec![], Some(0), "ended"),
            ("SUCCESS", "", vec![sub("SUCCESS", "d")], Some(1), "ended"),
            ("SUCCESS", "", vec![], Some(1), "unclear JOB_UNCLEAR"),
            ("SUCCESS", "", vec![sub("FAILED", "")], Some(1), "unclear WKS.9"),
            ("SUCCESS", "", vec![sub("CANCELED", "d")], Some(1), "pending JOB_WORD"),
            (
                "SUCCESS",
                "",
                vec![SubJob { end_time: ended.to_owned(), ..sub("CANCELED", "d") }],
                Some(1),
                "unclear JOB_WORD",
            ),
            ("CANCELED", ended, vec![], None, "unclear JOB_WORD"),
            ("PARTIAL_SUCCESS", ended, vec![sub("SUCCESS", "d")], Some(1), "unclear JOB_WORD"),
            ("ALMOST", "", vec![], None, "pending JOB_WORD"),
            ("running", "", vec![], None, "pending"),
            ("FAILED", ended, vec![], None, "failed JOB_FAILED"),
            ("FAILED", ended, vec![sub("FAILED", "d"), sub("SUCCESS", "e")], Some(2), "unclear JOB_FAILED, well e"),
            ("FAILED", ended, vec![sub("FAILED", "d")], Some(1), "unclear JOB_FAILED"),
            ("SUCCESS", "", vec![sub("SUCCESS", "d")], Some(UNCOUNTED), "unclear JOB_UNCLEAR"),
        ] {
            let said = match judge_job(&job_in(status, end), &subs, total) {
                JobWord::Pending(None) => "pending".to_owned(),
                JobWord::Pending(Some(said)) => format!("pending {}", said.code),
                JobWord::Ended { .. } => "ended".to_owned(),
                JobWord::FailedWhole { refusal } => format!("failed {}", refusal.code),
                JobWord::Unclear { said, well, .. } if well.is_empty() => format!("unclear {}", said.code),
                JobWord::Unclear { said, well, .. } => format!("unclear {}, well {}", said.code, well.join(" ")),
            };
            assert_eq!(said, expected, "{status} {end} {subs:?} {total:?}");
        }
    }
}
