//! Each desktop's id once: rows hold its number, so that a million rows of as many cells are grouped without a look at
//! any text.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// A little less than what comes from the memory together.
const CACHE_LINE: usize = 48;

/// Different texts, numbered as they are first seen. Number 0 is the empty text.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    text: String,
    /// Where each starts, and where the last one ends.
    starts: Vec<u32>,
    /// Half of the id's hash, and its number: growing the table then looks at no text again.
    known: HashTable<(u32, u32)>,
    hasher: DefaultHashBuilder,
    /// Scratch space: the hashes of what is being numbered.
    halves: Vec<u32>,
}

impl Default for Ids {
    fn default() -> Self {
        let (known, hasher) = (HashTable::new(), DefaultHashBuilder::default());
        Self { text: String::new(), starts: vec![0, 0], known, hasher, halves: Vec::new() }
    }
}

impl Ids {
    /// Numbers texts in turn, new ones too; `numbers` is emptied first. `None`: there would be more text, or more of
    /// them, than this program addresses.
    ///
    /// For each text by itself this would be four waits for the memory, one after the other. Loops as plain as these
    /// wait for many texts at once.
    pub(super) fn number(&mut self, texts: &Texts, numbers: &mut Vec<u32>) -> Option<()> {
        numbers.clear();
        self.halves.clear();
        let half = |text: &str| u32::try_from(self.hasher.hash_one(text) >> 32).unwrap_or_default();
        self.halves.extend(texts.iter().map(half));
        let mut seen = 0;
        for &half in &self.halves {
            if let Some(&(_, number)) = self.known.find(whole(half), |&(theirs, _)| theirs == half) {
                let start = self.start(number);
                for at in [start, start + CACHE_LINE] {
                    seen ^= self.text.as_bytes().get(at).copied().unwrap_or_default();
                }
            }
        }
        std::hint::black_box(seen);
        for (at, text) in texts.iter().enumerate() {
            let half = self.halves[at];
            numbers.push(self.one(text, half)?);
        }
        Some(())
    }

    fn one(&mut self, text: &str, half: u32) -> Option<u32> {
        if text.is_empty() {
            return Some(0);
        }
        let same = |&(theirs, number): &(u32, u32)| theirs == half && self.get(number) == text;
        if let Some(&(_, number)) = self.known.find(whole(half), same) {
            return Some(number);
        }
        let number = u32::try_from(self.len()).ok()?;
        self.text.push_str(text);
        self.starts.push(u32::try_from(self.text.len()).ok()?);
        self.known.insert_unique(whole(half), (half, number), |&(half, _)| whole(half));
        Some(number)
    }

    /// Nothing is numbered any more: gives back what only that needs.
    pub(super) fn finish(&mut self) {
        (self.known, self.halves) = (HashTable::new(), Vec::new());
        self.text.shrink_to_fit();
        self.starts.shrink_to_fit();
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> &str {
        self.text.get(self.start(number)..self.start(number + 1)).unwrap_or_default()
    }

    #[inline]
    fn start(&self, number: u32) -> usize {
        to_usize(self.starts[to_usize(number)])
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + 4 * self.starts.len()
    }
}

/// The table needs good bits at both ends of a hash.
fn whole(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).expect("a usize has at least 32 bits on every platform this runs on")
}

/// Texts, one behind the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| self.text.get(std::mem::replace(&mut start, end)..end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_ids_have_one_number_and_numbers_go_by_first_sight(
            batches in prop::collection::vec(prop::collection::vec("[ab张]{0,3}", 0..40), 0..8),
        ) {
            let (mut ids, mut plain) = (Ids::default(), HashMap::from([(String::new(), 0)]));
            for batch in batches {
                let mut texts = Texts::default();
                for text in &batch {
                    texts.push(text);
                }
                let mut numbers = Vec::new();
                ids.number(&texts, &mut numbers).unwrap();
                for (text, number) in batch.into_iter().zip(numbers) {
                    prop_assert_eq!(ids.get(number), &text);
                    let next = u32::try_from(plain.len()).unwrap();
                    prop_assert_eq!(*plain.entry(text).or_insert(next), number);
                }
            }
            prop_assert_eq!(ids.len(), plain.len());
        }
    }
}
