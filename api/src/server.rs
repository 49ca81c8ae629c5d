//! Accepting connections, and ending them in good order.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::App;
use crate::router::Door;

/// How HTTP/2 begins. A client that sends some of it and stops would otherwise be waited for without end.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves until `app.drain`; then waits for what is under way, `http.drain_timeout` at most, and cuts the rest.
pub async fn serve(listener: TcpListener, door: Arc<Door>, app: Arc<App>) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let wait = app.config.http.read_timeout;
    builder.http1().timer(TokioTimer::new()).header_read_timeout(wait);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_concurrent_streams(256)
        .enable_connect_protocol();
    let builder = Arc::new(builder);
    let cut = CancellationToken::new();
    loop {
        let stream = tokio::select! {
            () = app.drain.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: others end soon.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (door, builder) = (door.clone(), builder.clone());
        let (drain, cut) = (app.drain.clone(), cut.clone());
        let patience = app.config.websocket.write_timeout;
        app.tasks.spawn(connection(stream, door, builder, (wait, patience), drain, cut));
    }
    drop(listener);
    app.tasks.close();
    tracing::info!(
        connections = app.places.open(),
        "closing: no new connections, waiting for what is under way"
    );
    let limit = app.config.http.drain_timeout;
    if tokio::time::timeout(limit, app.tasks.wait()).await.is_err() {
        tracing::warn!(left = app.tasks.len(), "some connections did not end in time and are cut");
        cut.cancel();
        // Sockets end with the runtime's end of the process; HTTP connections now.
        let _ = tokio::time::timeout(Duration::from_secs(1), app.tasks.wait()).await;
    }
}

async fn connection(
    stream: TcpStream,
    door: Arc<Door>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    (wait, patience): (Duration, Duration),
    drain: CancellationToken,
    cut: CancellationToken,
) {
    // Small answers should not wait for each other.
    let _ = stream.set_nodelay(true);
    tokio::select! {
        begun = tokio::time::timeout(wait, begins(&stream)) => if !matches!(begun, Ok(true)) { return },
        () = drain.cancelled() => return,
    }
    let stream = Patient {
        stream,
        patience,
        stuck: None,
    };
    let service = service_fn(move |request| door.clone().answer(request));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut draining = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended with an error");
                }
                break;
            }
            () = drain.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = cut.cancelled() => break,
        }
    }
}

/// Waits until it is known how the connection begins; `false`: it ended.
async fn begins(stream: &TcpStream) -> bool {
    let mut first = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return false,
            Ok(n) if n < PREFACE.len() && PREFACE.starts_with(&first[..n]) => tokio::time::sleep(Duration::from_millis(5)).await,
            Ok(_) => return true,
        }
    }
}

/// A connection whose client must take something now and then: one that takes no byte for too long is broken off, so that a response
/// without end cannot be held for ever.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// Since the client took nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn waited<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stuck = None;
            return wrote;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
        match stuck.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.waited(cx, wrote)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.waited(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
