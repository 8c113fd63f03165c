//! A server on loopback for tests: on the test's own runtime, so that paused time holds for both sides.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::auth::sign::Key;

/// What the server read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// `GET /path?query HTTP/1.1` and the headers, as they came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Refuses what a strict gateway refuses: a signature that is not `key`'s over exactly what arrived, a date that is more
/// than 15 minutes off, a security token that is not the key's.
pub(crate) fn check_signature(seen: &Seen, key: &Key) -> Result<(), String> {
    let (method, target) = seen.line().split_once(' ').ok_or("no request line")?;
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in seen.head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let (parts, ()) = request.body(()).map_err(|error| error.to_string())?.into_parts();
    crate::sim::verify(&parts, &seen.body, key)
}

/// One part of what the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Write(Vec<u8>),
    Wait(Duration),
    /// Closes the connection; without it, the connection stays for the next request.
    Close,
}

/// A complete answer with `Content-Length`.
pub(crate) fn reply(status: u16, headers: &str, body: &str) -> Vec<Act> {
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len());
    vec![Act::Write(text.into_bytes())]
}

/// Bytes as they are, then the end of the connection.
pub(crate) fn raw(text: &str) -> Vec<Act> {
    vec![Act::Write(text.as_bytes().to_vec()), Act::Close]
}

pub(crate) struct Server {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::listen(answer, None).await
    }

    pub(crate) async fn start_tls(
        config: tokio_rustls::rustls::ServerConfig,
        answer: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(answer, Some(Arc::new(config).into())).await
    }

    async fn listen(
        answer: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (answer, log, count) = (Arc::new(answer), Arc::clone(&seen), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let (answer, log, tls) = (Arc::clone(&answer), Arc::clone(&log), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, answer.as_ref(), &log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, answer.as_ref(), &log).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, connections }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(impl Fn(&Seen) -> Vec<Act> + Send + Sync),
    log: &Mutex<Vec<Seen>>,
) {
    while let Some(seen) = read_request(&mut stream).await {
        log.lock().unwrap().push(seen.clone());
        for act in answer(&seen) {
            match act {
                Act::Write(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                    _ = stream.flush().await;
                }
                Act::Wait(time) => tokio::time::sleep(time).await,
                Act::Close => {
                    _ = stream.shutdown().await;
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    };
    let mut body = bytes.split_off(end);
    let mut seen = Seen { head: String::from_utf8_lossy(&bytes).into_owned(), body: Vec::new() };
    let length = seen.header("Content-Length").and_then(|value| value.parse().ok()).unwrap_or(0);
    while body.len() < length {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&buffer[..read]);
    }
    seen.body = body;
    Some(seen)
}
