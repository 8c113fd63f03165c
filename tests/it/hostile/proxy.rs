//! Stands between the program and the simulator, and does what a bad network or a bad server does to an answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use batch_detach::testing::api::{Reply, Transport};
use batch_detach::testing::sim::App;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One thing that is done to a request, in its order.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// The service does what is asked; its answer is kept for the steps that follow.
    Execute,
    /// The service does it so much later, whatever becomes of the connection.
    ExecuteAfter(Duration),
    /// The honest answer, whole.
    Answer,
    /// The first bytes of the honest answer, head included.
    AnswerUpTo(usize),
    /// The honest answer in pieces of so many bytes, with a pause between them.
    AnswerInPieces(usize, Duration),
    /// The honest answer's body under another head.
    AnswerUnder(&'static str),
    Bytes(Vec<u8>),
    /// The same bytes again and again, until the other side has had enough.
    Endless(Vec<u8>, Duration),
    Wait(Duration),
    /// RST instead of FIN.
    Reset,
    Close,
}

/// Which requests are tampered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prey {
    /// The n-th write alone, from 1.
    Write(usize),
    EveryWrite,
    /// The n-th read after the first write, from 1.
    Read(usize),
    /// Every read after the first write.
    EveryRead,
    /// The first request of all.
    First,
    Nothing,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) line: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn is_write(&self) -> bool {
        self.line.starts_with("POST ")
    }

    /// The desktops that a write names.
    pub(super) fn desktops(&self) -> Vec<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let list = body["desktops"].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|desktop| Some(desktop["desktop_id"].as_str()?.to_owned())).collect()
    }
}

/// The proxy, and what it saw.
pub(super) struct Proxy {
    pub(super) address: String,
    state: Arc<State>,
}

struct State {
    app: Arc<App>,
    prey: Prey,
    steps: Vec<Step>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    hits: AtomicUsize,
}

impl Proxy {
    pub(super) async fn start(app: Arc<App>, prey: Prey, steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            app,
            prey,
            steps,
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            hits: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(talk(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Requests that were tampered with.
    pub(super) fn hits(&self) -> usize {
        self.state.hits.load(Ordering::Relaxed)
    }
}

impl State {
    /// Keeps the request, and says whether it is to be tampered with.
    fn note(&self, line: &str, body: &[u8]) -> bool {
        let mut seen = self.seen.lock().unwrap();
        seen.push(Seen { at: Instant::now(), line: line.to_owned(), body: body.to_vec() });
        let is_write = line.starts_with("POST ");
        let writes = seen.iter().filter(|seen| seen.is_write()).count();
        let first_write = seen.iter().position(Seen::is_write);
        let reads = first_write.map_or(0, |from| seen[from..].iter().filter(|seen| !seen.is_write()).count());
        let hit = match self.prey {
            Prey::Write(n) => is_write && writes == n,
            Prey::EveryWrite => is_write,
            Prey::Read(n) => !is_write && reads == n,
            Prey::EveryRead => !is_write && reads > 0,
            Prey::First => seen.len() == 1,
            Prey::Nothing => false,
        };
        self.hits.fetch_add(usize::from(hit), Ordering::Relaxed);
        hit
    }

    async fn execute(app: &Arc<App>, line: &str, body: Vec<u8>) -> (u16, Bytes) {
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let request = http::Request::builder().method(method).uri(format!("http://simulator{target}"));
        let request = request.header("Content-Type", "application/json").body(Bytes::from(body)).unwrap();
        match app.transport().call(request, 64 << 20).await {
            Reply::Answer(answer) => (answer.status, answer.body),
            other => panic!("the honest service does not answer: {other:?}"),
        }
    }
}

fn whole(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nX-Request-Id: honest\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Serves one connection; an error is its end.
async fn talk(mut stream: TcpStream, state: Arc<State>) {
    while let Some((line, body)) = read_request(&mut stream).await {
        if !state.note(&line, &body) {
            let (status, answer) = State::execute(&state.app, &line, body).await;
            if stream.write_all(&whole(status, &answer)).await.is_err() {
                return;
            }
            continue;
        }
        let (mut status, mut honest) = (200, Bytes::new());
        for step in &state.steps {
            let sent = match step {
                Step::Execute => {
                    (status, honest) = State::execute(&state.app, &line, body.clone()).await;
                    Ok(())
                }
                Step::ExecuteAfter(wait) => {
                    let (app, line, body, wait) = (Arc::clone(&state.app), line.clone(), body.clone(), *wait);
                    tokio::spawn(async move {
                        tokio::time::sleep(wait).await;
                        State::execute(&app, &line, body).await;
                    });
                    Ok(())
                }
                Step::Answer => stream.write_all(&whole(status, &honest)).await,
                Step::AnswerUpTo(n) => {
                    let whole = whole(status, &honest);
                    stream.write_all(&whole[..whole.len().min(*n)]).await
                }
                Step::AnswerInPieces(size, pause) => {
                    let mut sent = Ok(());
                    for piece in whole(status, &honest).chunks(*size) {
                        sent = stream.write_all(piece).await;
                        tokio::time::sleep(*pause).await;
                    }
                    sent
                }
                Step::AnswerUnder(head) => stream.write_all(&[head.as_bytes(), &honest].concat()).await,
                Step::Bytes(bytes) => stream.write_all(bytes).await,
                Step::Endless(bytes, pause) => loop {
                    if let Err(error) = stream.write_all(bytes).await {
                        break Err(error);
                    }
                    tokio::time::sleep(*pause).await;
                },
                Step::Wait(time) => {
                    tokio::time::sleep(*time).await;
                    Ok(())
                }
                Step::Reset => {
                    // Closing with unread bytes, or with no patience for what is unsent, is a reset.
                    _ = stream.set_zero_linger();
                    return;
                }
                Step::Close => {
                    _ = stream.shutdown().await;
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

/// The request line and the body; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut more = async |bytes: &mut Vec<u8>| {
        let mut buffer = [0; 8_192];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        Some(())
    };
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = bytes.split_off(end);
    while body.len() < length.unwrap_or(0) {
        more(&mut body).await?;
    }
    Some((head.lines().next()?.to_owned(), body))
}
