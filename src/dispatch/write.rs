//! One write: its intent durable, its turn, the wire, its answer durable.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::{Context, note_clock};
use super::state::{Done, LOOK_LASTS, Part, kind_of};
use super::verdict::{Verdict, judge};
use crate::api::Reply;
use crate::journal::record::{AnswerRecord, Attempt, ItemId, Record};
use crate::journal::{AnswerKind, Item, JournalError};
use crate::model::{Class, DesktopId, Event};
use crate::pace::{Heard, MAX_GATE, Pass, Turn};
use crate::reconcile::judge::newcomers;
use crate::reconcile::reads::{self, ReadFault};
use crate::text::timestamp_now;

/// One write on its way.
pub(super) struct Write {
    pub(super) part: Part,
    pub(super) attempt: Attempt,
    pub(super) desktops: Vec<(ItemId, DesktopId)>,
    pub(super) users: usize,
    pub(super) generation: u32,
    /// Those from which everybody goes.
    pub(super) alls: Vec<Item>,
    pub(super) body: Bytes,
}

impl Write {
    /// Intent durable, then the turn, then the wire, then the answer durable; only then the slot is free.
    pub(super) async fn go(mut self, context: Arc<Context>, hold: CancellationToken) -> Result<Done, JournalError> {
        let Some(near) = context.gates.approach(context.class, &hold).await else {
            return Ok(self.withdrawn(None));
        };
        // It may have waited for its place for long, and somebody may be bound to an `ALL` desktop by now (P7).
        if self.part.is_stale(Instant::now(), LOOK_LASTS / 2) {
            match self.look(&context, &hold).await {
                Ok(true) => {}
                Ok(false) => {
                    self.part.look_again();
                    return Ok(self.withdrawn(None));
                }
                Err(fault) => {
                    self.part.look_again();
                    return Ok(self.withdrawn(Some(fault)));
                }
            }
        }
        self.attempt.at = timestamp_now();
        let id = self.attempt.id;
        context.journal.commit(vec![Record::Intent(self.attempt.clone())]).await?;
        // A turn that comes too late is left where it is, so that the next try, right after a fresh look, finds it free.
        let mut pass = match context.gates.pass_from(near, &hold, self.part.good_until(LOOK_LASTS)).await {
            Turn::Now(pass) => pass,
            turn => {
                // Stopped; or the look that allows an `ALL` has grown old at the gate: it is looked at again (P7).
                if matches!(turn, Turn::TooLate) {
                    self.part.look_again();
                }
                let withdrawn = AnswerRecord {
                    message: "cancelled before it was sent".to_owned(),
                    ..empty_answer(id, AnswerKind::NotSent)
                };
                context.journal.commit(vec![Record::Answer(withdrawn)]).await?;
                return Ok(self.withdrawn(None));
            }
        };
        if context.journal.has_failed() {
            // Its own intent is durable, but nothing more is sent on a disk that fails (P13): a commit says why.
            context.journal.commit(vec![Record::Answer(empty_answer(id, AnswerKind::NotSent))]).await?;
            return Ok(self.withdrawn(None));
        }
        context.tell(Event::Sent { part: self.part.label, desktops: self.desktops.len(), users: self.users });
        let began = Instant::now();
        let reply = context.writer.send(context.class, self.body.clone()).await;
        let ended = Instant::now();
        let sent: HashSet<String> = self.desktops.iter().map(|(_, desktop)| desktop.folded()).collect();
        let mut verdict = judge(&reply, |id| sent.contains(&id.to_ascii_lowercase()));
        if let Verdict::Unauthorized { cause } = &mut verdict {
            note_clock(cause, &reply);
        }
        let (status, request_id) = match &reply {
            Reply::Answer(answer) => (Some(answer.status), answer.request_id.clone().unwrap_or_default()),
            Reply::NotSent { .. } | Reply::Lost { .. } => (None, String::new()),
        };
        let wait = hear(&context, &mut pass, &verdict, status);
        context
            .journal
            .commit(vec![Record::Answer(self.answer_record(id, &verdict, status, &request_id, ended - began))])
            .await?;
        drop(pass);
        let too_long = (wait > MAX_GATE).then_some(wait);
        Ok(Done::Wrote {
            part: self.part,
            request_id: crate::text::escape_untrusted(&request_id, 100),
            verdict,
            began,
            ended,
            status,
            generation: self.generation,
            too_long,
        })
    }

    /// It does not leave now.
    fn withdrawn(self, fault: Option<ReadFault>) -> Done {
        Done::Withdrawn { part: self.part, fault, generation: self.generation }
    }

    /// Looks at the desktops from which everybody goes once more. Whether each is idle and holds nobody new.
    async fn look(&mut self, context: &Context, hold: &CancellationToken) -> Result<bool, ReadFault> {
        let Some(mut pass) = context.gates.pass(Class::ListDesktops, hold).await else { return Ok(false) };
        let limit = self.alls.len().to_string();
        let mut query: Vec<(&str, &str)> = self.alls.iter().map(|item| ("desktop_id", item.desktop.as_str())).collect();
        query.push(("limit", &limit));
        let began = Instant::now();
        let reply = context.reader.list_desktops(&query).await;
        let result = context.heard_read(&mut pass, &reply, reads::desktops);
        let shown = result?.entries;
        let is_as_planned = |item: &Item| {
            let live = shown.iter().find(|live| live.id.is_spelling_of(&item.desktop));
            live.and_then(|live| live.good()).is_some_and(|bound| newcomers(item, bound).is_empty())
        };
        let may_go = self.alls.iter().all(is_as_planned);
        if may_go {
            self.part.looked(began);
        }
        Ok(may_go)
    }

    fn answer_record(
        &self,
        attempt: u64,
        verdict: &Verdict,
        status: Option<u16>,
        request_id: &str,
        took: Duration,
    ) -> AnswerRecord {
        let (kind, code) = kind_of(verdict);
        let mut record = AnswerRecord {
            status,
            code,
            request_id: crate::text::escape_untrusted(request_id, 100),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            ..empty_answer(attempt, kind)
        };
        match verdict {
            Verdict::Taken { refused, job_id, .. } => {
                record.job_id.clone_from(job_id);
                record.refused = self
                    .desktops
                    .iter()
                    .filter_map(|(item, desktop)| {
                        let listed = refused.iter().find(|(id, _)| desktop.is_spelled(id))?;
                        Some((*item, listed.1.clone()))
                    })
                    .collect();
            }
            Verdict::NotSent { cause } => record.message.clone_from(cause),
            Verdict::Doubt { cause }
            | Verdict::Throttled { cause, .. }
            | Verdict::Later { cause }
            | Verdict::Unauthorized { cause }
            | Verdict::Busy { cause }
            | Verdict::Divide { cause }
            | Verdict::Forbidden { cause }
            | Verdict::Halt { cause, .. } => record.message.clone_from(&cause.message),
        }
        record
    }
}

/// The record of an answer, its details still to be filled in.
fn empty_answer(attempt: u64, kind: AnswerKind) -> AnswerRecord {
    AnswerRecord {
        attempt,
        kind,
        status: None,
        code: String::new(),
        message: String::new(),
        request_id: String::new(),
        job_id: String::new(),
        refused: Vec::new(),
        at: timestamp_now(),
        took_ms: 0,
    }
}

/// Tells the gates what became of a write; how long its class is closed by it.
fn hear(context: &Context, pass: &mut Pass, verdict: &Verdict, status: Option<u16>) -> Duration {
    let heard = match verdict {
        Verdict::Taken { .. } => Heard::Success,
        Verdict::Throttled { hint, .. } => return context.throttled(pass, *hint),
        Verdict::NotSent { .. } => Heard::NoConnection,
        Verdict::Doubt { .. } if status == Some(503) => Heard::Unavailable,
        Verdict::Doubt { .. } if status.is_some() => Heard::Failed,
        Verdict::Doubt { .. } => Heard::Lost,
        Verdict::Later { .. } => Heard::Unavailable,
        Verdict::Unauthorized { .. }
        | Verdict::Busy { .. }
        | Verdict::Divide { .. }
        | Verdict::Forbidden { .. }
        | Verdict::Halt { .. } => Heard::Refused,
    };
    context.gates.heard(pass, heard);
    Duration::ZERO
}
