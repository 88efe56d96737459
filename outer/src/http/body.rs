//! Bodies of requests: copied as they come into memory that all of them share and that is counted.

use std::sync::Arc;

use axum::body::Body;
use http_body_util::BodyExt;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// The memory that the bodies of all requests share.
pub(crate) struct Bodies {
    free: Arc<Semaphore>,
    /// Bytes in all, and of one body.
    all: usize,
    one: usize,
    /// Bytes that are taken.
    taken: Gauge,
}

/// What a request has of that memory; free again when dropped.
pub(crate) struct Room {
    permit: Option<OwnedSemaphorePermit>,
    taken: Gauge,
}

impl Bodies {
    pub(crate) fn new(all: usize, one: usize, taken: Gauge) -> Self {
        Self {
            free: Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS))),
            all,
            one,
            taken,
        }
    }

    /// A whole body, and the room that it and what is made of it take. Who finds no room for the next bytes is refused and gives
    /// back its own, so that the others go on; a length that is only claimed takes none.
    pub(crate) async fn read(&self, mut body: Body) -> Result<(Vec<u8>, Room), Problem> {
        let mut bytes = Vec::new();
        let mut room = Room {
            permit: None,
            taken: self.taken.clone(),
        };
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Problem::malformed(format!("the body did not arrive: {error}")))?;
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            let len = bytes.len() + data.len();
            if len > self.one {
                return Err(Problem::body_too_large(self.one));
            }
            let has = room.bytes();
            if len > has {
                let wants = len.next_power_of_two().clamp(LEAST, self.one.max(LEAST));
                self.take(&mut room, wants - has)?;
                bytes.reserve_exact(wants - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, room))
    }

    fn take(&self, room: &mut Room, bytes: usize) -> Result<(), Problem> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.free).try_acquire_many_owned(count) else {
            return Err(Problem::no_room(self.all));
        };
        self.taken.inc_by(bytes as i64);
        match &mut room.permit {
            Some(permit) => permit.merge(more),
            None => room.permit = Some(more),
        }
        Ok(())
    }
}

impl Room {
    fn bytes(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.dec_by(self.bytes() as i64);
    }
}

/// The least room of a body that has begun.
const LEAST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};

    use super::*;

    /// A body of so many bytes, in pieces of `piece`; it never ends if `withheld`.
    fn body(len: usize, piece: usize, withheld: bool) -> Body {
        let mut pieces = vec![Ok::<_, Infallible>(vec![b'x'; piece]); len / piece];
        pieces.push(Ok(vec![b'x'; len % piece]));
        let rest = stream::pending().take(usize::from(withheld));
        Body::from_stream(stream::iter(pieces).chain(rest))
    }

    #[tokio::test]
    async fn all_bodies_together_are_bounded() {
        let taken = Gauge::default();
        let bodies = Arc::new(Bodies::new(40_000, 16_384, taken.clone()));
        // Bytes one by one take no more than their number.
        let (bytes, room) = bodies.read(body(9_000, 1, false)).await.unwrap();
        assert_eq!((bytes.len(), taken.get()), (9_000, 16_384));
        let mut held = Vec::new();
        for _ in 0..20 {
            let bodies = Arc::clone(&bodies);
            held.push(tokio::spawn(async move {
                bodies
                    .read(body(4_000, 100, true))
                    .await
                    .map(|_| ())
                    .unwrap_err()
                    .status
            }));
        }
        // Those that find room hold it; the others are refused at once.
        while held.iter().filter(|task| !task.is_finished()).count() > 5 {
            tokio::task::yield_now().await;
        }
        assert_eq!(taken.get(), 16_384 + 5 * 4096);
        let whole = bodies
            .read(body(4_000, 4_000, false))
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(whole.status.as_u16(), 503);
        assert!(whole.body().to_string().contains("bodies_bytes"));
        for task in held {
            match task.is_finished() {
                true => assert_eq!(task.await.unwrap().as_u16(), 503),
                false => task.abort(),
            }
        }
        drop(room);
        while taken.get() > 0 {
            tokio::task::yield_now().await;
        }
        let (bytes, _room) = bodies.read(body(16_384, 5_000, false)).await.unwrap();
        assert_eq!(bytes.len(), 16_384);
        let large = bodies
            .read(body(16_385, 5_000, false))
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(large.status.as_u16(), 413);
    }
}
