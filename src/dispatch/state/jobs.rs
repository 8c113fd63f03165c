//! The jobs that answers named, each followed until it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::ItemId;
use crate::reconcile::reads::JobWord;

/// A job that is not found is waited for so long after its answer.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Jobs(BTreeMap<String, Followed>);

#[derive(Debug)]
struct Followed {
    items: Vec<ItemId>,
    due: Instant,
    asked: bool,
    since: Instant,
    /// It was asked once more past its deadline.
    overtime: bool,
}

/// How a job ended, as far as it can be followed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JobEnd {
    pub(super) items: Vec<ItemId>,
    /// When its answer came.
    pub(super) since: Instant,
    /// `None`: it was never found.
    pub(super) word: Option<JobWord>,
}

impl Jobs {
    /// * `due`: when it is asked first.
    pub(super) fn follow(&mut self, job_id: String, items: Vec<ItemId>, due: Instant, now: Instant) {
        let job = self.0.entry(job_id).or_insert(Followed {
            items: Vec::new(),
            due,
            asked: false,
            since: now,
            overtime: false,
        });
        job.items.extend(items);
    }

    /// The next job to ask now.
    pub(super) fn ask(&mut self, now: Instant) -> Option<String> {
        let (id, job) = self.0.iter_mut().find(|(_, job)| !job.asked && job.due <= now)?;
        job.asked = true;
        Some(id.clone())
    }

    /// It could not be asked, and still is to be.
    pub(super) fn unasked(&mut self, job_id: &str) {
        if let Some(job) = self.0.get_mut(job_id) {
            job.asked = false;
        }
    }

    /// Takes in what was told (`None`: no such job). Returns the end once it has come: a job that still runs ends with the
    /// deadline, after one more question, since the machine may have been asleep.
    pub(super) fn told(
        &mut self,
        job_id: &str,
        word: Option<JobWord>,
        now: Instant,
        poll: Duration,
        deadline: Duration,
    ) -> Option<JobEnd> {
        let job = self.0.get_mut(job_id)?;
        job.asked = false;
        job.due = now + poll;
        let late = now.saturating_duration_since(job.since);
        let goes_on = match word {
            None => late < APPEARS_WITHIN,
            Some(JobWord::Pending(_)) => late < deadline || !std::mem::replace(&mut job.overtime, true),
            Some(_) => false,
        };
        if goes_on {
            return None;
        }
        self.0.remove(job_id).map(|job| JobEnd { items: job.items, since: job.since, word })
    }

    /// When a job is to be asked next.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.0.values().filter(|job| !job.asked).map(|job| job.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_is_asked_until_it_ends_or_its_time_is_over() {
        let began = Instant::now();
        let (poll, deadline) = (Duration::from_secs(5), Duration::from_secs(600));
        let ended = || JobWord::Ended { failed: Vec::new() };
        // What is told, how many seconds after the answer, and whether that is its end.
        for (word, seconds, is_end) in [
            (None, 0, false),
            (None, 29, false),
            (None, 30, true),
            (Some(JobWord::Pending(None)), 0, false),
            (Some(JobWord::Pending(None)), 599, false),
            (Some(JobWord::Pending(None)), 600, true),
            (Some(ended()), 0, true),
        ] {
            let mut jobs = Jobs::default();
            jobs.follow("j".to_owned(), vec![1], began, began);
            jobs.follow("j".to_owned(), vec![2], began, began);
            assert_eq!((jobs.ask(began).as_deref(), jobs.ask(began)), (Some("j"), None));
            let now = began + Duration::from_secs(seconds);
            if is_end && matches!(word, Some(JobWord::Pending(_))) {
                assert_eq!(jobs.told("j", word.clone(), now, poll, deadline), None, "one more question");
            }
            let end = jobs.told("j", word.clone(), now, poll, deadline);
            let expected = is_end.then(|| JobEnd { items: vec![1, 2], since: began, word: word.clone() });
            assert_eq!(end, expected, "{word:?} after {seconds} s");
            assert_eq!(jobs.wakes_at(), (!is_end).then_some(now + poll));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_could_not_be_asked_is_asked_again() {
        let now = Instant::now();
        let mut jobs = Jobs::default();
        jobs.follow("j".to_owned(), vec![1], now, now);
        jobs.ask(now);
        assert_eq!(jobs.wakes_at(), None);
        jobs.unasked("j");
        assert_eq!(jobs.ask(now).as_deref(), Some("j"));
    }
}
