//! Taking on an agency: temporary keys of another account, which IAM gives for credentials of our own.
//!
//! Our own credentials go to IAM alone. What is done in the other account is signed with its temporary keys.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use jiff::Timestamp;
use serde_json::json;

use super::SharedAuthenticator;
use super::provider::Agency;
use super::renewing::{Failure, Fresh, Source};
use super::sign::Key;
use super::temporary::read_key;
use crate::api::explain::{Asked, explain};
use crate::api::fault::ErrorBody;
use crate::api::iam::ask;
use crate::api::transport::{Answer, Reply, Transport};

/// The IAM action that the call needs, in the account of the caller.
const ACTION: &str = "iam:tokens:assume";
/// IAM gives such keys for 15 minutes at least: a third of that is time enough to renew them, and for whatever was
/// signed with the old ones to arrive.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// Asks IAM for keys of an agency.
pub(crate) struct AssumedAgency {
    pub transport: Arc<dyn Transport>,
    /// IAM's address, without a slash.
    pub endpoint: String,
    /// Who takes the agency on.
    pub base: SharedAuthenticator,
    pub agency: Agency,
}

impl AssumedAgency {
    fn body(&self) -> Bytes {
        let Agency { name, account_name, account_id, duration_s } = &self.agency;
        let mut role = json!({ "agency_name": name });
        for (key, value) in [
            ("domain_name", account_name.as_ref().map(|name| json!(name))),
            ("domain_id", account_id.as_ref().map(|id| json!(id))),
            ("duration_seconds", duration_s.map(|seconds| json!(seconds))),
        ] {
            if let Some(value) = value {
                role[key] = value;
            }
        }
        let body = json!({ "auth": { "identity": { "methods": ["assume_role"], "assume_role": role } } });
        Bytes::from(body.to_string())
    }

    async fn ask(&self) -> Result<Answer, Failure> {
        let build = || -> BoxFuture<'_, Result<Request<Bytes>, String>> {
            Box::pin(async {
                let request = Request::post(format!("{}/v3.0/OS-CREDENTIAL/securitytokens", self.endpoint))
                    .header("Content-Type", "application/json")
                    .body(self.body());
                let mut request = request.map_err(|error| format!("the request can't be built: {error}"))?;
                self.base.authorize(&mut request).await?;
                Ok(request)
            })
        };
        let asked = ask(self.transport.as_ref(), build).await;
        asked.map_err(|cause| Failure::Unavailable(format!("no keys of the {}: {cause}", self.agency.shown())))
    }

    async fn keys(&self) -> Result<Fresh<Key>, Failure> {
        let mut answer = self.ask().await?;
        // Our own may have ended, or have been replaced in their file: renewed once (P11).
        if answer.status == 401 && self.base.renew().await.map_err(Failure::Unavailable)? {
            answer = self.ask().await?;
        }
        if answer.status == 201 {
            let read = read_key(&answer, AHEAD);
            return read.map_err(|problem| Failure::Unavailable(format!("the answer of IAM {problem}")));
        }
        let words = self.refused(&answer);
        Err(if matches!(answer.status, 400..=404 | 407) {
            Failure::Refused(words)
        } else {
            Failure::Unavailable(words)
        })
    }

    fn refused(&self, answer: &Answer) -> String {
        let (who, agency) = (self.base.describe(), self.agency.shown());
        if matches!(answer.status, 400 | 403 | 404) {
            let said = ErrorBody::parse(&answer.body).message;
            return format!(
                "IAM at {} gives no keys of the {agency}: check both names, that this agency of that account trusts yours, \
                 and that the {who} may take on agencies (Agent Operator, or {ACTION}) (HTTP {}{}{said})",
                self.endpoint,
                answer.status,
                if said.is_empty() { "" } else { ": " }
            );
        }
        let asked = Asked { who: &who, endpoint: &self.endpoint, action: ACTION, only_reads: false };
        let told = explain(&Reply::Answer(answer.clone()), &asked, Timestamp::now());
        format!("no keys of the {agency}: {told}")
    }
}

impl Source for AssumedAgency {
    type Item = Key;

    fn fetch(&self) -> BoxFuture<'_, Result<Fresh<Key>, Failure>> {
        Box::pin(self.keys())
    }
}
