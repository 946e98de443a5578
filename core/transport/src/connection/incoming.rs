//! What comes in: frames and batches, whole, at a pace, with bounded memory.

use std::sync::Arc;
use std::time::Duration;

use hearth_protocol::error::ErrorCode;
use hearth_protocol::limits::MAX_BATCH_BYTES;
use hearth_protocol::message::{FRAME_PREFIX_BYTES, frame_length};
use quinn::{RecvStream, SendStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::{Event, Guard, Role, Sender, Shared};
use crate::limits::{INBOX_BYTES, Limits, STREAMS};
use crate::order::{HEAD_BYTES, Order, lane};

/// Above this, a message needs one of the slots that all connections share.
const LARGE_BYTES: usize = 64 << 10;

/// What comes in. Dropping it ends the connection.
#[derive(Debug)]
pub struct Events {
    inbox: mpsc::Receiver<Arrived>,
    sender: Sender,
}

#[derive(Debug)]
struct Arrived {
    event: Event,
    _room: OwnedSemaphorePermit,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Events {
    pub(super) fn start(
        sender: Sender,
        role: Role,
        shared: &Shared,
        control: oneshot::Sender<SendStream>,
        guard: Option<Guard>,
    ) -> Self {
        let (tx, inbox) = mpsc::channel(32);
        let incoming = Arc::new(Incoming {
            role,
            sender: sender.clone(),
            shared: shared.clone(),
            room: Arc::new(Semaphore::new(INBOX_BYTES)),
            inbox: tx,
            order: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&incoming).read_control(role, control, guard));
        tokio::spawn(incoming.accept_batches());
        Self { inbox, sender }
    }

    /// The next one. After the end it is `Closed` again and again.
    pub async fn next(&mut self) -> Event {
        match self.inbox.recv().await {
            Some(arrived) => arrived.event,
            None => Event::Closed(self.sender.closed().await),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.sender.close(None);
    }
}

/// Why reading stopped.
enum Stop {
    /// The other end has said all; or the connection is gone.
    End,
    /// It broke a limit.
    Broken(ErrorCode),
}

struct Incoming {
    role: Role,
    sender: Sender,
    shared: Shared,
    room: Arc<Semaphore>,
    inbox: mpsc::Sender<Arrived>,
    /// A finished batch keeps its slot while it waits for those before it.
    order: Mutex<Order<Option<OwnedSemaphorePermit>>>,
}

impl Incoming {
    async fn read_control(
        self: Arc<Self>,
        role: Role,
        control: oneshot::Sender<SendStream>,
        guard: Option<Guard>,
    ) {
        let stop = match self.frames(role, control).await {
            Ok(()) => Stop::End,
            Err(stop) => stop,
        };
        match stop {
            // A reason may follow the end of the stream.
            Stop::End => {
                if timeout(Duration::from_secs(5), self.sender.closed())
                    .await
                    .is_err()
                {
                    self.sender.abort(None);
                }
            }
            Stop::Broken(code) => self.sender.close(Some(code)),
        }
        self.sender.closed().await;
        drop(guard);
    }

    async fn frames(&self, role: Role, control: oneshot::Sender<SendStream>) -> Result<(), Stop> {
        let quic = self.sender.quic();
        let limits = &self.shared.limits;
        let first = Instant::now() + limits.first_frame;
        let opening = async {
            match role {
                Role::Device => quic.open_bi().await,
                Role::Server => quic.accept_bi().await,
            }
        };
        let (send, mut recv) = within(first, opening).await?.map_err(|_| Stop::End)?;
        control.send(send).map_err(|_| Stop::End)?;
        if role == Role::Server {
            let frame = within(first, self.frame(&mut recv)).await??;
            self.deliver_frame(frame).await?;
        }
        loop {
            let frame = self.frame(&mut recv).await?;
            self.deliver_frame(frame).await?;
        }
    }

    async fn frame(&self, stream: &mut RecvStream) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Stop> {
        let mut prefix = [0; FRAME_PREFIX_BYTES];
        // A silent connection is an idle one: the pace begins with the first byte.
        stream
            .read(&mut prefix[..1])
            .await
            .map_err(|_| Stop::End)?
            .ok_or(Stop::End)?;
        // Who isn't known yet gets no longer than this, however steady the pace.
        if self.role == Role::Server && !self.sender.is_identified() {
            let deadline = Instant::now() + self.shared.limits.frame_of_stranger;
            within(deadline, self.rest_of_frame(stream, prefix)).await?
        } else {
            self.rest_of_frame(stream, prefix).await
        }
    }

    async fn rest_of_frame(
        &self,
        stream: &mut RecvStream,
        mut prefix: [u8; FRAME_PREFIX_BYTES],
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Stop> {
        let mut pace = Pace::new(&self.shared.limits);
        pace.keep(stream.read_exact(&mut prefix[1..]))
            .await?
            .map_err(|_| Stop::End)?;
        let length = frame_length(prefix).map_err(|_| Stop::Broken(ErrorCode::TooLarge))?;
        let slot = if length > LARGE_BYTES {
            Some(self.slot(&mut pace).await?)
        } else {
            None
        };
        let mut body = Vec::with_capacity(length.min(LARGE_BYTES));
        while body.len() < length {
            let read = stream.read_chunk(length - body.len(), true);
            let chunk = pace.keep(read).await?.map_err(|_| Stop::End)?.ok_or(Stop::End)?;
            pace.got(chunk.bytes.len());
            body.extend_from_slice(&chunk.bytes);
        }
        Ok((body, slot))
    }

    async fn deliver_frame(
        &self,
        (bytes, slot): (Vec<u8>, Option<OwnedSemaphorePermit>),
    ) -> Result<(), Stop> {
        let room = self.room(bytes.len()).await?;
        let arrived = Arrived {
            event: Event::Frame(bytes),
            _room: room,
            _slot: slot,
        };
        self.inbox.send(arrived).await.map_err(|_| Stop::End)
    }

    async fn accept_batches(self: Arc<Self>) {
        // Streams are taken in order, so the earliest always has its place and gets through.
        let places = Arc::new(Semaphore::new(STREAMS as usize));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok(stream) = self.sender.quic().accept_uni().await else {
                break;
            };
            let index = stream.id().index();
            self.order.lock().await.open(index);
            let incoming = Arc::clone(&self);
            tokio::spawn(async move {
                let read = incoming.batch(stream, index).await;
                if let Err(Stop::Broken(code)) = read {
                    incoming.sender.close(Some(code));
                }
                drop(place);
            });
        }
    }

    async fn batch(&self, mut stream: RecvStream, index: u64) -> Result<(), Stop> {
        let mut pace = Pace::new(&self.shared.limits);
        let mut slot = None;
        let mut bytes = Vec::new();
        let mut lane_known = false;
        loop {
            let chunk = match pace.keep(stream.read_chunk(LARGE_BYTES, true)).await? {
                Ok(Some(chunk)) => chunk.bytes,
                Ok(None) => break,
                Err(_) => {
                    let mut order = self.order.lock().await;
                    order.give_up(index);
                    return self.hand_on(&mut order).await;
                }
            };
            pace.got(chunk.len());
            if bytes.len() + chunk.len() > MAX_BATCH_BYTES {
                return Err(Stop::Broken(ErrorCode::TooLarge));
            }
            if slot.is_none() && bytes.len() + chunk.len() > LARGE_BYTES {
                slot = Some(self.slot(&mut pace).await?);
            }
            bytes.extend_from_slice(&chunk);
            if !lane_known && bytes.len() >= HEAD_BYTES {
                lane_known = true;
                if let Some(lane) = lane(&bytes) {
                    let mut order = self.order.lock().await;
                    order.lane_known(index, lane);
                    self.hand_on(&mut order).await?;
                }
            }
        }
        let mut order = self.order.lock().await;
        order.done(index, bytes, slot);
        self.hand_on(&mut order).await
    }

    /// Hands on what can be; the lock is held meanwhile, so that order is kept.
    async fn hand_on(&self, order: &mut Order<Option<OwnedSemaphorePermit>>) -> Result<(), Stop> {
        for (bytes, slot) in order.take() {
            let room = self.room(bytes.len()).await?;
            let arrived = Arrived {
                event: Event::Batch(bytes),
                _room: room,
                _slot: slot,
            };
            self.inbox.send(arrived).await.map_err(|_| Stop::End)?;
        }
        Ok(())
    }

    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Stop> {
        let bytes = bytes.min(INBOX_BYTES) as u32;
        Arc::clone(&self.room)
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| Stop::End)
    }

    async fn slot(&self, pace: &mut Pace) -> Result<OwnedSemaphorePermit, Stop> {
        let slots = if self.role == Role::Server && !self.sender.is_identified() {
            &self.shared.strangers
        } else {
            &self.shared.large
        };
        pace.keep(Arc::clone(slots).acquire_owned())
            .await?
            .map_err(|_| Stop::End)
    }
}

async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::time::timeout_at(deadline, work)
        .await
        .map_err(|_| Stop::Broken(ErrorCode::Busy))
}

/// How fast a message has to come: time spent waiting for it is weighed against what has come.
struct Pace {
    patience: Duration,
    bytes_per_second: u64,
    waited: Duration,
    got: u64,
}

impl Pace {
    fn new(limits: &Limits) -> Self {
        Self {
            patience: limits.grace,
            bytes_per_second: limits.pace.max(1),
            waited: Duration::ZERO,
            got: 0,
        }
    }

    fn got(&mut self, bytes: usize) {
        self.got += bytes as u64;
    }

    async fn keep<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let earned = Duration::from_millis(self.got.saturating_mul(1_000) / self.bytes_per_second);
        let left = (self.patience + earned).saturating_sub(self.waited);
        let began = Instant::now();
        let result = timeout(left, work)
            .await
            .map_err(|_| Stop::Broken(ErrorCode::Busy));
        self.waited += began.elapsed();
        result
    }
}
