//! What the tasks of a run share, and what each answer tells the gates.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::api::explain::clock_is_off;
use crate::api::{Reader, Reply, Writer};
use crate::journal::Journal;
use crate::model::{Class, Event, Refusal};
use crate::pace::{Gates, Heard, Pass};
use crate::reconcile::reads::ReadFault;

/// What the tasks share.
pub(super) struct Context {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) gates: Arc<Gates>,
    pub(super) class: Class,
    /// What a task tells as it goes, before it has come to its end.
    pub(super) telling: mpsc::UnboundedSender<Event>,
}

impl Context {
    pub(super) fn tell(&self, event: Event) {
        _ = self.telling.send(event); // nobody listens any more once the loop has ended
    }

    pub(super) fn throttled(&self, pass: &mut Pass, hint: crate::pace::ThrottleHint) -> Duration {
        let class = pass.class();
        let wait = self.gates.throttled(pass, hint);
        self.tell(Event::Throttled { class, wait });
        self.tell(Event::Paced { class, per_s: self.gates.pace(class) });
        wait
    }

    /// Takes in the reply to a read, and tells the gates what became of it.
    pub(super) fn heard_read<T>(
        &self,
        pass: &mut Pass,
        reply: &Reply,
        read: impl FnOnce(&Reply) -> Result<T, ReadFault>,
    ) -> Result<T, ReadFault> {
        let mut result = read(reply);
        if let Err(ReadFault::Unauthorized { cause }) = &mut result {
            note_clock(cause, reply);
        }
        match &result {
            Err(ReadFault::Throttled { hint, .. }) => _ = self.throttled(pass, *hint),
            Err(fault) => self.gates.heard(pass, fault.heard()),
            Ok(_) => self.gates.heard(pass, Heard::Success),
        }
        result
    }
}

/// A refusal of credentials says how far the clock is off, where that is its reason: it stands in rows and the last line.
pub(super) fn note_clock(cause: &mut Refusal, reply: &Reply) {
    let Reply::Answer(answer) = reply else { return };
    if let Some(words) = clock_is_off(answer, jiff::Timestamp::now()) {
        cause.message = format!("{}; {words}", cause.message);
    }
}
