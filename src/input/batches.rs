//! Records on their way from the thread that splits the text to the one that judges them.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::row::{Record, Rows};

/// Bytes of cells that are handed over together, and how many such batches may wait.
const BATCH: usize = 64 * 1024;
const AHEAD: usize = 4;

/// What takes records, one after the other.
pub(super) trait Sink {
    /// * `inside`: line ends within the record's cells.
    ///
    /// # Errors
    /// In words, with the place: what makes the input as a whole unreadable.
    fn take(&mut self, record: Record<'_>, inside: u64) -> Result<(), String>;
}

impl Sink for Rows<'_> {
    fn take(&mut self, record: Record<'_>, inside: u64) -> Result<(), String> {
        Rows::take(self, record).map_err(|problem| {
            // Told here, because only here it is known that the record spans lines.
            if inside == 0 { problem } else { format!("{problem} (the record spans {} lines)", inside + 1) }
        })
    }
}

/// Some records, their cells in one text.
#[derive(Default)]
pub(super) struct Batch {
    text: String,
    ends: Vec<usize>,
    records: Vec<Place>,
}

/// One record: its line, the line ends within it, and where it ends in the batch's two lists.
struct Place {
    line: u64,
    inside: u64,
    text: usize,
    ends: usize,
}

impl Batch {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.records.clear();
    }

    fn hand_to(&self, sink: &mut impl Sink) -> Result<(), String> {
        let (mut text, mut ends) = (0, 0);
        for place in &self.records {
            let record = Record {
                line: place.line,
                text: &self.text[text..place.text],
                ends: &self.ends[ends..place.ends],
                damaged: &[],
                covered: &[],
            };
            sink.take(record, place.inside)?;
            (text, ends) = (place.text, place.ends);
        }
        Ok(())
    }
}

/// The splitting thread's end.
pub(super) struct Sending {
    batch: Batch,
    full: SyncSender<Batch>,
    used: Receiver<Batch>,
}

/// The judging thread's end.
pub(super) struct Receiving {
    full: Receiver<Batch>,
    back: Sender<Batch>,
}

/// Both ends of a line of batches.
pub(super) fn line() -> (Sending, Receiving) {
    let (full, filled) = sync_channel(AHEAD);
    let (back, used) = channel();
    (Sending { batch: Batch::default(), full, used }, Receiving { full: filled, back })
}

impl Sending {
    /// Sends what is not sent yet.
    ///
    /// # Errors
    /// Nobody wants any more; the other end knows why.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        let mut next = self.used.try_recv().unwrap_or_default();
        next.clear();
        let batch = std::mem::replace(&mut self.batch, next);
        self.full.send(batch).map_err(|_| "the rest is not wanted".to_owned())
    }
}

impl Sink for Sending {
    fn take(&mut self, record: Record<'_>, inside: u64) -> Result<(), String> {
        let batch = &mut self.batch;
        batch.text.push_str(record.text);
        batch.ends.extend_from_slice(record.ends);
        batch.records.push(Place { line: record.line, inside, text: batch.text.len(), ends: batch.ends.len() });
        if batch.text.len() >= BATCH { self.flush() } else { Ok(()) }
    }
}

impl Receiving {
    /// Hands all records to `sink` until the other end is gone.
    ///
    /// # Errors
    /// The first of `sink`, which ends the other end's work, too.
    pub(super) fn hand_to(self, sink: &mut impl Sink) -> Result<(), String> {
        for batch in self.full {
            batch.hand_to(sink)?;
            _ = self.back.send(batch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::delimited::Records;

    /// Keeps all records in words, and refuses one.
    #[derive(Default)]
    struct Kept {
        records: Vec<String>,
        refuse: Option<usize>,
    }

    impl Sink for Kept {
        fn take(&mut self, record: Record<'_>, inside: u64) -> Result<(), String> {
            if self.refuse == Some(self.records.len()) {
                return Err("enough".to_owned());
            }
            self.records.push(format!("{record:?} {inside}"));
            Ok(())
        }
    }

    fn split(text: &str, sink: &mut impl Sink) -> Result<(), String> {
        let mut records = Records::new(b',');
        records.feed(text.as_bytes(), sink)?;
        records.finish(sink)
    }

    fn over_a_line(text: &str, sink: &mut Kept) -> Result<(), String> {
        std::thread::scope(|scope| {
            let (mut sending, receiving) = line();
            let splitting = scope.spawn(move || {
                let split = split(text, &mut sending);
                split.and(sending.flush())
            });
            let taken = receiving.hand_to(sink);
            let split = splitting.join().unwrap();
            taken.and(split)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_that_change_threads_are_those_that_stay(
            text in "([a-c张\"\n\r]{0,3},){0,40}", times in 1..4_000_usize, refuse in prop::option::of(0..300_usize),
        ) {
            let text = text.repeat(times.min(300_000 / text.len().max(1)));
            let (mut plain, mut moved) = (Kept::default(), Kept::default());
            (plain.refuse, moved.refuse) = (refuse, refuse);
            let (wanted, is) = (split(&text, &mut plain), over_a_line(&text, &mut moved));
            prop_assert_eq!(is, wanted);
            prop_assert_eq!(moved.records, plain.records);
        }
    }
}
