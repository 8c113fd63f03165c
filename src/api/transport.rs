//! The seam between the program and a server: one request out, one reply back.

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

/// A complete answer, with the few headers that matter.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// `X-Request-Id`; IAM's `X-IAM-Trace-Id` where that is missing.
    pub request_id: Option<String>,
    /// `Retry-After` as it was written: seconds or a date, or garbage.
    pub retry_after: Option<String>,
    /// `Date` as it was written; the server's clock.
    pub date: Option<String>,
    /// `Location` as it was written; named in the error about a redirect, never followed.
    pub location: Option<String>,
    /// `X-Subject-Token` of an IAM answer. Secret: never shown.
    pub subject_token: Option<secrecy_token::Token>,
}

/// The body stays out: it holds user names, and that of the metadata service keys (P19).
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("request_id", &self.request_id)
            .field("retry_after", &self.retry_after)
            .field("date", &self.date)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// A token that came in an answer; its `Debug` shows nothing.
pub(crate) mod secrecy_token {
    use secrecy::{ExposeSecret, SecretString};

    /// See the module.
    #[derive(Debug, Clone)]
    pub struct Token(pub SecretString);

    impl PartialEq for Token {
        fn eq(&self, other: &Self) -> bool {
            self.0.expose_secret() == other.0.expose_secret()
        }
    }

    impl Eq for Token {}
}

/// What one attempt brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// No connection came about (DNS, TCP, TLS): nothing was sent, which is certain.
    NotSent {
        /// In plain words, no secrets.
        cause: String,
    },
    /// Sent, or possibly sent, and no complete answer: time-out, reset, closed, cut short, over the size cap.
    Lost { cause: String },
    /// A complete answer of any status.
    Answer(Answer),
}

/// How far this machine's clock is ahead of the server's (behind: negative), by the answer's `Date`, which has whole
/// seconds.
pub(crate) fn skew(answer: &Answer, now: Timestamp) -> Option<SignedDuration> {
    let date = httpdate::parse_http_date(answer.date.as_deref()?).ok()?;
    Some(now.duration_since(Timestamp::try_from(date).ok()?))
}

/// Carries a request to a server. One attempt; follows no redirect, repeats nothing.
pub trait Transport: Send + Sync {
    /// `max_answer`: bytes of the answer's body at most, counted while they come in; more is [`Reply::Lost`].
    fn call(&self, request: http::Request<Bytes>, max_answer: usize) -> BoxFuture<'_, Reply>;
}
