//! Each desktop's id once: rows hold its number, so that a million rows of as many cells are grouped without a look at
//! any text.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::text::bytes::{eight, holds, to_usize};

/// A little less than what comes from the memory together.
const CACHE_LINE: usize = 48;

/// Different texts, numbered as they are first seen. Number 0 is the empty text.
#[derive(Debug, Clone)]
pub(in crate::input) struct Ids {
    text: String,
    /// Where each starts, and where the last one ends.
    starts: Vec<u32>,
    /// What each is as a UUID, [`NO_UUID`] for the others; those after the last UUID are not kept.
    uuids: Vec<Uuid>,
    /// Half of the id's hash, and its number: growing the table then looks at no text again.
    known: HashTable<(u32, u32)>,
    hasher: DefaultHashBuilder,
    /// Scratch space: the number of the first text with the same half of a hash; 0 for none.
    likely: Vec<u32>,
}

/// An id of the form that the service gives its desktops: `9754b401-1ae0-38fd-07c6-e5850d235989`. Two such texts are the
/// same if and only if these numbers are, which hold each of its digits.
type Uuid = [u64; 2];

const NO_UUID: Uuid = [0; 2];

impl Default for Ids {
    fn default() -> Self {
        Self {
            text: String::new(),
            starts: vec![0, 0],
            uuids: Vec::new(),
            known: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            likely: Vec::new(),
        }
    }
}

impl Ids {
    /// No texts yet, to be numbered here.
    pub(in crate::input) fn texts(&self) -> Texts {
        Texts::new(self.hasher.clone())
    }

    /// The numbers of texts in turn, of new ones too. `None`: there would be more text, or more of them, than this
    /// program addresses.
    ///
    /// * `texts`: made by [`Ids::texts`].
    ///
    /// For each text by itself this would be four waits for the memory, one after the other. Loops as plain as these
    /// wait for many texts at once.
    pub(in crate::input) fn number(&mut self, texts: &Texts) -> Option<Vec<u32>> {
        self.likely.clear();
        self.likely.extend(texts.keys.iter().map(|&(half, _)| {
            let known = self.known.find(whole(half), |&(theirs, _)| theirs == half);
            known.map_or(0, |&(_, number)| number)
        }));
        let (bytes, mut seen) = (self.text.as_bytes(), 0);
        for (&number, (_, uuid)) in self.likely.iter().zip(&texts.keys) {
            if uuid.is_some() {
                seen ^= self.as_uuid(number)[0];
                continue;
            }
            let start = self.start(number);
            for at in [start, start + CACHE_LINE] {
                seen ^= u64::from(bytes.get(at).copied().unwrap_or_default());
            }
        }
        std::hint::black_box(seen);
        let mut numbers = Vec::with_capacity(texts.keys.len());
        for (at, text) in texts.iter().enumerate() {
            let likely = self.likely[at];
            let (half, uuid) = texts.keys[at];
            let is_same = match uuid {
                Some(uuid) => self.as_uuid(likely) == uuid,
                None => self.get(likely) == text,
            };
            numbers.push(if is_same { likely } else { self.one(text, half, uuid)? });
        }
        Some(numbers)
    }

    fn one(&mut self, text: &str, half: u32, uuid: Option<Uuid>) -> Option<u32> {
        if text.is_empty() {
            return Some(0); // some other text has the same half of a hash
        }
        let same = |&(theirs, number): &(u32, u32)| {
            theirs == half && uuid.map_or_else(|| self.get(number) == text, |uuid| self.as_uuid(number) == uuid)
        };
        if let Some(&(_, number)) = self.known.find(whole(half), same) {
            return Some(number);
        }
        let number = u32::try_from(self.len()).ok()?;
        self.text.push_str(text);
        self.starts.push(u32::try_from(self.text.len()).ok()?);
        if let Some(uuid) = uuid {
            self.uuids.resize(to_usize(number), NO_UUID);
            self.uuids.push(uuid);
        }
        self.known.insert_unique(whole(half), (half, number), |&(half, _)| whole(half));
        Some(number)
    }

    /// [`NO_UUID`] for a text that is none.
    #[inline]
    fn as_uuid(&self, number: u32) -> Uuid {
        self.uuids.get(to_usize(number)).copied().unwrap_or(NO_UUID)
    }

    /// Nothing is numbered any more: gives back what only that needs.
    pub(in crate::input) fn finish(&mut self) {
        (self.known, self.uuids, self.likely) = (HashTable::new(), Vec::new(), Vec::new());
        self.text.shrink_to_fit();
        self.starts.shrink_to_fit();
    }

    /// How many numbers there are.
    pub(in crate::input) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    #[inline]
    pub(in crate::input) fn get(&self, number: u32) -> &str {
        self.text.get(self.start(number)..self.start(number + 1)).unwrap_or_default()
    }

    #[inline]
    fn start(&self, number: u32) -> usize {
        to_usize(self.starts[to_usize(number)])
    }

    /// Bytes that it holds.
    pub(in crate::input) fn bytes(&self) -> usize {
        self.text.len() + 4 * self.starts.len()
    }
}

fn half(hasher: &DefaultHashBuilder, of: impl Hash) -> u32 {
    u32::try_from(hasher.hash_one(of) >> 32).unwrap_or_default()
}

/// `None`: no text of this form in lower case; the one of zeros alone is a text like any other.
fn uuid(text: &str) -> Option<Uuid> {
    let bytes: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut digits = [0; 32];
    for (to, from) in [(0..8, 0..8), (8..12, 9..13), (12..16, 14..18), (16..20, 19..23), (20..32, 24..36)] {
        digits[to].copy_from_slice(&bytes[from]);
    }
    let has_dashes = [8, 13, 18, 23].map(|at| bytes[at]) == [b'-'; 4];
    if !has_dashes || holds(&digits, |digit| !(digit.is_ascii_digit() | matches!(digit, b'a'..=b'f'))) {
        return None;
    }
    let (words, _) = digits.as_chunks::<8>();
    // Eight digits at once: the lower half of each byte, to which letters add nine.
    let values = |word: [u8; 8]| {
        let word = u64::from_le_bytes(word);
        (word & eight(0x0F)) + 9 * ((word >> 6) & eight(1))
    };
    let uuid = [values(words[0]) << 4 | values(words[1]), values(words[2]) << 4 | values(words[3])];
    (uuid != NO_UUID).then_some(uuid)
}

/// The table needs good bits at both ends of a hash.
fn whole(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Texts, one behind the other, and half of the hash of each: made by one thread, numbered by another.
#[derive(Debug, Clone)]
pub(in crate::input) struct Texts {
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

    pub(in crate::input) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
        let uuid = uuid(text);
        self.keys.push((uuid.map_or_else(|| self.half(text), |uuid| self.half(uuid)), uuid));
    }

    /// Half of the hash of anything.
    #[inline]
    pub(in crate::input) fn half(&self, of: impl Hash) -> u32 {
        half(&self.hasher, of)
    }

    /// No texts, to be numbered where these are.
    pub(in crate::input) fn another(&self) -> Self {
        Self::new(self.hasher.clone())
    }

    /// Bytes of all of them.
    pub(in crate::input) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(in crate::input) fn clear(&mut self) {
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

    /// One of few ids, so that many are equal: short ones, UUIDs that differ by a digit or two, and what only looks like one.
    fn id(seed: u16) -> String {
        let digit = |of: u16, digits: &str| digits.chars().nth(usize::from(of) % digits.chars().count()).unwrap();
        match seed % 8 {
            0 => "00000000-0000-0000-0000-000000000000".to_owned(),
            1..=3 => (0..seed / 8 % 4).map(|at| digit(seed >> (5 + 2 * at), "ab张")).collect(),
            _ => {
                let (first, middle, last) = (seed >> 3, seed >> 9, seed >> 11);
                format!(
                    "0{}1a01a0-0000-0{}ff-0000-00000000000{}",
                    digit(first, "01a"),
                    digit(middle, "0f"),
                    digit(last, "0fF")
                )
            }
        }
    }

    proptest! {
        #[test]
        fn another_digit_makes_another_uuid(id in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", at in 0..36_usize, to in "[ -~]") {
            let mut other = id.clone();
            other.replace_range(at..=at, &to);
            let is_one = id.as_bytes()[at] == to.as_bytes()[0]
                || (id.as_bytes()[at] != b'-' && matches!(to.as_bytes()[0], b'0'..=b'9' | b'a'..=b'f'));
            prop_assert!(uuid(&id).is_some());
            prop_assert_eq!(uuid(&other).is_some(), is_one);
            prop_assert_eq!(uuid(&other) == uuid(&id), other == id);
        }

        #[test]
        fn equal_ids_have_one_number_and_numbers_go_by_first_sight(
            batches in prop::collection::vec(prop::collection::vec(any::<u16>().prop_map(id), 0..90), 0..8),
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
