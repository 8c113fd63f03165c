//! Which encoding the input is in, and its bytes as UTF-8, block by block.

use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{BIG5, Decoder, DecoderResult, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE};
use sha2::{Digest, Sha256};

/// Bytes read at first. The header line must fit this block, so it is more than a record may hold, in UTF-16.
const FIRST: usize = 256 * 1024;
/// Bytes read at once from then on: what goes from thread to thread should fit a core's cache.
const BLOCK: usize = 64 * 1024;

/// How the input's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    pub(super) encoding: &'static Encoding,
    /// Bytes of the byte order mark.
    pub(super) bom: usize,
    /// Whether a mark or the user says so; else bytes that do not fit are a reason to look again.
    pub(super) certain: bool,
    /// What to tell about it.
    pub(super) note: Option<&'static str>,
}

/// Decides by the byte order mark, by what was asked for, or by how NUL bytes lie; UTF-8 where none of them speaks.
///
/// # Errors
/// In words: an unknown label, or a mark that contradicts what was asked for.
pub(super) fn detect(head: &[u8], asked: Option<&str>) -> Result<Reading, String> {
    let mark = Encoding::for_bom(head);
    let Some(label) = asked else {
        let (encoding, bom, note) = match mark {
            Some((encoding, bom)) => (encoding, bom, None),
            None => match utf_16_by_nuls(head) {
                Some(encoding) => (encoding, 0, Some(UTF_16_GUESSED)),
                None => return Ok(Reading { encoding: UTF_8, bom: 0, certain: false, note: None }),
            },
        };
        return Ok(Reading { encoding, bom, certain: true, note });
    };
    let encoding = Encoding::for_label_no_replacement(label.trim().as_bytes()).ok_or_else(|| {
        format!("setting `encoding`: `{label}` is not a known encoding; use utf-8, utf-16le, utf-16be or gb18030")
    })?;
    // `utf-16` alone leaves the order of the bytes to the mark.
    let any_order = label.trim().eq_ignore_ascii_case("utf-16");
    match mark {
        Some((marked, bom)) if marked == encoding || (any_order && marked == UTF_16BE) => {
            Ok(Reading { encoding: marked, bom, certain: true, note: None })
        }
        Some((marked, _)) => Err(format!(
            "setting `encoding` says {}, but the file starts with the byte order mark of {}; leave the setting out",
            encoding.name(),
            marked.name()
        )),
        None if any_order => {
            let encoding = utf_16_by_nuls(head).unwrap_or(encoding);
            Ok(Reading { encoding, bom: 0, certain: true, note: None })
        }
        None => Ok(Reading { encoding, bom: 0, certain: true, note: None }),
    }
}

const UTF_16_GUESSED: &str = "read as UTF-16, guessed from the zero bytes because the file has no byte order mark: \
                              check the names in the plan, or say the encoding with --encoding";
const GB18030_GUESSED: &str = "read as GB18030, guessed because the bytes are not UTF-8: check the names in the plan, \
                               or say the encoding with --encoding";

/// ASCII in UTF-16 has a NUL in each second byte; one or two stray NULs are no UTF-16. On the other side there are
/// few: 开 is U+5F00.
fn utf_16_by_nuls(head: &[u8]) -> Option<&'static Encoding> {
    let head = &head[..head.len().min(4096)];
    let nuls = |from: usize| head.iter().skip(from).step_by(2).filter(|&&b| b == 0).count();
    let enough = (head.len() / 20).max(2);
    match (nuls(0), nuls(1)) {
        (even, odd) if odd >= enough && even * 8 <= odd => Some(UTF_16LE),
        (even, odd) if even >= enough && odd * 8 <= even => Some(UTF_16BE),
        _ => None,
    }
}

/// For bytes that are not UTF-8: GB18030, where it is that by all signs.
///
/// Nothing else is guessed: in a one-byte encoding every byte means something, so a wrong guess would quietly
/// make other names, and a name that nobody has counts as "already detached".
///
/// `bytes` stands at the first one; from the first that is not ASCII on, a megabyte is looked at.
///
/// # Errors
/// Inside: what the bytes look like.
pub(super) fn guess(bytes: impl Read) -> io::Result<Result<Reading, &'static str>> {
    let (sample, is_all) = sample(bytes)?;
    Ok(match judge(&sample, is_all) {
        None => Ok(Reading { encoding: GB18030, bom: 0, certain: true, note: Some(GB18030_GUESSED) }),
        Some(looks_like) => Err(looks_like),
    })
}

/// The first megabyte of the part that starts with a byte beyond ASCII, and whether it reaches the end.
fn sample(mut bytes: impl Read) -> io::Result<(Vec<u8>, bool)> {
    let mut sample = Vec::new();
    let mut block = vec![0; FIRST];
    while sample.len() < 4 * FIRST {
        let count = match bytes.read(&mut block) {
            Ok(0) => return Ok((sample, true)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        // A block of ASCII ends where a character ends, in both encodings.
        if !sample.is_empty() || !block[..count].is_ascii() {
            sample.extend_from_slice(&block[..count]);
        }
    }
    Ok((sample, false))
}

/// `None` for GB18030, else what the sample looks like.
fn judge(sample: &[u8], is_all: bool) -> Option<&'static str> {
    // Characters of three bytes hardly ever come about by chance: this was UTF-8 before something damaged it.
    let (mut long, mut damaged) = (0, 0);
    for chunk in sample.utf8_chunks() {
        long += chunk.valid().chars().filter(|c| c.len_utf8() > 2).count();
        damaged += usize::from(!chunk.invalid().is_empty());
    }
    let is_cut = is_all && std::str::from_utf8(sample).is_err_and(|error| error.error_len().is_none());
    if is_cut || (long > 0 && long >= damaged) {
        return Some("damaged or cut-off UTF-8");
    }

    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, is_all);
    let guessed = detector.guess(None, Utf8Detection::Deny);
    if let Some(looks_like) = cyrillic(sample) {
        return Some(looks_like);
    }
    if guessed == GBK || guessed == GB18030 {
        return None;
    }
    // A few names are too little for the detector, but they show that every character is one of GB 2312, and
    // nearly all are among its frequent ones: neither Latin nor Cyrillic letters look like that.
    let (mut pairs, mut rare, mut other) = (0, 0, 0);
    let mut rest = sample;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (0..=0x7F, _) => tail,
            // Rows 4 and 5 are kana.
            (0xA1..=0xA3 | 0xA6..=0xF7, [0xA1..=0xFE, tail @ ..]) => {
                pairs += 1;
                rare += usize::from(*first >= 0xD8);
                tail
            }
            _ => {
                other += 1;
                tail
            }
        };
    }
    let is_other_cjk = [BIG5, EUC_KR, SHIFT_JIS].contains(&guessed);
    (is_other_cjk || pairs == 0 || other > usize::from(!is_all) || rare * 3 > pairs).then(|| guessed.name())
}

/// The one-byte encoding in which every run of bytes beyond ASCII is a word of Cyrillic letters as they are written, the
/// first perhaps a capital. In a list of Chinese names some run is none.
fn cyrillic(sample: &[u8]) -> Option<&'static str> {
    let words = || sample.split(u8::is_ascii).filter(|word| !word.is_empty());
    let is_word = |word: &[u8], capitals: std::ops::RangeInclusive<u8>, smalls: std::ops::RangeInclusive<u8>| {
        let (first, rest) = word.split_first().unwrap_or((&0, &[]));
        let is_small = |byte: &u8| smalls.contains(byte);
        (capitals.contains(first) || is_small(first)) && rest.iter().all(is_small)
            || word.iter().all(|byte| capitals.contains(byte))
    };
    if words().all(|word| is_word(word, 0xC0..=0xDF, 0xE0..=0xFF)) {
        Some("windows-1251")
    } else if words().all(|word| is_word(word, 0xE0..=0xFF, 0xC0..=0xDF)) && words().any(|word| word.len() > 2) {
        Some("koi8-r")
    } else {
        None
    }
}

/// What a block of input brought.
#[derive(Debug)]
pub(super) enum Block {
    Text(String),
    /// The next bytes mean nothing in this encoding.
    Undecodable,
    End,
}

/// The bytes of a reader as text, hashed on their way.
pub(super) struct TextBlocks<R> {
    reader: R,
    hash: Sha256,
    /// `None` for UTF-8, which is checked and passed on as it is.
    decoder: Option<Decoder>,
    /// What was read and is not passed on yet: of UTF-8 a character that a block's end cut in two.
    rest: Vec<u8>,
    read: u64,
    ended: bool,
    bad: bool,
}

impl<R: Read> TextBlocks<R> {
    /// `reader` stands at the first byte of the input.
    pub(super) fn new(reader: R, reading: Reading) -> io::Result<Self> {
        let decoder = (reading.encoding != UTF_8).then(|| reading.encoding.new_decoder_without_bom_handling());
        let (hash, rest) = (Sha256::new(), Vec::new());
        let mut blocks = Self { reader, hash, decoder, rest, read: 0, ended: false, bad: false };
        blocks.fill(&mut Vec::new(), reading.bom)?;
        Ok(blocks)
    }

    /// The next block, as long as may be: so the first one holds the whole header line.
    ///
    /// * `used`: a block that is not needed any more; its memory is.
    pub(super) fn next(&mut self, used: String) -> io::Result<Block> {
        let text = match () {
            () if self.bad => String::new(),
            () if self.decoder.is_some() => self.decoded(used)?,
            () => self.checked(used)?,
        };
        Ok(match text.as_str() {
            "" if self.bad => Block::Undecodable,
            "" => Block::End,
            _ => Block::Text(text),
        })
    }

    fn checked(&mut self, used: String) -> io::Result<String> {
        let mut bytes = used.into_bytes();
        bytes.clear();
        bytes.append(&mut self.rest);
        self.fill(&mut bytes, self.block())?;
        String::from_utf8(bytes).or_else(|error| {
            // A character may be cut in two by the block's end, but not by the file's.
            self.bad = error.utf8_error().error_len().is_some() || self.ended;
            let valid = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            self.rest = bytes.split_off(valid);
            String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        })
    }

    fn decoded(&mut self, mut text: String) -> io::Result<String> {
        text.clear();
        text.reserve(self.block());
        while let Some(mut decoder) = self.decoder.take() {
            let mut raw = std::mem::take(&mut self.rest);
            if raw.is_empty() {
                self.fill(&mut raw, self.block())?;
            }
            let (result, read) = decoder.decode_to_string_without_replacement(&raw, &mut text, self.ended);
            raw.drain(..read);
            self.rest = raw;
            match result {
                DecoderResult::InputEmpty if self.ended => break,
                DecoderResult::InputEmpty => self.decoder = Some(decoder),
                DecoderResult::OutputFull => {
                    self.decoder = Some(decoder);
                    break;
                }
                DecoderResult::Malformed(..) => {
                    self.bad = true;
                    break;
                }
            }
        }
        Ok(text)
    }

    /// Bytes that the next block takes.
    fn block(&self) -> usize {
        let only_a_mark = self.read < 4;
        if only_a_mark { FIRST } else { BLOCK }
    }

    /// Reads until `bytes` has this length or the input ends.
    fn fill(&mut self, bytes: &mut Vec<u8>, length: usize) -> io::Result<()> {
        if self.ended {
            return Ok(()); // whatever a file grows by after its end was seen
        }
        let before = bytes.len();
        bytes.reserve_exact(length.saturating_sub(before));
        let wanted = u64::try_from(length.saturating_sub(before)).unwrap_or(u64::MAX);
        let count = (&mut self.reader).take(wanted).read_to_end(bytes)?;
        self.hash.update(&bytes[before..]);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.ended |= count < wanted;
        self.read += count;
        Ok(())
    }

    /// How many raw bytes there were so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// SHA-256 of all bytes that were read, hex.
    pub(super) fn sha256(self) -> String {
        hex::encode(self.hash.finalize())
    }
}

/// Decodes a whole sample without an error, or not at all; for tests of what is decodable.
#[cfg(test)]
fn decode_all(bytes: &[u8], reading: Reading) -> Option<String> {
    let mut blocks = TextBlocks::new(bytes, reading).unwrap();
    let mut text = String::new();
    loop {
        match blocks.next(String::new()).unwrap() {
            Block::Text(block) => text.push_str(&block),
            Block::Undecodable => return None,
            Block::End => return Some(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utf_16(text: &str, little: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    }

    #[test]
    fn a_mark_or_the_nuls_tell_utf_16_and_the_user_has_the_last_word() {
        let text = "user_name,desktop\nalice,d1\n";
        assert_eq!(detect(&utf_16(text, true), None).unwrap().encoding, UTF_16LE);
        assert_eq!(detect(&utf_16(text, false), None).unwrap().encoding, UTF_16BE);
        assert_eq!(detect(b"\xfe\xff\0u", None).unwrap(), detect(b"\xfe\xff\0u", Some("utf-16")).unwrap());
        assert_eq!(detect(b"\xef\xbb\xbfuser", None).unwrap().bom, 3);
        assert_eq!(detect(b"a\0b", None).unwrap().encoding, UTF_8);
        assert_eq!(detect(b"abc", Some("gb18030")).unwrap().encoding, GB18030);
        assert!(detect(b"\xef\xbb\xbfuser", Some("gb18030")).unwrap_err().contains("byte order mark"));
        assert!(detect(b"abc", Some("ebcdic")).unwrap_err().contains("ebcdic"));
    }

    const TEAM: &str = "桌面ID,用户名,类型,备注\nd-1,张伟,USER,\"a, b\"\nd-2,开发组,GROUP,x\n";

    #[test]
    fn short_chinese_tables_are_guessed_and_one_byte_encodings_are_not() {
        for text in ["桌面ID,用户名\nd-1,张伟\n", "desktop,user\nd-1,王芳\nd-2,李娜\n", "用户名\n张三\n", TEAM]
        {
            let (bytes, _, _) = GB18030.encode(text);
            let reading = guess(&*bytes).unwrap().unwrap();
            assert_eq!(decode_all(&bytes, reading).unwrap(), text);
        }
        let cyrillic = encoding_rs::WINDOWS_1251.encode("user\nИван\nПётр\nМария\n").0.into_owned();
        let damaged = ["桌面ID,用户名\nd-1,张".as_bytes(), b"\xff\n"].concat();
        for bytes in [
            &b"desktop,user\nd-1,M\xfcller\n"[..],
            b"user\nJos\xe9\nRen\xe9e\n",
            b"user\n\xff\n",
            &cyrillic,
            &damaged,
            &"user\n张".as_bytes()[..7],
        ] {
            assert!(guess(bytes).unwrap().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn cut_characters_are_undecodable_at_the_end_and_whole_ones_pass_the_block_border() {
        let utf_8 = Reading { encoding: UTF_8, bom: 0, certain: true, note: None };
        assert_eq!(decode_all("ab桌".as_bytes(), utf_8).unwrap(), "ab桌");
        assert_eq!(decode_all(&"ab桌".as_bytes()[..4], utf_8), None);
        assert_eq!(decode_all(b"", utf_8).unwrap(), "");
        let long = "桌".repeat(BLOCK);
        assert_eq!(decode_all(long.as_bytes(), utf_8).unwrap(), long);
        let little = Reading { encoding: UTF_16LE, ..utf_8 };
        assert_eq!(decode_all(&utf_16(&long, true), little).unwrap(), long);
        assert_eq!(decode_all(b"a\0\0\xd8b\0", little), None, "half a surrogate pair");
        assert_eq!(decode_all(b"a\0b", little), None, "half a unit");
    }

    #[test]
    fn the_hash_is_that_of_the_raw_bytes() {
        let reading = detect(b"\xef\xbb\xbfabc", None).unwrap();
        let mut blocks = TextBlocks::new(&b"\xef\xbb\xbfabc"[..], reading).unwrap();
        while !matches!(blocks.next(String::new()).unwrap(), Block::End) {}
        assert_eq!(blocks.sha256(), hex::encode(Sha256::digest(b"\xef\xbb\xbfabc")));
    }

    #[test]
    fn what_a_file_grows_by_after_its_end_was_seen_is_not_read() {
        /// Ends, and then goes on.
        struct Growing(u8);
        impl Read for Growing {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                let grown: &[u8] = if self.0 == 2 { b"" } else { b"a\0" };
                out[..grown.len()].copy_from_slice(grown);
                Ok(grown.len())
            }
        }
        for encoding in [UTF_8, UTF_16LE, GB18030] {
            let mut blocks =
                TextBlocks::new(Growing(0), Reading { encoding, bom: 0, certain: true, note: None }).unwrap();
            assert!(matches!(blocks.next(String::new()).unwrap(), Block::Text(_)));
            assert!(matches!(blocks.next(String::new()).unwrap(), Block::End));
            assert_eq!(blocks.bytes_read(), 2);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_text_or_undecodable(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for label in [None, Some("utf-16"), Some("gb18030"), Some("big5")] {
                if let Ok(reading) = detect(&bytes, label) {
                    decode_all(&bytes, reading);
                }
            }
            _ = guess(&*bytes).unwrap();
        }
    }
}
