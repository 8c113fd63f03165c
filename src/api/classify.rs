//! What an answer means: what it proves of the request that it answers, and why.
//!
//! One table for everybody: what follows from a write, what a read tells, and the words for people are views of it. A
//! code decides before the status, by its number, since the prefixes of gateways vary. Where nothing is certain the
//! meaning is a doubt: a request that is taken for "not executed" may be sent twice, so that only what says so counts.

use super::fault::{ErrorBody, MAX_TEXT};
use super::transport::{Answer, Reply};
use crate::model::Refusal;
use crate::pace::{ThrottleHint, parse_limit_text, parse_retry_after};
use crate::text::escape_untrusted;

/// What is behind an answer, or behind none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A 200 without an error in it: its body has the word.
    Complete,
    /// No connection came about.
    NoConnection,
    /// Sent, or possibly sent, and no complete answer.
    NoAnswer,
    /// Too many requests: the class has to wait.
    Throttled,
    /// The gateway could not check the request just now, and so did not pass it on.
    Unchecked,
    /// Key, secret or token are not accepted.
    Credentials,
    /// The proxy in between wants a name and a password, or refuses those it was given.
    Proxy,
    /// A desktop is busy, or the same may be tried again.
    Busy,
    /// What the request names is not there, says the service itself.
    NotFound,
    /// Refused as a whole, perhaps because of one thing that it names.
    Unacceptable,
    /// The request is too large, or its address too long.
    TooLarge,
    /// The service does not permit it to this caller, perhaps for one thing that it names.
    NotPermitted,
    /// The gateway lets nothing through to this API for this caller, address or account.
    Blocked,
    /// Not the API, not its region, or not its project.
    WrongPlace,
    NotActivated,
    /// The headers are too large, whatever is asked: the token is.
    TokenTooLarge,
    Redirected,
    /// A 2xx that does not say what was done, an error inside a 200, or a status that nobody knows.
    Unclear,
    /// A fault of the server, which may pass.
    ServerFault,
}

/// Whether the request was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Executed {
    /// The body says it, for each thing that was named.
    AsTold,
    No,
    /// Nobody knows: only a read tells.
    Doubt,
}

impl Meaning {
    /// What the answer proves.
    pub(crate) const fn executed(self) -> Executed {
        match self {
            Self::Complete => Executed::AsTold,
            Self::NoAnswer | Self::Unclear | Self::ServerFault => Executed::Doubt,
            _ => Executed::No,
        }
    }

    /// Whether nothing else of this run would get through either.
    pub(crate) const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Proxy
                | Self::Blocked
                | Self::WrongPlace
                | Self::NotActivated
                | Self::TokenTooLarge
                | Self::Redirected
        )
    }
}

/// An answer, judged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub(crate) meaning: Meaning,
    /// Code and words, as a row will show them.
    pub(crate) cause: Refusal,
    /// How long to wait, as far as the answer says it.
    pub(crate) hint: ThrottleHint,
}

/// Numbers of gateway codes that speak of credentials.
const CREDENTIALS: [&str; 5] = ["0301", "0303", "0305", "0307", "0311"];
/// Numbers of gateway codes that mean a wrong address, region or project.
const WRONG_PLACE: [&str; 8] = ["0101", "0103", "0104", "0105", "0310", "0607", "0801", "0802"];
/// Numbers of gateway codes that mean: not for this caller, this machine or this account.
const BLOCKED: [&str; 8] = ["0302", "0304", "0306", "0401", "0402", "0404", "0501", "0502"];
/// Codes of the service that mean: not for this tenant, whatever is asked.
const NOT_ACTIVATED: [&str; 2] = ["WKS.00010099", "WKS.00170117"];
/// Codes of the service for what is not there, which it sends with a 500 or a 400 as well.
const NOT_FOUND: [&str; 2] = ["WKS.0202", "WKS.0915"];

/// Judges a reply of either kind, to a write or to a read.
pub(crate) fn classify(reply: &Reply) -> Judged {
    let bare = |meaning, code: &str, text: &str| Judged {
        meaning,
        cause: Refusal { code: code.to_owned(), message: escape_untrusted(text, 300) },
        hint: ThrottleHint::default(),
    };
    match reply {
        Reply::NotSent { cause } => bare(Meaning::NoConnection, "NO_CONNECTION", cause),
        Reply::Lost { cause } => bare(Meaning::NoAnswer, "NO_ANSWER", cause),
        Reply::Answer(answer) if answer.status == 200 => in_a_200(answer),
        Reply::Answer(answer) => refused(answer),
    }
}

/// A 200 is consent only where its body does not say otherwise.
fn in_a_200(answer: &Answer) -> Judged {
    let unclear = |message: &str| Judged {
        meaning: Meaning::Unclear,
        cause: Refusal { code: "UNCLEAR_ANSWER".to_owned(), message: message.to_owned() },
        hint: ThrottleHint::default(),
    };
    // Only an object: serde would also read a sequence of fields in their order, which no server means.
    if answer.body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return unclear("the answer is not a JSON object");
    }
    let error = ErrorBody::in_success(&answer.body);
    if let Some(body) = error {
        let code = if body.code.is_empty() { "ERROR_IN_200".to_owned() } else { body.code };
        let message = if body.message.is_empty() { "an error inside a 200".to_owned() } else { body.message };
        return Judged { cause: Refusal { code, message }, ..unclear("") };
    }
    Judged { meaning: Meaning::Complete, ..unclear("") }
}

fn refused(answer: &Answer) -> Judged {
    let body = ErrorBody::parse(&answer.body);
    let code = if body.code.is_empty() { format!("HTTP_{}", answer.status) } else { body.code.clone() };
    let message = if body.message.is_empty() { format!("HTTP status {}", answer.status) } else { body.message.clone() };
    let cause = Refusal { code, message };
    let hint = ThrottleHint {
        retry_after: answer.retry_after.as_deref().and_then(|value| parse_retry_after(value, answer.date.as_deref())),
        limit: parse_limit_text(&cause.message),
    };
    Judged { meaning: by_code(answer, &body, &cause).unwrap_or_else(|| by_status(answer.status, &body)), cause, hint }
}

fn by_code(answer: &Answer, body: &ErrorBody, cause: &Refusal) -> Option<Meaning> {
    let (number, client) = (body.number(), (400..500).contains(&answer.status));
    if answer.status == 407 {
        return Some(Meaning::Proxy); // the proxy's own words, whatever code they look like
    }
    if body.is_gateway() {
        let meaning = match number {
            "0308" => Meaning::Throttled,
            "0613" => Meaning::Unchecked,
            _ if CREDENTIALS.contains(&number) => Meaning::Credentials,
            // With a 5xx the gateway itself may be at fault.
            _ if !client => return None,
            _ if WRONG_PLACE.contains(&number) => Meaning::WrongPlace,
            _ if BLOCKED.contains(&number) => Meaning::Blocked,
            _ => return None,
        };
        return Some(meaning);
    }
    if NOT_ACTIVATED.contains(&body.code.as_str()) {
        return Some(Meaning::NotActivated);
    }
    if client && NOT_FOUND.contains(&body.code.as_str()) {
        return Some(Meaning::NotFound);
    }
    (client && is_passing(cause)).then_some(Meaning::Busy)
}

fn by_status(status: u16, body: &ErrorBody) -> Meaning {
    let of_service = !body.code.is_empty() && !body.is_gateway();
    match status {
        300..=399 => Meaning::Redirected,
        401 => Meaning::Credentials,
        403 if of_service => Meaning::NotPermitted,
        403 => Meaning::Blocked,
        404 if of_service => Meaning::NotFound,
        400 => Meaning::Unacceptable,
        405 if of_service => Meaning::Unacceptable,
        404 | 405 => Meaning::WrongPlace,
        409 => Meaning::Busy,
        413 | 414 | 431 => Meaning::TooLarge,
        494 => Meaning::TokenTooLarge,
        429 => Meaning::Throttled,
        408 | 500..=599 => Meaning::ServerFault,
        // Every other 2xx and whatever nobody has heard of: it may have been executed.
        _ => Meaning::Unclear,
    }
}

/// Whether this is the service's own word that what was asked for is not there. It says so with a 500 as well; a 404 of
/// the gateway, or one without a code, may as well mean a wrong address, and is no word about anything.
pub(crate) fn is_not_found(judged: &Judged) -> bool {
    judged.meaning == Meaning::NotFound
        || judged.meaning == Meaning::ServerFault && NOT_FOUND.contains(&judged.cause.code.as_str())
}

/// Whether a refusal says that the desktop is busy, or that the same may be tried again.
pub fn is_passing(refusal: &Refusal) -> bool {
    ["WKS.0407", "WKS.00010032"].contains(&refusal.code.as_str())
        || [&refusal.code, &refusal.message]
            .into_iter()
            .any(|text| text.contains("CAN_DEATTACH_AGAIN") || text.contains("CAN_ATTACH_AGAIN"))
}

/// The refusal of one desktop that an answer lists.
pub(crate) fn listed(code: &str, message: &str) -> Refusal {
    let code = if code.is_empty() { "REFUSED".to_owned() } else { escape_untrusted(code, 255) };
    Refusal { code, message: escape_untrusted(message, MAX_TEXT) }
}

/// Why a run stops on an answer after which nothing else can succeed.
pub(crate) fn why(meaning: Meaning, reply: &Reply, cause: &Refusal) -> String {
    let said = format!("{}: {}", cause.code, cause.message);
    match (meaning, reply) {
        (Meaning::Redirected, Reply::Answer(answer)) => {
            let target = redirect_target(answer);
            let place = target.split_once("://").map_or(target.as_str(), |(_, place)| place);
            format!("the endpoint answers with a redirect to {place}; redirects are never followed")
        }
        (Meaning::Proxy, _) => format!("the proxy refuses the connection ({said})"),
        (Meaning::NotActivated, _) => format!("Workspace is not active here ({said})"),
        (Meaning::Blocked, _) => format!("the gateway forbids it ({said})"),
        (Meaning::WrongPlace, _) => format!("there is no such API at this endpoint ({said})"),
        _ => format!("the endpoint does not take such requests ({said})"),
    }
}

/// Where a redirect points to, without its query, which may hold what a login page is meant to get.
pub(crate) fn redirect_target(answer: &Answer) -> String {
    let target = answer.location.as_deref().and_then(|text| text.split(['?', '#']).next());
    escape_untrusted(target.unwrap_or("somewhere else"), 200)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// The golden table: status, body, what it means.
    const TABLE: &[(u16, &str, Meaning)] = &[
        (200, "{}", Meaning::Complete),
        (200, r#"{"desktops":[],"error_code":"","error_msg":null}"#, Meaning::Complete),
        (200, r#"{"error_code":"WKS.1","job_id":""}"#, Meaning::Unclear),
        (200, r#"{"error":{"code":"WKS.1"}}"#, Meaning::Unclear),
        (200, "[]", Meaning::Unclear),
        (200, "", Meaning::Unclear),
        (200, "<html></html>", Meaning::Unclear),
        (201, "{}", Meaning::Unclear),
        (204, "", Meaning::Unclear),
        (301, "", Meaning::Redirected),
        (400, "", Meaning::Unacceptable),
        (400, r#"{"error_code":"APIGW.0201"}"#, Meaning::Unacceptable),
        (400, r#"{"error_code":"WKS.0202"}"#, Meaning::NotFound),
        (400, r#"{"error_code":"WKS.0407"}"#, Meaning::Busy),
        (400, r#"{"error_code":"WKS.00170117"}"#, Meaning::NotActivated),
        (400, r#"{"error_code":"APIC.0308"}"#, Meaning::Throttled),
        (401, "", Meaning::Credentials),
        (403, r#"{"error_code":"APIG.0307"}"#, Meaning::Credentials),
        (403, "", Meaning::Blocked),
        (403, "<html>blocked by the web filter</html>", Meaning::Blocked),
        (403, r#"{"error_code":"APIGW.0302"}"#, Meaning::Blocked),
        (403, r#"{"error_code":"APIGW.0802"}"#, Meaning::WrongPlace),
        (403, r#"{"error_code":"WKS.00010099"}"#, Meaning::NotActivated),
        (403, r#"{"error_code":"PAP5.0018"}"#, Meaning::NotPermitted),
        (404, "", Meaning::WrongPlace),
        (404, r#"{"error_code":"APIGW.0101"}"#, Meaning::WrongPlace),
        (404, r#"{"error_code":"WKS.0202"}"#, Meaning::NotFound),
        (405, "", Meaning::WrongPlace),
        (405, r#"{"error_code":"APIGW.0502"}"#, Meaning::Blocked),
        (405, r#"{"error_code":"WKS.4711"}"#, Meaning::Unacceptable),
        (407, "", Meaning::Proxy),
        (407, r#"{"error_code":"APIGW.0308"}"#, Meaning::Proxy),
        (408, "", Meaning::ServerFault),
        (409, "", Meaning::Busy),
        (413, "", Meaning::TooLarge),
        (414, "", Meaning::TooLarge),
        (418, "", Meaning::Unclear),
        (429, "", Meaning::Throttled),
        (431, "", Meaning::TooLarge),
        (494, "", Meaning::TokenTooLarge),
        (500, r#"{"error_code":"WKS.0202"}"#, Meaning::ServerFault),
        (502, r#"{"error_code":"APIGW.0101"}"#, Meaning::ServerFault),
        (503, r#"{"error_code":"APIGW.0613"}"#, Meaning::Unchecked),
        (503, "", Meaning::ServerFault),
        (777, "", Meaning::Unclear),
    ];

    fn judged(status: u16, body: &str) -> Judged {
        classify(&Reply::Answer(Answer { status, body: Bytes::copy_from_slice(body.as_bytes()), ..Answer::default() }))
    }

    #[test]
    fn every_answer_of_the_table_has_its_meaning() {
        for (status, body, meaning) in TABLE {
            assert_eq!(judged(*status, body).meaning, *meaning, "{status} {body}");
        }
    }

    #[test]
    fn p02_only_what_says_so_was_not_executed() {
        for (meaning, executed) in [
            (Meaning::Complete, Executed::AsTold),
            (Meaning::NoAnswer, Executed::Doubt),
            (Meaning::Unclear, Executed::Doubt),
            (Meaning::ServerFault, Executed::Doubt),
            (Meaning::NoConnection, Executed::No),
            (Meaning::Unchecked, Executed::No),
            (Meaning::Busy, Executed::No),
        ] {
            assert_eq!(meaning.executed(), executed, "{meaning:?}");
        }
    }

    #[test]
    fn the_service_says_not_found_with_a_500_as_well_and_the_gateway_never() {
        for (status, body, expected) in [
            (404, r#"{"error_code":"WKS.0001"}"#, true),
            (500, r#"{"error_code":"WKS.0202"}"#, true),
            (400, r#"{"error_code":"WKS.0915"}"#, true),
            (404, "", false),
            (404, r#"{"error_code":"APIGW.0101"}"#, false),
            (500, "", false),
        ] {
            assert_eq!(is_not_found(&judged(status, body)), expected, "{status} {body}");
        }
    }
}
