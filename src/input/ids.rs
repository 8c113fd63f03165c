//! Each desktop's id once: rows hold its number, so that a million rows of as many cells are grouped without a look at
//! any text.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::to_usize;

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
    /// Ids that are UUIDs, and their numbers: no look at any text.
    uuids: HashTable<(Uuid, u32)>,
    hasher: DefaultHashBuilder,
    /// Scratch space: the number of the same UUID, or of the first text with the same half of a hash; 0 for none.
    likely: Vec<u32>,
}

/// An id of the form that the service gives its desktops: `9754b401-1ae0-38fd-07c6-e5850d235989`. Two such texts are the
/// same if and only if these numbers are.
type Uuid = [u32; 4];

impl Default for Ids {
    fn default() -> Self {
        let (known, uuids, hasher) = (HashTable::new(), HashTable::new(), DefaultHashBuilder::default());
        Self { text: String::new(), starts: vec![0, 0], known, uuids, hasher, likely: Vec::new() }
    }
}

impl Ids {
    /// No texts yet, to be numbered here.
    pub(super) fn texts(&self) -> Texts {
        Texts::new(self.hasher.clone())
    }

    /// The numbers of texts in turn, of new ones too. `None`: there would be more text, or more of them, than this
    /// program addresses.
    ///
    /// * `texts`: made by [`Ids::texts`].
    ///
    /// For each text by itself this would be four waits for the memory, one after the other. Loops as plain as these
    /// wait for many texts at once.
    pub(super) fn number(&mut self, texts: &Texts) -> Option<Vec<u32>> {
        self.likely.clear();
        self.likely.extend(texts.keys.iter().map(|&(half, uuid)| {
            let known = if let Some(uuid) = uuid {
                self.uuids.find(whole(half), |(theirs, _)| *theirs == uuid).map(|&(_, number)| number)
            } else {
                self.known.find(whole(half), |&(theirs, _)| theirs == half).map(|&(_, number)| number)
            };
            known.unwrap_or(0)
        }));
        let (bytes, mut seen) = (self.text.as_bytes(), 0);
        for (&number, _) in self.likely.iter().zip(&texts.keys).filter(|(_, (_, uuid))| uuid.is_none()) {
            let start = self.start(number);
            for at in [start, start + CACHE_LINE] {
                seen ^= bytes.get(at).copied().unwrap_or_default();
            }
        }
        std::hint::black_box(seen);
        let mut numbers = Vec::with_capacity(texts.keys.len());
        for (at, text) in texts.iter().enumerate() {
            let likely = self.likely[at];
            let (half, uuid) = texts.keys[at];
            numbers.push(match uuid {
                Some(_) if likely != 0 => likely,
                Some(uuid) => self.uuid(text, uuid, half)?,
                None if self.get(likely) == text => likely,
                None => self.one(text, half)?,
            });
        }
        Some(numbers)
    }

    fn uuid(&mut self, text: &str, uuid: Uuid, half: u32) -> Option<u32> {
        if let Some(&(_, number)) = self.uuids.find(whole(half), |(theirs, _)| *theirs == uuid) {
            return Some(number);
        }
        let number = self.add(text)?;
        let hasher = &self.hasher;
        self.uuids.insert_unique(whole(half), (uuid, number), |(uuid, _)| whole(self::half(hasher, uuid)));
        Some(number)
    }

    fn one(&mut self, text: &str, half: u32) -> Option<u32> {
        if text.is_empty() {
            return Some(0); // some other text has the same half of a hash
        }
        let same = |&(theirs, number): &(u32, u32)| theirs == half && self.get(number) == text;
        if let Some(&(_, number)) = self.known.find(whole(half), same) {
            return Some(number);
        }
        let number = self.add(text)?;
        self.known.insert_unique(whole(half), (half, number), |&(half, _)| whole(half));
        Some(number)
    }

    fn add(&mut self, text: &str) -> Option<u32> {
        let number = u32::try_from(self.len()).ok()?;
        self.text.push_str(text);
        self.starts.push(u32::try_from(self.text.len()).ok()?);
        Some(number)
    }

    /// Nothing is numbered any more: gives back what only that needs.
    pub(super) fn finish(&mut self) {
        (self.known, self.uuids, self.likely) = (HashTable::new(), HashTable::new(), Vec::new());
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

fn half(hasher: &DefaultHashBuilder, of: impl Hash) -> u32 {
    u32::try_from(hasher.hash_one(of) >> 32).unwrap_or_default()
}

/// `None`: no text of this form in lower case.
fn uuid(text: &str) -> Option<Uuid> {
    let bytes: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let dashes = [8, 13, 18, 23].map(|at| bytes[at]) == [b'-'; 4];
    let fours = [[0, 4], [9, 14], [19, 24], [28, 32]].map(|both| both.map(|at| four_digits(bytes, at)));
    let are_digits = fours.as_flattened().iter().fold(0, |all, four| all | four) < NO_DIGIT;
    (dashes && are_digits).then_some(fours.map(|[high, low]| high << 16 | low))
}

/// Their value; [`NO_DIGIT`] or more where one is none.
#[inline]
fn four_digits(bytes: &[u8; 36], at: usize) -> u32 {
    let [a, b, c, d] = [at, at + 1, at + 2, at + 3].map(|at| DIGITS[usize::from(bytes[at])]);
    a << 12 | b << 8 | c << 4 | d
}

const NO_DIGIT: u32 = 1 << 16;

/// The value of each hexadecimal digit, lower case.
const DIGITS: [u32; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0u8;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value as u32;
        value += 1;
    }
    digits
};

/// The table needs good bits at both ends of a hash.
fn whole(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Texts, one behind the other, and half of the hash of each: made by one thread, numbered by another.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    hasher: DefaultHashBuilder,
    text: String,
    ends: Vec<usize>,
    /// Half of the hash of each, and what it is as a UUID.
    keys: Vec<(u32, Option<Uuid>)>,
}

impl Texts {
    fn new(hasher: DefaultHashBuilder) -> Self {
        Self { hasher, text: String::new(), ends: Vec::new(), keys: Vec::new() }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
        let uuid = uuid(text);
        self.keys.push((uuid.map_or_else(|| self.half(text), |uuid| half(&self.hasher, uuid)), uuid));
    }

    /// Half of the hash of anything.
    #[inline]
    pub(super) fn half(&self, of: impl Hash) -> u32 {
        half(&self.hasher, of)
    }

    /// No texts, to be numbered where these are.
    pub(super) fn another(&self) -> Self {
        Self::new(self.hasher.clone())
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.keys.clear();
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
            batches in prop::collection::vec(prop::collection::vec("[ab张]{0,3}|[01a]{8}-0000-[0f]{4}-0000-0{11}[0fF]", 0..40), 0..8),
        ) {
            let (mut ids, mut plain) = (Ids::default(), HashMap::from([(String::new(), 0)]));
            for batch in batches {
                let mut texts = ids.texts();
                for text in &batch {
                    texts.push(text);
                }
                let numbers = ids.number(&texts).unwrap();
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
