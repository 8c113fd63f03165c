//! What happened, and who has to know of it: credentials, outages, each kind of answer.

use super::{
    Class, Done, Duration, Event, Instant, Output, ReadFault, Refusal, Sight, State, StopReason, Try, Verdict, kind_of,
};
use crate::api::auth::renewals::Refused;

/// What a write came to, for the clock of an outage, and in whose words.
fn outage_word(verdict: &Verdict) -> (Try, String) {
    let words = |cause: &Refusal| format!("{}: {}", cause.code, cause.message);
    match verdict {
        Verdict::NotSent { cause } => (Try::Silence, cause.clone()),
        Verdict::Doubt { cause } => (Try::Silence, words(cause)),
        Verdict::Throttled { cause, .. } | Verdict::Later { cause } => (Try::PutOff, words(cause)),
        Verdict::Taken { .. }
        | Verdict::Unauthorized { .. }
        | Verdict::Busy { .. }
        | Verdict::Divide { .. }
        | Verdict::Forbidden { .. }
        | Verdict::Halt { .. } => (Try::Success, String::new()),
    }
}

impl State {
    /// Takes in what came of an operation.
    pub(crate) fn absorb(&mut self, done: Done, now: Instant, out: &mut Output) {
        self.settled_at = None;
        match done {
            Done::Loaded { chunks } => {
                self.parts.loaded();
                for (chunk, items) in chunks {
                    self.loaded(chunk, items, now);
                }
            }
            Done::Wrote { part, request_id, verdict, began, ended, status, generation, too_long } => {
                self.writes_out -= 1;
                if let Some(wait) = too_long {
                    self.stay_away(wait, out);
                }
                if !matches!(verdict, Verdict::NotSent { .. }) {
                    self.link.sent();
                }
                let (kind, code) = kind_of(&verdict);
                out.events.push(Event::Answered {
                    part: part.label,
                    kind: kind.as_str(),
                    status,
                    code,
                    took: ended.saturating_duration_since(began),
                });
                let (came, said) = outage_word(&verdict);
                self.tried(self.rules.class, came, &said, now, out);
                for id in &part.items {
                    if let Some(live) = self.items.get_mut(id) {
                        live.carried += u32::from(kind.counts());
                        live.answered |= kind.counts() && status.is_some();
                        if kind.counts() {
                            live.request_id.clone_from(&request_id);
                        }
                    }
                }
                self.wrote_part(part, verdict, (began, ended), generation, now, out);
            }
            Done::Withdrawn { part, fault, generation } => {
                self.writes_out -= 1;
                self.requeue(part);
                if let Some(fault) = fault {
                    self.read_failed(Class::ListDesktops, &[], &fault, generation, now, out);
                }
            }
            Done::Turn { .. } | Done::TurnLost => {
                self.reads.end_turn();
                self.reads.out -= 1;
            }
            Done::ShowLost { item } => {
                self.reads.out -= 1;
                self.reads.single(item);
            }
            Done::JobLost { job_id } => {
                self.reads.out -= 1;
                self.jobs.unasked(&job_id);
            }
            Done::Read { asked, result, span, generation } => {
                self.reads.out -= 1;
                self.read_list(asked, result, span, generation, now, out);
            }
            Done::Shown { item, result, span, generation } => {
                self.reads.out -= 1;
                match result {
                    Ok(Some(desktop)) => {
                        self.hear_read(Class::ShowDesktop, generation, now, out);
                        self.sight(item, Sight::Shown(&desktop), span, now, out);
                    }
                    Ok(None) => {
                        self.hear_read(Class::ShowDesktop, generation, now, out);
                        self.sight(item, Sight::Nowhere, span, now, out);
                    }
                    Err(fault) => self.read_failed(Class::ShowDesktop, &[item], &fault, generation, now, out),
                }
            }
            Done::JobTold { job_id, result, generation } => {
                self.reads.out -= 1;
                self.job_told(&job_id, result, generation, now, out);
            }
            Done::Renewed(result) => self.renewed(result, out),
            Done::Rechecks(list) => self.begin_rechecks(list, now, out),
            Done::Probed { lost: true, .. } => {}
            Done::Probed { result, generation, lost: false } => match result {
                Err(fault @ (ReadFault::Unauthorized { .. } | ReadFault::Throttled { .. })) => {
                    self.read_failed(Class::ListDesktops, &[], &fault, generation, now, out);
                }
                Err(fault) if fault.is_silence() => {
                    self.tried(Class::ListDesktops, Try::Silence, &fault.in_words(), now, out);
                }
                Err(_) | Ok(()) => self.hear_read(Class::ListDesktops, generation, now, out),
            },
        }
        self.judge_canary(out);
        let open = self.items.len() - self.parked;
        if open > 0 && self.writes_out == 0 && !self.said_verifying && self.parts.is_idle(u32::MAX) {
            self.said_verifying = true;
            out.events.push(Event::Verifying { open: open as u64 });
        }
    }

    /// A 429 that asks for more than anybody should wait, to a write or to a read.
    pub(super) fn stay_away(&mut self, wait: Duration, out: &mut Output) {
        let why = format!("the service asks to stay away for {} minutes", wait.as_secs() / 60);
        self.stop(StopReason::Throttled(why), out);
    }

    /// Counts successes and failures: for the outage limit, and the first tries of a process.
    pub(super) fn tried(&mut self, class: Class, came: Try, said: &str, now: Instant, out: &mut Output) {
        if let Some(reason) = self.link.tried(class, came, said, now, &self.rules) {
            self.stop(reason, out);
        }
    }

    pub(super) fn hear_read(&mut self, class: Class, generation: u32, now: Instant, out: &mut Output) {
        self.tried(class, Try::Success, "", now, out);
        self.link.prove(generation);
    }

    pub(super) fn unauthorized(&mut self, generation: u32, cause: &Refusal, out: &mut Output) {
        self.link.refusal = format!("{}: {}", cause.code, cause.message);
        match self.link.unauthorized(generation) {
            Refused::Outdated | Refused::Renew => {}
            Refused::Again => self.refuse_credentials(&format!("{}: {}", cause.code, cause.message), out),
        }
    }

    pub(super) fn refuse_credentials(&mut self, cause: &str, out: &mut Output) {
        self.link.shut();
        self.stop(StopReason::Credentials(format!("the service refuses the credentials ({cause})")), out);
    }

    pub(super) fn renewed(&mut self, result: Result<bool, String>, out: &mut Output) {
        match result {
            Ok(true) => self.link.renewed(),
            Ok(false) => {
                let said = std::mem::take(&mut self.link.refusal);
                self.refuse_credentials(&format!("{said}; they cannot be renewed"), out);
            }
            Err(why) => {
                let said = std::mem::take(&mut self.link.refusal);
                self.refuse_credentials(&format!("{said}; renewing them failed: {why}"), out);
            }
        }
    }
}
