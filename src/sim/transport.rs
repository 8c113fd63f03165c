//! Two ways to the service: in the caller's own task, or over a socket.

use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use futures::future::BoxFuture;
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::app::App;
use super::gateway::Ending;
use crate::api::transport::secrecy_token::Token;
use crate::api::{Answer, Reply, Transport};

/// How long connections may take to end once the service is told to stop.
const GRACE: Duration = Duration::from_secs(1);

/// Calls the simulator in the caller's own task; a call that is dropped is a connection that is closed.
#[derive(Clone)]
pub struct SimTransport {
    router: Router,
}

impl App {
    /// Calls the service in the caller's own task.
    pub fn transport(self: &Arc<Self>) -> SimTransport {
        SimTransport { router: self.router() }
    }
}

impl Transport for SimTransport {
    fn call(&self, request: http::Request<Bytes>, max_answer: usize) -> BoxFuture<'_, Reply> {
        let router = self.router.clone();
        Box::pin(async move {
            let Ok(response) = router.oneshot(request.map(Body::from)).await;
            match response.extensions().get::<Ending>() {
                Some(Ending::NotSent) => return Reply::NotSent { cause: "connection refused (simulated)".to_owned() },
                Some(Ending::Cut) => {
                    return Reply::Lost { cause: "connection closed before the answer (simulated)".to_owned() };
                }
                None => {}
            }
            let (parts, body) = response.into_parts();
            let Ok(body) = axum::body::to_bytes(body, max_answer).await else {
                return Reply::Lost { cause: format!("the answer is longer than {max_answer} bytes") };
            };
            let header = |name: &str| parts.headers.get(name)?.to_str().ok().map(str::to_owned);
            Reply::Answer(Answer {
                status: parts.status.as_u16(),
                body,
                request_id: header("X-Request-Id"),
                retry_after: header("Retry-After"),
                date: header("Date"),
                location: header("Location"),
                subject_token: header("X-Subject-Token").map(|token| Token(SecretString::from(token))),
            })
        })
    }
}

/// Serves on a socket until `shutdown`; requests in flight have a second to end.
///
/// An effect that loses the answer cuts the connection before its first byte.
///
/// # Errors
/// As accepting connections fails for good.
pub async fn serve(app: Arc<App>, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let stop = CancellationToken::new();
    let router = app.router().layer(middleware::from_fn(cut));
    let service = router.into_make_service_with_connect_info::<Scissors>();
    let server = axum::serve(CuttableListener(listener), service);
    let mut server = pin!(server.with_graceful_shutdown(stop.clone().cancelled_owned()).into_future());
    tokio::select! {
        ended = &mut server => ended,
        () = shutdown => {
            stop.cancel();
            tokio::time::timeout(GRACE, server).await.unwrap_or(Ok(()))
        }
    }
}

/// Cuts the connection where a response must not go out.
async fn cut(ConnectInfo(scissors): ConnectInfo<Scissors>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.extensions().get::<Ending>().is_some() {
        scissors.0.store(true, Ordering::Release);
    }
    response
}

/// Once set, nothing is written to the connection any more.
#[derive(Debug, Clone, Default)]
struct Scissors(Arc<AtomicBool>);

impl Connected<IncomingStream<'_, CuttableListener>> for Scissors {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.io().scissors.clone()
    }
}

struct CuttableListener(TcpListener);

impl Listener for CuttableListener {
    type Io = Cuttable;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Cuttable { stream, scissors: Scissors::default() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A connection that can be cut instead of written to.
struct Cuttable {
    stream: TcpStream,
    scissors: Scissors,
}

impl AsyncRead for Cuttable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.scissors.0.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::testing::{body, names, world};
    use super::super::{Effect, Executed, Fault, Op, Scenario};
    use super::*;

    /// Sends one batch-detach over a fresh connection and reads until its end.
    async fn post(address: SocketAddr, body: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /v2/p/desktops/batch-detach HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await; // a reset is an end, too
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn over_a_socket_a_lost_answer_is_a_connection_cut_before_its_first_byte() {
        let faults = vec![Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).count(1)];
        let app = App::new(world(2, 1), Scenario { faults, ..Scenario::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(Arc::clone(&app), listener, stop.clone().cancelled_owned()));

        assert_eq!(post(address, &body(&["d-0"]).to_string()).await, "");
        let answer = post(address, &body(&["d-1"]).to_string()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-request-id: "), "{answer}");
        assert!(names(&app, "d-0").is_empty() && names(&app, "d-1").is_empty());
        let log = app.log();
        assert_eq!((log[0].status, log[0].executed, log[1].status), (None, Executed::Whole, Some(200)));

        stop.cancel();
        server.await.unwrap().unwrap(); // its port may be somebody else's by now
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_over_the_cap_is_lost() {
        let app = App::new(world(50, 5), Scenario::default());
        let request = http::Request::get("/v2/p/desktops/detail").body(Bytes::new()).unwrap();
        assert!(matches!(app.transport().call(request, 1_000).await, Reply::Lost { .. }));
    }
}
