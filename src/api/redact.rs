//! Takes secrets out of texts from outside: a gateway that refuses a signature may repeat the whole canonical request,
//! token and all (P19).

use std::ops::Range;

/// What stands where something was taken out.
const GONE: &str = "[removed]";

/// From here on a text repeats what was signed.
const ECHOES: [&str; 4] = ["canonical request", "canonicalrequest", "canonical_request", "string to sign"];

/// Words that end like this have a secret, or the id of a key, as their value: `x-auth-token`, `securityToken`.
const ENDINGS: [&str; 11] = [
    "token",
    "signature",
    "secret",
    "password",
    "credential",
    "accesskey",
    "access_key",
    "accesskeyid",
    "access_key_id",
    "secretkey",
    "secret_key",
];

/// The same for whole words, which are the end of too many others.
const WORDS: [&str; 3] = ["ak", "sk", "access"];

/// An opaque run this long is a token, a signature or a hash: none of them helps a reader. Ids of requests and desktops
/// (36 characters) are shorter.
const LONGEST_WORD: usize = 60;

/// `text` without what was signed, tokens, signatures and ids of keys.
pub(crate) fn redact(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let end = ECHOES.iter().filter_map(|echo| lower.find(echo)).min();
    let (kept, cut) = end.map_or((text, false), |end| (&text[..end], true));
    let mut clean = String::with_capacity(kept.len());
    let mut rest = kept;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !is_opaque(c)).unwrap_or(rest.len());
        if word == 0 {
            clean.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (name, after) = rest.split_at(word);
        clean.push_str(if word >= LONGEST_WORD { GONE } else { name });
        rest = after;
        if let Some(value) = value_of(name, after) {
            clean.push_str(&after[..value.start]);
            clean.push_str(GONE);
            rest = &after[value.end..];
        }
    }
    if cut {
        clean.push_str(GONE);
    }
    clean
}

/// Characters of which tokens, keys and signatures are made. `=` alone joins names to values.
fn is_opaque(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-' | '~')
}

/// Where in `after`, which follows `name`, its value stands, if it is one that must go: behind `:` or `=`, and quotes.
fn value_of(name: &str, after: &str) -> Option<Range<usize>> {
    let name = name.to_ascii_lowercase();
    let last_word = name.rsplit(['-', '_', '/', '+']).next().unwrap_or_default();
    if !(ENDINGS.iter().any(|ending| name.ends_with(ending)) || WORDS.contains(&last_word)) {
        return None;
    }
    let marked = after.trim_start_matches(['"', '\'']).trim_start().strip_prefix([':', '='])?;
    let value = marked.trim_start_matches([' ', '"', '\'']);
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '&' | '}');
    let length = value.find(ends).unwrap_or(value.len());
    let start = after.len() - value.len();
    (length > 0).then_some(start..start + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p19_keys_tokens_and_signatures_are_taken_out() {
        for (text, expected) in [
            ("Get secretKey failed,ak:CANARYAK,err:ak not exist", "Get secretKey failed,ak:[removed],err:ak not exist"),
            ("X-Security-Token: CANARY, next", "X-Security-Token: [removed], next"),
            ("{\"x-auth-token\":\"CANARY\"}", "{\"x-auth-token\":\"[removed]\"}"),
            (
                "SDK-HMAC-SHA256 Access=CANARY, SignedHeaders=host;x-sdk-date, Signature=CANARY",
                "SDK-HMAC-SHA256 Access=[removed], SignedHeaders=host;x-sdk-date, Signature=[removed]",
            ),
            ("verify aksk signature fail, canonicalRequest:POST|/v2/|CANARY", "verify aksk signature fail, [removed]"),
            ("The String To Sign was CANARY", "The [removed]"),
            (
                "my-x-auth-token:CANARY iamToken=\"CANARY\" (sk=CANARY)",
                "my-x-auth-token:[removed] iamToken=\"[removed]\" (sk=[removed]",
            ),
            ("token expires", "token expires"),
            ("risk: high, task: none", "risk: high, task: none"),
            ("AK access failed to reach the limit,forbidden", "AK access failed to reach the limit,forbidden"),
        ] {
            assert_eq!(redact(text), expected);
        }
        assert_eq!(redact(&format!("bad {}==!", "aB3/".repeat(20))), "bad [removed]==!");
    }

    #[test]
    fn ordinary_texts_stay() {
        for text in [
            "policy user over ratelimit,limit:60,time:1 minute",
            "Operation conflict. The desktop current instance status is [HIBERNATED] and deny operation [x], resource id [b41a8cc1-4813-47a0-bf3a-7800fcd5b581].",
            "Policy doesn't allow workspace:desktops:batchDetach to be performed.",
            "用户不存在",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    proptest! {
        #[test]
        fn p18_any_text_is_survived(text in ".{0,200}") {
            redact(&text);
        }

        #[test]
        fn p19_a_value_after_its_name_is_never_kept(name in prop::sample::select([&ENDINGS[..], &WORDS[..]].concat()), value in "[A-Za-z0-9+/=_.-]{8,80}", mark in "( : |=|:|: \"|=')") {
            let text = format!("refused ({name}{mark}{value}, and so on");
            prop_assert!(!redact(&text).contains(&value));
        }
    }
}
