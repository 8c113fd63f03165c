//! Signing with an access key: one that was given, or changing ones that end.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use jiff::Timestamp;

use super::Authenticator;
use super::renewing::{Renewing, Source};
use super::sign::{Key, sign};

/// Signs each request anew with the key that holds now.
pub(crate) struct KeyAuth {
    keys: Keys,
    description: String,
}

/// Where temporary keys come from.
pub(crate) type KeySource = Box<dyn Source<Item = Key>>;

enum Keys {
    Fixed(Key),
    Temporary(Renewing<KeySource>),
}

impl KeyAuth {
    pub(crate) fn fixed(key: Key, description: String) -> Self {
        Self { keys: Keys::Fixed(key), description }
    }

    /// Fetches the first key.
    ///
    /// # Errors
    /// In plain words, where the source gives none.
    pub(crate) async fn temporary(source: KeySource, description: String) -> Result<Self, String> {
        Ok(Self { keys: Keys::Temporary(Renewing::start(source).await?), description })
    }
}

impl Authenticator for KeyAuth {
    fn authorize<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match &self.keys {
                Keys::Fixed(key) => sign(request, key, Timestamp::now()),
                Keys::Temporary(keys) => {
                    let key = keys.current().await?;
                    // After the wait: a signature is good for 15 minutes.
                    sign(request, &key, Timestamp::now())
                }
            }
        })
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move {
            match &self.keys {
                Keys::Fixed(_) => Ok(false),
                Keys::Temporary(keys) => keys.renew().await.map(|()| true),
            }
        })
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}
