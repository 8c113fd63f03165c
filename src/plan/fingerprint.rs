//! What a plan is known by: its hash, and a digest for each row that tells which one differs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use sha2::{Digest, Sha256};

use super::bodies::Binding;
use super::context::NONE;
use super::detach::{Plan, PlanEntry};
use super::fast::shares::threads;
use super::fate::Tag;
use crate::model::Bound;
use crate::text::bytes::to_usize;

/// What the hash covers beside the plan itself.
#[derive(Debug, Clone, Copy)]
pub struct HashFacts<'a> {
    pub endpoint: &'a str,
    pub project: &'a str,
    /// The settings that shape a plan, by option name.
    pub settings: &'a BTreeMap<String, String>,
}

/// Bytes that begin every hash: a change of what is covered changes them, and [`super::document::FORMAT`] with them.
const VERSION: &[u8] = b"batch-detach plan 2\n";

/// Bytes of bodies that are handed over together, and how many such blocks may wait.
const BLOCK: usize = 128 * 1024;
const BLOCKS_AHEAD: usize = 16;

/// A hasher in which no two lists of texts can look alike.
pub(crate) struct Fields {
    hash: Sha256,
    /// What it has not seen yet: millions of numbers one by one would cost it more than hashing them.
    pending: Vec<u8>,
}

/// Bytes that are hashed together.
const TOGETHER: usize = 1024;

impl Fields {
    /// * `version`: bytes that tell what is hashed, and how.
    pub(crate) fn new(version: &[u8]) -> Self {
        let mut fields = Self { hash: Sha256::new(), pending: Vec::new() };
        fields.raw(version);
        fields
    }

    pub(crate) fn finish(mut self) -> [u8; 32] {
        self.hash.update(&self.pending);
        self.hash.finalize().into()
    }

    /// Bytes of a length that nothing in them has to tell.
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        if self.pending.len() + bytes.len() > TOGETHER {
            self.hash.update(&self.pending);
            self.pending.clear();
        }
        if bytes.len() > TOGETHER {
            self.hash.update(bytes);
        } else {
            self.pending.extend_from_slice(bytes);
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn number(&mut self, number: usize) {
        self.raw(&u64::try_from(number).unwrap_or(u64::MAX).to_le_bytes());
    }

    pub(crate) fn covered(&mut self, facts: HashFacts<'_>) {
        self.text(facts.endpoint);
        self.text(facts.project);
        self.number(facts.settings.len());
        for (name, value) in facts.settings {
            self.text(name);
            self.text(value);
        }
    }

    pub(crate) fn optional(&mut self, text: Option<&str>) {
        self.raw(&[u8::from(text.is_some())]);
        self.text(text.unwrap_or_default());
    }
}

/// Some bodies, one a line, and where each ends.
#[derive(Default)]
struct Block {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Block {
    fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.ends.iter().map(move |&end| &self.text[std::mem::replace(&mut from, end + 1)..end])
    }
}

/// The bodies that are still to be made.
struct Making<'p, 't> {
    plan: &'p Plan<'t>,
    /// The chunks of each block.
    runs: Vec<Range<usize>>,
    /// The first block that nobody makes yet.
    next: AtomicUsize,
    /// Blocks whose memory can be used again.
    used: Mutex<Vec<Block>>,
}

impl Making<'_, '_> {
    /// Makes the next block; which one it is.
    fn next(&self) -> Option<(usize, Block)> {
        let run = self.next.fetch_add(1, Ordering::Relaxed);
        let chunks = self.runs.get(run)?.clone();
        let mut block = self.used().pop().unwrap_or_default();
        block.text.clear();
        block.ends.clear();
        for chunk in chunks {
            self.plan.append_body(chunk, &mut block.text);
            block.ends.push(block.text.len());
            block.text.push(b'\n');
        }
        Some((run, block))
    }

    fn used(&self) -> MutexGuard<'_, Vec<Block>> {
        // A list of empty buffers is whole whatever thread ended early.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bodies that several threads make, this one among them.
struct Bodies<'m, 'p, 't> {
    making: &'m Making<'p, 't>,
    made: mpsc::Receiver<(usize, Block)>,
}

impl Bodies<'_, '_, '_> {
    /// Hands all blocks to `take`, in their order.
    fn each(self, mut take: impl FnMut(&Block) -> io::Result<()>) -> io::Result<()> {
        let mut ready = BTreeMap::new();
        for run in 0..self.making.runs.len() {
            let block = loop {
                ready.extend(self.made.try_iter());
                if let Some(block) = ready.remove(&run) {
                    break block;
                }
                // Another thread is at it, or nobody: rather than wait, this one makes the next.
                let another = if ready.len() < BLOCKS_AHEAD { self.making.next() } else { None };
                let Some((run, block)) = another.or_else(|| self.made.recv().ok()) else {
                    return Err(io::Error::other("a thread that makes requests ended early"));
                };
                ready.insert(run, block);
            };
            take(&block)?;
            self.making.used().push(block);
        }
        Ok(())
    }
}

impl Plan<'_> {
    /// SHA-256 in hex over input, endpoint, project, settings, every row's fate, the bodies, and who is bound to each
    /// desktop that they touch; not time, power state or pace.
    ///
    /// # Panics
    /// Never: only writing could fail.
    pub fn hash(&self, facts: HashFacts<'_>) -> String {
        self.write_requests(facts, io::sink()).expect("nothing is written, so nothing fails")
    }

    /// Writes every body to `out`, one a line, in the order of chunks.
    pub fn requests(&self, mut out: impl Write) -> io::Result<()> {
        self.each_body(|bodies| bodies.each(|block| out.write_all(&block.text)))?;
        out.flush()
    }

    /// As [`Plan::hash`], and writes every body to `out`, one a line, in the order of chunks (`--requests`).
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_requests(&self, facts: HashFacts<'_>, mut out: impl Write) -> io::Result<String> {
        let mut hash = Fields::new(VERSION);
        hash.text(&self.input().sha256);
        hash.covered(facts);
        hash.raw(&[u8::from(self.looked())]);
        // The bodies are begun meanwhile.
        self.each_body(|bodies| {
            self.hash_fates(&mut hash);
            hash.number(self.chunks().len());
            bodies.each(|block| {
                block.bodies().for_each(|body| hash.bytes(body));
                out.write_all(&block.text)
            })
        })?;
        out.flush()?;
        Ok(hex::encode(hash.finish()))
    }

    /// Which binding of which desktop each entry becomes, and who is bound there.
    fn hash_fates(&self, hash: &mut Fields) {
        hash.number(self.entries().len());
        for (entry, (record, tag)) in self.entries().zip(self.entries.iter()) {
            // The input's digest covers the cells, and the bodies what is sent: here is which of it a row becomes.
            if tag == Tag::Send {
                hash.raw(&(record.to + 1).to_le_bytes());
            } else {
                // No slot has the number 0. The words of a message may change with the program.
                hash.raw(&[0; 4]);
                hash.text(entry.outcome().as_str());
                hash.text(entry.code());
                hash.text(entry.desktop());
            }
        }
        let mut digests = Digests::new(self);
        hash.number(self.items.len());
        for item in &self.items {
            hash.raw(&item.first.to_le_bytes());
            hash.raw(&item.len.to_le_bytes());
            hash.raw(&[u8::from(self.context.live(item.desk).is_some())]);
            hash.raw(&digests.bound_to(item.desk));
        }
    }

    /// Hands all bodies to `take`, in the order of chunks. Other threads make them meanwhile.
    fn each_body(&self, take: impl FnOnce(Bodies<'_, '_, '_>) -> io::Result<()>) -> io::Result<()> {
        self.each_body_by(threads(), BLOCK, take)
    }

    /// * `block`: bytes of bodies that are handed over together.
    fn each_body_by(
        &self,
        threads: usize,
        block: usize,
        take: impl FnOnce(Bodies<'_, '_, '_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (runs, used) = (self.runs_of_chunks(block), Mutex::default());
        let making = &Making { plan: self, runs, next: AtomicUsize::new(0), used };
        std::thread::scope(|scope| {
            let (full, made) = mpsc::sync_channel(BLOCKS_AHEAD);
            for _ in 1..threads {
                let full = full.clone();
                let work = move || {
                    while let Some(block) = making.next() {
                        if full.send(block).is_err() {
                            return; // nobody wants the rest
                        }
                    }
                };
                // Where the system has no thread left, there is one less.
                _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            // Whoever wants the bodies shows the plan next.
            _ = std::thread::Builder::new().spawn_scoped(scope, || self.stats());
            drop(full);
            take(Bodies { making, made })
        })
    }

    /// Cuts the chunks into runs whose bodies have at least so many bytes together; the last may have fewer.
    fn runs_of_chunks(&self, bytes: usize) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        let (mut from, mut sum) = (0, 0);
        for (at, chunk) in self.chunks().iter().enumerate() {
            sum += chunk.bytes;
            if sum >= bytes || at + 1 == self.chunks().len() {
                runs.push(from..at + 1);
                (from, sum) = (at + 1, 0);
            }
        }
        runs
    }

    /// SHA-256 in hex of the body of the chunk at this place.
    pub fn body_sha256(&self, chunk: usize, scratch: &mut Vec<u8>) -> String {
        self.write_body(chunk, scratch);
        hex::encode(Sha256::digest(scratch))
    }
}

/// A digest of each entry's fate, and of who is bound to the desktop that it touches. Which chunk carries it is not in
/// it: one row less moves many, and they are not the ones that differ.
pub(super) struct Digests<'p, 't> {
    plan: &'p Plan<'t>,
    /// Of each desktop, once it was needed.
    desks: Vec<Option<[u8; 32]>>,
}

impl<'p, 't> Digests<'p, 't> {
    pub(super) fn new(plan: &'p Plan<'t>) -> Self {
        let desks = if plan.looked() { plan.context.desks() } else { 0 };
        Self { plan, desks: vec![None; desks] }
    }

    pub(super) fn of(&mut self, entry: &PlanEntry<'_, 't>) -> [u8; 8] {
        let mut hash = Fields::new(b"");
        hash.text(entry.desktop());
        hash.text(entry.user());
        hash.text(entry.outcome().as_str());
        match entry.slot() {
            Some((desk, slot)) => {
                let Binding { kind, user_name, user_id, sent_group, domain, .. } =
                    self.plan.context.binding(desk, slot);
                hash.text(kind.as_str());
                hash.text(user_name);
                hash.optional(user_id);
                hash.optional(sent_group);
                hash.optional(domain);
                hash.raw(&[u8::from(slot.bound != NONE)]);
                hash.raw(&self.bound_to(desk));
            }
            None => hash.text(entry.code()),
        }
        first_eight(&hash.finish())
    }

    /// [`bound_digest`] of a desktop.
    fn bound_to(&mut self, desk: u32) -> [u8; 32] {
        let plan = self.plan;
        let Some(known) = self.desks.get_mut(to_usize(desk)) else { return [0; 32] };
        *known.get_or_insert_with(|| bound_digest(plan.context.live(desk).and_then(|live| live.bound.as_deref())))
    }
}

/// Who is bound to a desktop, whatever order the service lists them in; `None`: it was not told.
pub(crate) fn bound_digest(live: Option<&[Bound]>) -> [u8; 32] {
    let mut bound: Vec<&Bound> = live.into_iter().flatten().collect();
    bound.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
    let mut hash = Fields::new(b"");
    // A list that was not told is not an empty one.
    hash.raw(&[u8::from(live.is_some())]);
    hash.number(bound.len());
    for one in bound {
        hash.text(one.kind.as_str());
        hash.text(&one.user_name);
        hash.optional(one.user_id.as_deref());
        hash.optional(one.user_group.as_deref());
        hash.optional(one.domain.as_deref());
    }
    hash.finish()
}

fn order(one: &Bound) -> (&str, &str, Option<&str>, Option<&str>, Option<&str>) {
    (one.kind.as_str(), &one.user_name, one.user_id.as_deref(), one.domain.as_deref(), one.user_group.as_deref())
}

/// Enough to tell that a row differs: the plan's own hash is whole.
pub(crate) fn first_eight(digest: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    first
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::super::detach::plan;
    use super::super::fixture::input;
    use super::super::policy::{Bounds, Policy};

    proptest! {
        #[test]
        fn p17_bodies_that_threads_make_come_in_the_order_of_chunks(
            desks in prop::collection::vec(0..90_u8, 1..300), threads in 1..5_usize, block in 1..900_usize,
        ) {
            let mut csv = "desktop_id,user_name\n".to_owned();
            for (user, desk) in desks.into_iter().enumerate() {
                writeln!(csv, "d{desk},user{user}").unwrap();
            }
            let input = input(&csv);
            let bounds = Bounds { max_desktops: 2, max_users_per_desktop: 2, ..Bounds::default() };
            let made = plan(&input, None, &Policy { bounds, ..Policy::default() });
            let mut bodies = Vec::new();
            let taken = made.each_body_by(threads, block, |blocks| {
                blocks.each(|block| {
                    bodies.extend(block.bodies().map(<[u8]>::to_vec));
                    Ok(())
                })
            });
            taken.unwrap();
            let mut plain = Vec::new();
            for chunk in 0..made.chunks().len() {
                let mut body = Vec::new();
                made.write_body(chunk, &mut body);
                plain.push(body);
            }
            prop_assert_eq!(bodies, plain);
        }
    }
}
