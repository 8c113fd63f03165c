//! The one place where HTTP requests leave from.
//!
//! HTTP/1.1, no redirects, no repeats, no decompression, one limit on the whole request: what leaves was decided,
//! signed, paced and journaled above, and what comes back is either a complete answer or none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::HeaderMap;
use reqwest::{Certificate, Client, Url};
use secrecy::SecretString;

use super::hosts::{METADATA_HOST, is_loopback};
use super::proxy::Proxies;
use super::transport::secrecy_token::Token;
use super::transport::{Answer, Reply, Transport};
use super::unreachable::Unreachable;
use crate::error::Error;
use crate::text::escape_untrusted;

/// What servers see of this program.
pub(crate) const USER_AGENT: &str = concat!("batch-detach/", env!("CARGO_PKG_VERSION"));

/// Idle connections are closed before a gateway in between closes them: one that closes while a write starts is a doubt.
const POOL_IDLE: Duration = Duration::from_secs(15);
/// What the HTTP client says where a proxy answers 407 to the tunnel that it was asked for.
const PROXY_REFUSAL: &str = "proxy authorization required";
/// So many requests after a lost answer take a connection of their own: a balancer that drops the second request of each
/// connection drops the next one, too.
const FRESH_AFTER_LOSS: u32 = 20;
/// What it says where it did not reach the proxy itself.
const PROXY_AWAY: &str = "failed to create underlying connection";
/// Longest header value from outside that is kept, in characters.
const MAX_HEADER: usize = 1_000;

/// How requests travel.
#[derive(Debug, Clone)]
pub(crate) struct HttpOptions {
    /// From the first byte of DNS to the last of the answer. Longer than the gateway's own 60 s, so that its verdict
    /// arrives.
    pub request_timeout: Duration,
    /// DNS, TCP and TLS.
    pub connect_timeout: Duration,
    /// Certificates (PEM) that are trusted besides those of this machine.
    pub ca_file: Option<PathBuf>,
    /// Requests in flight at most: so many idle connections are kept for reuse.
    pub concurrency: usize,
    pub proxies: Proxies,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(75),
            connect_timeout: Duration::from_secs(10),
            ca_file: None,
            concurrency: 8,
            proxies: Proxies::default(),
        }
    }
}

/// Sends requests over the network.
///
/// Plain HTTP goes to loopback alone, and to the metadata service of the cloud, which speaks nothing else.
#[derive(Debug, Clone)]
pub(crate) struct HttpTransport {
    client: Client,
    /// Keeps no connection for a second request.
    fresh: Client,
    /// How many requests are still to take a connection of their own.
    fresh_left: Arc<AtomicU32>,
    proxies: Proxies,
    /// The proxy has refused us. It is not asked again: a repeat could lock the account that it knows us by.
    is_refused: Arc<AtomicBool>,
    /// Whether there is any certificate to check a server's by.
    has_roots: bool,
}

impl HttpTransport {
    /// # Errors
    /// Where `ca_file` can't be read or holds no certificate.
    pub(crate) fn new(options: &HttpOptions) -> Result<Self, Error> {
        let certificates = options.ca_file.as_deref().map(read_certificates).transpose()?.unwrap_or_default();
        let proxy = options.proxies.build();
        let builder = |idle| {
            // A provider that another part of the process has chosen stays.
            _ = rustls::crypto::ring::default_provider().install_default();
            let mut builder = Client::builder()
                .user_agent(USER_AGENT)
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .timeout(options.request_timeout)
                .connect_timeout(options.connect_timeout)
                .pool_idle_timeout(POOL_IDLE)
                .pool_max_idle_per_host(idle)
                .tls_version_min(reqwest::tls::Version::TLS_1_2)
                .no_proxy();
            #[cfg(feature = "own-resolver")]
            {
                builder = builder.dns_resolver(super::resolver::Resolver::default());
            }
            if let Some(proxy) = &proxy {
                builder = builder.proxy(proxy.clone());
            }
            builder
        };
        let both =
            |build: &dyn Fn(usize) -> reqwest::Result<Client>| Ok((build(options.concurrency.max(1))?, build(0)?));
        let made = |(client, fresh), has_roots| Self {
            client,
            fresh,
            fresh_left: Arc::default(),
            proxies: options.proxies.clone(),
            is_refused: Arc::default(),
            has_roots,
        };
        let merged: reqwest::Result<_> = both(&|idle| builder(idle).tls_certs_merge(certificates.clone()).build());
        if let Ok(clients) = merged {
            return Ok(made(clients, true));
        }
        // A machine without any CA store (a bare container): what `ca_file` holds is all there is to trust. Without
        // even that, the simulator on loopback can still be asked, in plain HTTP.
        let has_roots = !certificates.is_empty();
        match both(&|idle| builder(idle).tls_certs_only(certificates.clone()).build()) {
            Ok(clients) => Ok(made(clients, has_roots)),
            Err(error) if has_roots => Err(ca_file_error(
                options.ca_file.as_deref(),
                &format!("its certificates can't be used: {}", chain(error)),
            )),
            Err(error) => Err(Error::Internal(format!("the HTTP client can't be built: {}", chain(error)))),
        }
    }

    /// The proxy that requests to `endpoint` go through, user and password hidden.
    pub(crate) fn proxy_in_use(&self, endpoint: &str) -> Option<String> {
        self.proxies.in_use(endpoint)
    }

    /// The client for the next request.
    fn next_client(&self) -> &Client {
        let took = self.fresh_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        if took.is_ok() { &self.fresh } else { &self.client }
    }

    async fn send(&self, request: http::Request<Bytes>, max_answer: usize) -> Reply {
        let reply = self.exchange(request, max_answer).await;
        if matches!(reply, Reply::Lost { .. }) {
            self.fresh_left.store(FRESH_AFTER_LOSS, Relaxed);
        }
        reply
    }

    async fn exchange(&self, request: http::Request<Bytes>, max_answer: usize) -> Reply {
        let uri = request.uri().clone();
        let request = match reqwest::Request::try_from(request) {
            Ok(request) => request,
            Err(error) => return Reply::NotSent { cause: format!("the request can't be built: {}", chain(error)) },
        };
        if let Err(cause) = self.may_go(&uri, request.url()) {
            return Reply::NotSent { cause };
        }
        let host = request.url().host_str().unwrap_or("?").to_owned();
        let mut place = place(request.url());
        let proxy = self.proxy_in_use(&format!("{}://{place}", request.url().scheme()));
        if let Some(proxy) = &proxy {
            if self.is_refused.load(Relaxed) {
                return Reply::Answer(Answer { status: 407, ..Answer::default() });
            }
            place = format!("{place} through the proxy {proxy}");
        }
        let mut response = match self.next_client().execute(request).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => {
                let words = Unreachable::of(&error).in_words(&host);
                let cause = chain(error);
                if cause.contains(PROXY_REFUSAL) {
                    self.is_refused.store(true, Relaxed);
                    // The proxy's word, and a complete one.
                    return Reply::Answer(Answer { status: 407, ..Answer::default() });
                }
                if let Some(proxy) = proxy.filter(|_| cause.contains(PROXY_AWAY)) {
                    place = format!("the proxy {proxy} on the way to {place}");
                }
                return Reply::NotSent { cause: format!("cannot connect to {place}: {words} ({cause})") };
            }
            Err(error) => return Reply::Lost { cause: format!("no answer from {place}: {}", chain(error)) },
        };
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > max_answer => {
                    return Reply::Lost { cause: format!("the answer of {place} is longer than {max_answer} bytes") };
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Reply::Lost { cause: format!("the answer of {place} was cut: {}", chain(error)) },
            }
        }
        Reply::Answer(answer(response.status().as_u16(), response.headers(), body.freeze()))
    }

    /// Whether a request may leave: encrypted, or to this machine; and as it was signed.
    fn may_go(&self, uri: &http::Uri, url: &Url) -> Result<(), String> {
        match url.scheme() {
            "https" if !self.has_roots => Err("this machine has no CA certificates to check the server by: \
                install the package ca-certificates, or give the file with --ca-file"
                .to_owned()),
            "https" => Ok(()),
            "http" if is_loopback(url) || url.host_str() == Some(METADATA_HOST) => Ok(()),
            "http" => {
                Err(format!("http:// is not encrypted and allowed to this machine alone; use https://{}", place(url)))
            }
            other => Err(format!("{other}:// is not supported; use https://")),
        }?;
        // A URL drops `.` and `..` from its path. Such a request would go elsewhere than was signed.
        let same = uri.path() == url.path() && uri.query().unwrap_or_default() == url.query().unwrap_or_default();
        if same { Ok(()) } else { Err("the request's address can't be sent as it is written".to_owned()) }
    }
}

impl Transport for HttpTransport {
    fn call(&self, request: http::Request<Bytes>, max_answer: usize) -> BoxFuture<'_, Reply> {
        Box::pin(self.send(request, max_answer))
    }
}

/// Host and port, for messages.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn answer(status: u16, headers: &HeaderMap, body: Bytes) -> Answer {
    let text = |name: &str| {
        let value = headers.get(name)?;
        let text = escape_untrusted(String::from_utf8_lossy(value.as_bytes()).trim(), MAX_HEADER);
        (!text.is_empty()).then_some(text)
    };
    let token = headers.get("X-Subject-Token").and_then(|value| value.to_str().ok());
    Answer {
        status,
        body,
        request_id: text("X-Request-Id").or_else(|| text("X-IAM-Trace-Id")),
        retry_after: text("Retry-After"),
        date: text("Date"),
        location: text("Location"),
        subject_token: token.map(|token| Token(SecretString::from(token))),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, Error> {
    let pem = std::fs::read(path).map_err(|source| Error::File { verb: "read", path: path.to_owned(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if certificates.is_empty() => Err(ca_file_error(
            Some(path),
            "the file holds no certificate; it must be PEM (-----BEGIN CERTIFICATE-----)",
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(ca_file_error(Some(path), &format!("the file is not valid PEM: {}", chain(error)))),
    }
}

fn ca_file_error(path: Option<&Path>, problem: &str) -> Error {
    let origin = path.map(|path| path.display().to_string()).unwrap_or_default();
    Error::Setting { name: "ca-file".to_owned(), origin, problem: problem.to_owned() }
}

/// Layers of an error that say nothing of their own.
const EMPTY_LAYERS: [&str; 4] =
    ["error sending request", "client error (", "error decoding response body", "request or response body error"];

/// The causes of an error in one line. The URL stays out: its query can hold user names (P19).
fn chain(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let whole = error.to_string();
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(cause) = next {
        let text = cause.to_string();
        // Some layers repeat what is beneath them.
        if !EMPTY_LAYERS.iter().any(|layer| text.starts_with(layer)) && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    if timed_out && !parts.iter().any(|part| part.contains("timed out")) {
        parts.push("timed out".to_owned());
    }
    escape_untrusted(if parts.is_empty() { whole } else { parts.join(": ") }.as_str(), MAX_HEADER)
}

#[cfg(test)]
mod tests;
