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
    /// Scratch space: the number of the first text with the same half of a hash, 0 for none.
    likely: Vec<u32>,
}

impl Default for Ids {
    fn default() -> Self {
        let (known, hasher) = (HashTable::new(), DefaultHashBuilder::default());
        Self { text: String::new(), starts: vec![0, 0], known, hasher, likely: Vec::new() }
    }
}

impl Ids {
    /// No texts yet, to be numbered here.
    pub(super) fn texts(&self) -> Texts {
        Texts { hasher: self.hasher.clone(), text: String::new(), ends: Vec::new(), halves: Vec::new() }
    }

    /// Numbers texts in turn, new ones too; `numbers` is emptied first. `None`: there would be more text, or more of
    /// them, than this program addresses.
    ///
    /// * `texts`: made by [`Ids::texts`].
    ///
    /// For each text by itself this would be four waits for the memory, one after the other. Loops as plain as these
    /// wait for many texts at once.
    pub(super) fn number(&mut self, texts: &Texts, numbers: &mut Vec<u32>) -> Option<()> {
        numbers.clear();
        self.likely.clear();
        self.likely.extend(texts.halves.iter().map(|&half| {
            let known = self.known.find(whole(half), |&(theirs, _)| theirs == half);
            known.map_or(0, |&(_, number)| number)
        }));
        numbers.extend(self.likely.iter().map(|&number| self.starts[to_usize(number)]));
        let (bytes, mut seen) = (self.text.as_bytes(), 0);
        for &start in &*numbers {
            let start = to_usize(start);
            for at in [start, start + CACHE_LINE] {
                seen ^= bytes.get(at).copied().unwrap_or_default();
            }
        }
        std::hint::black_box(seen);
        for ((at, text), number) in texts.iter().enumerate().zip(numbers) {
            let (likely, start) = (self.likely[at], to_usize(*number));
            let same = self.text.as_bytes().get(start..self.start(likely + 1)) == Some(text.as_bytes());
            *number = if same { likely } else { self.one(text, texts.halves[at])? };
        }
        Some(())
    }

    fn one(&mut self, text: &str, half: u32) -> Option<u32> {
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
        (self.known, self.likely) = (HashTable::new(), Vec::new());
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

/// Texts, one behind the other, and half of the hash of each: made by one thread, numbered by another.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    hasher: DefaultHashBuilder,
    text: String,
    ends: Vec<usize>,
    halves: Vec<u32>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
        self.halves.push(self.half(text));
    }

    /// Half of the hash of any text.
    #[inline]
    pub(super) fn half(&self, text: &str) -> u32 {
        u32::try_from(self.hasher.hash_one(text) >> 32).unwrap_or_default()
    }

    /// No texts, to be numbered where these are.
    pub(super) fn another(&self) -> Self {
        Self { hasher: self.hasher.clone(), text: String::new(), ends: Vec::new(), halves: Vec::new() }
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.halves.clear();
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
                let mut texts = ids.texts();
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
