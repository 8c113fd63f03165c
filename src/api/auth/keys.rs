//! Signing with an access key: one that was given, or changing ones that end.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use jiff::Timestamp;

use super::Authenticator;
use super::provider::Reread;
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
    /// A key, and the file that it stands in.
    Given(Mutex<Arc<Key>>, Option<Reread>),
    Temporary(Renewing<KeySource>),
}

impl KeyAuth {
    /// * `file`: where the key stands, if it does in a file: it is read again once the key is refused.
    pub(crate) fn given(key: Key, file: Option<Reread>, description: String) -> Self {
        Self { keys: Keys::Given(Mutex::new(Arc::new(key)), file), description }
    }

    /// Fetches the first key.
    ///
    /// # Errors
    /// In plain words, where the source gives none.
    pub(crate) async fn temporary(source: KeySource, description: String) -> Result<Self, String> {
        Ok(Self { keys: Keys::Temporary(Renewing::start(source).await?), description })
    }

    async fn key(&self) -> Result<Arc<Key>, String> {
        match &self.keys {
            Keys::Given(key, _) => Ok(Arc::clone(&key.lock().unwrap_or_else(PoisonError::into_inner))),
            Keys::Temporary(keys) => keys.current().await,
        }
    }
}

impl Authenticator for KeyAuth {
    fn authorize<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let key = self.key().await?;
            // After the wait: a signature is good for 15 minutes.
            sign(request, &key, Timestamp::now())
        })
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move {
            match &self.keys {
                Keys::Given(_, None) => Ok(false),
                Keys::Given(held, Some(file)) => {
                    let key = file.key()?;
                    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                    // The same key would be refused again (P11).
                    let is_other = !held.is_same(&key);
                    if is_other {
                        tracing::info!("the access key was replaced in its file: the new one is used from now on");
                        *held = Arc::new(key);
                    }
                    Ok(is_other)
                }
                Keys::Temporary(keys) => keys.renew().await.map(|()| true),
            }
        })
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}
