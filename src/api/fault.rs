//! What an error body says, in whichever of the four shapes it comes.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::redact::redact;
use crate::text::escape_untrusted;

/// Characters of foreign text that are kept of any answer.
pub(crate) const MAX_TEXT: usize = 1_000;
/// Characters of `encoded_authorization_message` at most, as STS takes them: cut, it could not be decoded.
const MAX_ENCODED: usize = 10_240;

/// Which members of an error are filled in; what stands in them is passed over, however much it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Marks {
    error_code: Filled,
    #[serde(rename = "errorCode")]
    error_code_too: Filled,
    error_msg: Filled,
    #[serde(rename = "errorMsg")]
    error_msg_too: Filled,
    error: Filled,
}

/// Whether a value says anything: no `null`, `false`, 0 or empty text, list or object.
#[derive(Default)]
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;

        impl<'de> Visitor<'de> for Look {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Filled, E> {
                Ok(Filled(false))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Filled, E> {
                Ok(Filled(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Filled, E> {
                Ok(Filled(value != 0))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Filled, E> {
                Ok(Filled(value != 0))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_str<E>(self, value: &str) -> Result<Filled, E> {
                Ok(Filled(!value.trim().is_empty()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Filled, A::Error> {
                let mut any = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Filled(any))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
                let mut any = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Filled(any))
            }
        }

        deserializer.deserialize_any(Look)
    }
}

/// Bytes of an error's body at most, to be read as one.
const MAX_BODY: usize = 256 << 10;

/// Code and text of an error answer. Both may be empty: bodies can be HTML, empty, or cut.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorBody {
    pub code: String,
    pub message: String,
    /// Gateway errors repeat the request id in the body.
    pub request_id: Option<String>,
    /// Why permission was refused, to be decoded through STS.
    pub encoded_authorization_message: Option<String>,
}

impl ErrorBody {
    /// Reads `{error_code, error_msg}`, `{errorCode, errorMsg}`, `{code, message}` or any of them inside
    /// `{"error": …}`; of anything else the beginning is kept as the message. Secrets that a gateway repeats are taken
    /// out ([`redact`]).
    pub fn parse(body: &[u8]) -> Self {
        // A longer one is no error of the API, and as a tree it would take many times its bytes.
        let read = (body.len() <= MAX_BODY).then(|| serde_json::from_slice::<Value>(body));
        let Some(Ok(Value::Object(top))) = read else {
            return Self {
                message: escape_untrusted(
                    &redact(String::from_utf8_lossy(body.get(..2_000).unwrap_or(body)).trim()),
                    200,
                ),
                ..Self::default()
            };
        };
        let inner = top.get("error").and_then(Value::as_object).unwrap_or(&top);
        let text = |names: &[&str]| {
            names.iter().find_map(|name| match inner.get(*name) {
                Some(Value::String(text)) if !text.is_empty() => Some(escape_untrusted(&redact(text), MAX_TEXT)),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            })
        };
        Self {
            code: text(&["error_code", "errorCode", "code"]).unwrap_or_default(),
            message: text(&["error_msg", "errorMsg", "message", "title", "error"]).unwrap_or_default(),
            request_id: text(&["request_id"]),
            // Opaque, yet no secret: it is meant to be handed on.
            encoded_authorization_message: inner
                .get("encoded_authorization_message")
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(|text| escape_untrusted(text, MAX_ENCODED)),
        }
    }

    /// The error that a body with a success's status carries all the same: a code, a text or an `error` that is filled in.
    pub(crate) fn in_success(body: &[u8]) -> Option<Self> {
        let Marks { error_code, error_code_too, error_msg, error_msg_too, error } =
            serde_json::from_slice(body).ok()?;
        let is_filled = [error_code, error_code_too, error_msg, error_msg_too, error].iter().any(|mark| mark.0);
        is_filled.then(|| {
            let mut read = Self::parse(body);
            if read.code.is_empty() && read.message.is_empty() {
                "the answer carries an error and does not say which".clone_into(&mut read.message);
            }
            read
        })
    }

    /// The number of the code without its prefix (`APIGW.0308` → `0308`): prefixes vary between gateways.
    pub fn number(&self) -> &str {
        self.code.rsplit_once('.').map_or("", |(_, number)| number)
    }

    /// Whether the code is one of the gateway's (`APIGW.`, `APIG.`, `APIC.`), so the service never saw the request.
    pub fn is_gateway(&self) -> bool {
        super::codes::is_gateway(&self.code)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn p18_any_body_is_survived_and_kept_short(body: Vec<u8>, code in ".{0,40}", message in ".{0,2000}") {
            let json = serde_json::json!({ "error": { "code": code, "message": message } }).to_string();
            for body in [body.as_slice(), json.as_bytes(), json.get(..json.len() / 2).unwrap_or_default().as_bytes()] {
                let read = ErrorBody::parse(body);
                // An escaped character takes up to ten.
                prop_assert!(read.message.chars().count() <= 10 * MAX_TEXT + 1);
                prop_assert!(!read.message.chars().any(char::is_control));
            }
        }
    }

    #[test]
    fn all_four_shapes_are_read() {
        for body in [
            r#"{"error_code":"WKS.1","error_msg":"m"}"#,
            r#"{"errorCode":"WKS.1","errorMsg":"m"}"#,
            r#"{"code":"WKS.1","message":"m"}"#,
            r#"{"error":{"code":"WKS.1","message":"m","title":"t"}}"#,
        ] {
            let read = ErrorBody::parse(body.as_bytes());
            assert_eq!((read.code.as_str(), read.message.as_str(), read.number()), ("WKS.1", "m", "1"), "{body}");
        }
    }

    #[test]
    fn p19_what_a_gateway_repeats_of_a_request_is_taken_out() {
        let body = r#"{"error_code":"APIGW.0301","error_msg":"verify aksk signature fail, x-security-token:CANARY, canonicalRequest: CANARY"}"#;
        let read = ErrorBody::parse(body.as_bytes());
        assert!(read.message.starts_with("verify aksk signature fail") && !read.message.contains("CANARY"), "{read:?}");
        let html = ErrorBody::parse(b"<p>Signature=CANARY</p>");
        assert!(!html.message.contains("CANARY"), "{html:?}");
    }

    #[test]
    fn a_refused_permission_keeps_its_whole_encoded_reason() {
        let body = format!(r#"{{"error_code":"WKS.1","encoded_authorization_message":"{}"}}"#, "ab/+".repeat(2_000));
        assert_eq!(ErrorBody::parse(body.as_bytes()).encoded_authorization_message.unwrap().len(), 8_000);
    }

    #[test]
    fn p02_an_error_inside_a_success_is_found_whatever_else_stands_there() {
        for (body, expected) in [
            (r#"{"error_code":"WKS.1","error_msg":"m","job_id":""}"#, Some(("WKS.1", "m"))),
            (r#"{"error_msg":"m"}"#, Some(("", "m"))),
            (r#"{"error":{"code":"WKS.1","message":"m"}}"#, Some(("WKS.1", "m"))),
            (r#"{"error":"no"}"#, Some(("", "no"))),
            (r#"{"error_code":"","error_msg":null,"error":{},"errorCode":0}"#, None),
            (r#"{"failed_operation_list":[{"error_code":"WKS.1"}]}"#, None),
            ("{", None),
        ] {
            let read = ErrorBody::in_success(body.as_bytes());
            assert_eq!(read.as_ref().map(|read| (read.code.as_str(), read.message.as_str())), expected, "{body}");
        }
    }

    #[test]
    fn html_and_nothing_have_no_code() {
        assert_eq!(ErrorBody::parse(b"").code, "");
        assert_eq!(ErrorBody::parse(b"<html>Bad Gateway</html>").message, "<html>Bad Gateway</html>");
    }
}
