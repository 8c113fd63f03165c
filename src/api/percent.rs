//! Percent-encoding as the signature of the cloud wants it: all but RFC 3986's unreserved characters.

use std::fmt::Write as _;

/// Percent-encodes one path segment, query name or query value; unreserved characters stay (RFC 3986).
pub fn encode(text: &str) -> String {
    encode_bytes(text.as_bytes())
}

/// [`encode`] of bytes that need not be UTF-8.
pub(crate) fn encode_bytes(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Takes `%XX` back to bytes. A `%` without two hex digits after it stays as it is.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let digit =
        |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|n| u8::try_from(n).ok());
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            decoded.push(high << 4 | low);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(encode("a-_.~ /桌?"), "a-_.~%20%2F%E6%A1%8C%3F");
    }

    #[test]
    fn a_broken_escape_stays_as_it_is() {
        assert_eq!(decode("%e5%BC%A0%2x%"), "张%2x%".as_bytes());
    }

    proptest! {
        #[test]
        fn what_was_encoded_reads_back(bytes: Vec<u8>) {
            let encoded = encode_bytes(&bytes);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded), bytes);
        }
    }
}
