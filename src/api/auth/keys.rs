//! Signing with an access key: one that was given, or the changing ones of a cloud server's agency.

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::Authenticator;
use super::metadata::Metadata;
use super::renewing::Renewing;
use super::sign::{Key, sign};

/// Signs each request anew with the key that holds now.
pub(crate) struct KeyAuth {
    keys: Keys,
    /// In `X-Project-Id`; IAM's own calls go without.
    project_id: Option<String>,
    description: String,
}

enum Keys {
    Fixed(Key),
    Agency(Renewing<Metadata>),
}

impl KeyAuth {
    pub(crate) fn fixed(key: Key, description: String) -> Self {
        Self { keys: Keys::Fixed(key), project_id: None, description }
    }

    pub(crate) fn agency(keys: Renewing<Metadata>, description: String) -> Self {
        Self { keys: Keys::Agency(keys), project_id: None, description }
    }

    /// The same for the calls of a project.
    #[must_use]
    pub(crate) fn for_project(self, project_id: &str) -> Self {
        Self { project_id: Some(project_id.to_owned()), ..self }
    }
}

impl Authenticator for KeyAuth {
    fn authorize<'a>(&'a self, request: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let project_id = self.project_id.as_deref();
            match &self.keys {
                Keys::Fixed(key) => sign(request, key, project_id, Timestamp::now()),
                Keys::Agency(keys) => {
                    let key = keys.current().await?;
                    // After the wait: a signature is good for 15 minutes.
                    sign(request, &key, project_id, Timestamp::now())
                }
            }
        })
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move {
            match &self.keys {
                Keys::Fixed(_) => Ok(false),
                Keys::Agency(keys) => keys.renew().await.map(|()| true),
            }
        })
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}
