//! Accepting connections: seats for strangers and guests, limits on heads and on slow ends, an orderly end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;

use super::door::{Door, Seats, Ticket};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Limits of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connections {
    /// Open connections at once, before and after they have shown a key.
    pub(crate) seats: Seats,
    /// A connection that has not sent a whole request head by then is closed.
    pub(crate) header_timeout: Duration,
    /// A connection that accepts nothing for so long is closed.
    pub(crate) write_timeout: Duration,
    /// After the stop: how long answers under way may take to end.
    pub(crate) grace: Duration,
}

/// Serves until `stop` turns true, then lets connections finish within the grace. Each request has its connection's [`Ticket`]
/// among its extensions.
///
/// axum's own `serve` sets no timer, so a client that never finishes its headers would hold a connection for ever.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Connections,
    metrics: Metrics,
    mut stop: watch::Receiver<bool>,
) {
    let (graceful, clock) = (GracefulShutdown::new(), Clock::start());
    let door = Arc::new(Door::new(connections.seats, metrics));
    loop {
        let stream = tokio::select! {
            accepted = accept(&listener, &door, &clock) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(connections.write_timeout));
        let service = TowerToHyperService::new(router.clone());
        door.enter(clock.now(), |ticket| {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(connections.header_timeout)
                .max_buf_size(BUFFER)
                .serve_connection(
                    TokioIo::new(Box::pin(stream)),
                    service_fn(move |mut request: Request<Incoming>| {
                        request
                            .extensions_mut()
                            .insert::<Arc<Ticket>>(Arc::clone(&ticket));
                        service.call(request)
                    }),
                );
            let connection = graceful.watch(connection);
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection ended early");
                }
            });
            task.abort_handle()
        });
    }
    drop(listener);
    if tokio::time::timeout(connections.grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end in time");
    }
}

/// The next connection, for which there is room; never fails, as an error of one connection is not the listener's.
async fn accept(listener: &TcpListener, door: &Door, clock: &Clock) -> TcpStream {
    let stream = loop {
        match listener.accept().await {
            Ok((stream, _)) => break stream,
            Err(error) => {
                // Out of file descriptors, most likely: what strangers hold is free for others, and waiting helps with the rest.
                tracing::warn!(%error, "cannot accept a connection");
                door.drop_oldest();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    while let Err(wait) = door.make_room(clock.now()) {
        tokio::time::sleep(wait).await;
    }
    stream
}

/// Bytes that a connection may hold of what it has received and not yet taken, and so of a head (431 beyond); and, about, of
/// what it is to send.
const BUFFER: usize = 16 << 10;
