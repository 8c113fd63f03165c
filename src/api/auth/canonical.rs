//! The canonical form of a request: the text that both sides hash. Pure.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

/// What the signature of the cloud wants encoded: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Percent-encodes one path segment, query name or query value.
pub fn encode(text: &str) -> String {
    encode_bytes(text.as_bytes())
}

fn encode_bytes(bytes: &[u8]) -> String {
    percent_encode(bytes, RESERVED).to_string()
}

/// Takes `%XX` back to bytes. A `%` without two hex digits after it stays as it is.
fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// The path as it is signed: decoded, encoded anew segment by segment, with a slash at its end. What is sent stays as
/// it was.
///
/// * `path`: as on the wire, percent-encoded.
pub fn path(path: &str) -> String {
    let decoded = decode(path);
    let mut canonical = String::with_capacity(path.len() + 1);
    for (n, segment) in decoded.split(|byte| *byte == b'/').enumerate() {
        if n > 0 {
            canonical.push('/');
        }
        canonical.push_str(&encode_bytes(segment));
    }
    if !canonical.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

/// The query as it is signed: decoded, sorted by name, then by value, encoded anew; an empty value keeps its `=`.
///
/// * `query`: as on the wire, without the `?`.
pub fn query(query: &str) -> String {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect();
    // Before encoding, as the official SDK sorts: `é` comes after `z`, while `%C3` would come before it.
    pairs.sort_unstable();
    let mut canonical = String::with_capacity(query.len());
    for (name, value) in pairs {
        let and = if canonical.is_empty() { "" } else { "&" };
        _ = write!(canonical, "{and}{}={}", encode_bytes(&name), encode_bytes(&value));
    }
    canonical
}

/// Hex SHA-256 of what is sent as the body.
pub fn payload_hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// Names of signed headers, as they stand in `SignedHeaders=`.
///
/// * `headers`: names in lower case, sorted.
pub fn signed_names(headers: &[(String, String)]) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.join(";")
}

/// The whole canonical request.
///
/// * `path`, `query`: as on the wire.
/// * `headers`: those that are signed, names in lower case, sorted; values are trimmed here.
/// * `payload_hash`: of [`payload_hash`], or what `X-Sdk-Content-Sha256` says.
pub fn request(method: &str, path: &str, query: &str, headers: &[(String, String)], payload_hash: &str) -> String {
    let mut text = format!("{}\n{}\n{}\n", method.to_ascii_uppercase(), self::path(path), self::query(query));
    for (name, value) in headers {
        _ = writeln!(text, "{name}:{}", value.trim());
    }
    _ = write!(text, "\n{}\n{payload_hash}", signed_names(headers));
    text
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

    #[test]
    fn a_path_gets_a_slash_for_the_signature_alone_once() {
        assert_eq!(path("/v2/%e5%bc%a0%20san~1"), "/v2/%E5%BC%A0%20san~1/");
        assert_eq!(path("/"), "/");
        assert_eq!(path("/a/"), "/a/");
    }

    #[test]
    fn a_query_is_sorted_before_it_is_encoded() {
        assert_eq!(query("b=%C3%A9&b=z&a&"), "a=&b=z&b=%C3%A9");
        assert_eq!(query(""), "");
    }

    proptest! {
        #[test]
        fn the_order_of_a_query_does_not_matter(pairs in prop::collection::vec((".{0,6}", ".{0,6}"), 0..6)) {
            let join = |pairs: &[(String, String)]| {
                pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
            };
            let backwards: Vec<_> = pairs.iter().rev().cloned().collect();
            prop_assert_eq!(query(&join(&pairs)), query(&join(&backwards)));
        }

        #[test]
        fn the_canonical_form_of_a_canonical_form_is_itself(text in "[/a-z%0-9张 é~+]{0,24}") {
            let once = path(&format!("/{text}"));
            prop_assert_eq!(path(&once), once.clone());
        }
    }
}
