//! Takes secrets out of texts from outside: a gateway that refuses a signature may repeat the whole canonical request,
//! token and all (P19).

/// What stands where something was taken out.
const GONE: &str = "[removed]";

/// From here on a text repeats what was signed.
const ECHOES: [&str; 4] = ["canonical request", "canonicalrequest", "canonical_request", "string to sign"];

/// Names whose value is a secret or a key's id, whether `:` or `=` stands between.
const NAMES: [&str; 16] = [
    "x-auth-token",
    "x-security-token",
    "x-subject-token",
    "x-metadata-token",
    "security_token",
    "securitytoken",
    "token",
    "signature",
    "access",
    "credential",
    "access_key",
    "accesskey",
    "ak",
    "sk",
    "secret",
    "password",
];

/// An opaque run this long is a token, a signature or a hash: none of them helps a reader. Ids of requests and desktops
/// (36 characters) are shorter.
const LONGEST_WORD: usize = 60;

/// `text` without what was signed, tokens, signatures and ids of keys.
pub fn redact(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let end = ECHOES.iter().filter_map(|echo| lower.find(echo)).min();
    let (kept, cut) = end.map_or((text, false), |end| (&text[..end], true));
    let mut clean = String::with_capacity(kept.len());
    let mut rest = kept;
    while !rest.is_empty() {
        // A secret that follows its name, or a word, or the one character between words.
        if let Some((before, after)) = named_value(rest, clean.chars().next_back()) {
            clean.push_str(before);
            clean.push_str(GONE);
            rest = after;
            continue;
        }
        let word = rest.find(|c: char| !is_opaque(c)).unwrap_or(rest.len());
        if word == 0 {
            let next = rest.chars().next().map_or(rest.len(), char::len_utf8);
            clean.push_str(&rest[..next]);
            rest = &rest[next..];
        } else {
            clean.push_str(if word >= LONGEST_WORD { GONE } else { &rest[..word] });
            rest = &rest[word..];
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

/// Where `text` begins with one of [`NAMES`] and a value: all up to the value, and what follows it.
fn named_value(text: &str, before: Option<char>) -> Option<(&str, &str)> {
    if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let name = NAMES.iter().filter(|name| starts_with(text, name)).max_by_key(|name| name.len())?;
    let after_name = text[name.len()..].trim_start_matches(['"', '\'']);
    let after_mark = after_name.trim_start().strip_prefix([':', '='])?;
    let value = after_mark.trim_start_matches([' ', '"', '\'']);
    let end = value
        .find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '&' | '}'))
        .unwrap_or(value.len());
    (end > 0).then(|| (&text[..text.len() - value.len()], &value[end..]))
}

fn starts_with(text: &str, name: &str) -> bool {
    text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
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
            ("token expires", "token expires"),
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
        fn p19_a_value_after_its_name_is_never_kept(name in prop::sample::select(NAMES.to_vec()), value in "[A-Za-z0-9+/=_.-]{8,80}", mark in "( : |=|:|: \"|=')") {
            let text = format!("refused ({name}{mark}{value}, and so on");
            prop_assert!(!redact(&text).contains(&value));
        }
    }
}
