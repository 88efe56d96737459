//! The thread that computes. It sleeps unless there is something to say and leave to say it.

use crate::clock::Clock;
use crate::engine::Error;
use crate::worker::{Order, Said, Worker};
use core::time::Duration;
use mio::Waker;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;
use weir_model::Predict;

/// The I/O side of the engine thread.
pub(crate) struct EngineThread {
    orders: Option<Sender<Order>>,
    said: Receiver<(Said, Duration)>,
    handle: JoinHandle<Result<(), Error>>,
}

impl EngineThread {
    /// Starts the thread; `waker` wakes the caller when there is a frame, or when the thread ends.
    pub(crate) fn start<P: Predict + 'static>(
        mut worker: Worker<P>,
        waker: Arc<Waker>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let (orders, inbox) = channel();
        // Every batch has one frame under way at most, and a session is answered once.
        let (outbox, said) = sync_channel(worker.engine().batches() + 1);
        let handle = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // Locals are dropped last to first: the channel is closed when the waker calls.
                let ending = Ending(waker);
                let outbox = outbox;
                work(&mut worker, &inbox, &outbox, &ending.0, clock)
            })?;
        Ok(Self {
            orders: Some(orders),
            said,
            handle,
        })
    }

    /// Hands over an order. If the thread has ended, [`EngineThread::poll`] says so.
    pub(crate) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    /// A frame and how long it took, if there is one.
    ///
    /// # Errors
    /// The thread has ended; [`EngineThread::join`] knows why.
    pub(crate) fn poll(&self) -> Result<Option<(Said, Duration)>, Ended> {
        match self.said.try_recv() {
            Ok(said) => Ok(Some(said)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Ended),
        }
    }

    /// Lets the thread finish its turn, and waits for it.
    pub(crate) fn join(mut self) -> anyhow::Result<()> {
        self.orders = None;
        // A turn's frames may still be on their way into a full channel.
        drop(self.said);
        match self.handle.join() {
            Ok(result) => Ok(result?),
            Err(_) => anyhow::bail!("the engine thread panicked"),
        }
    }
}

/// The engine thread is no more.
#[derive(Debug)]
pub(crate) struct Ended;

/// Wakes the I/O thread however the engine thread ends.
struct Ending(Arc<Waker>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.wake();
    }
}

fn work<P: Predict>(
    worker: &mut Worker<P>,
    orders: &Receiver<Order>,
    outbox: &SyncSender<(Said, Duration)>,
    waker: &Waker,
    clock: Clock,
) -> Result<(), Error> {
    // The answers under way are recorded however it ends.
    let end = |worker: &mut Worker<P>| worker.order(Order::Session(None)).map(drop);
    loop {
        let mut turn = Vec::new();
        if !worker.is_ready() {
            match orders.recv() {
                Ok(order) => turn.extend(worker.order(order)?),
                Err(_) => return end(worker),
            }
        }
        loop {
            match orders.try_recv() {
                Ok(order) => turn.extend(worker.order(order)?),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return end(worker),
            }
        }
        let mut took = Duration::ZERO;
        if turn.is_empty() {
            let start = clock.now();
            worker.turn(|said| turn.push(said))?;
            took = clock.now().since(start);
        }
        for said in turn {
            if outbox.send((said, took)).is_err() {
                return end(worker);
            }
            // A wake that fails means that the poll is gone, and then so is the channel.
            let _ = waker.wake();
        }
    }
}
