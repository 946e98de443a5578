//! A bad network between devices and a server: a UDP proxy that loses, delays, reorders and repeats packets, falls silent
//! on command, and can keep what passed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::dice::Dice;

/// Largest UDP payload.
const LARGEST: usize = 1 << 16;
/// Packets that may be under way; more are lost, as in a router.
const QUEUE: usize = 20_000;

/// What befalls each packet, in either direction.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Packets that never arrive, percent.
    pub lost_percent: u64,
    /// Packets that arrive twice, percent.
    pub repeated_percent: u64,
    /// Packets that are held back for the longest delay once more, so that later ones overtake them; percent.
    pub held_back_percent: u64,
    /// How long a packet takes, milliseconds. Each one rolls for itself: jitter reorders, too.
    pub delay_ms: RangeInclusive<u64>,
}

impl Weather {
    /// Everything arrives, once, in order, at once.
    pub fn fine() -> Self {
        Self {
            lost_percent: 0,
            repeated_percent: 0,
            held_back_percent: 0,
            delay_ms: 0..=0,
        }
    }

    /// A bad mobile network: 20 to 80 ms, and so much lost.
    pub fn stormy(lost_percent: u64) -> Self {
        Self {
            lost_percent,
            repeated_percent: 2,
            held_back_percent: 5,
            delay_ms: 20..=80,
        }
    }
}

/// What has passed, or hasn't.
#[derive(Debug, Default)]
pub struct Tally {
    /// Packets that came in.
    pub came: AtomicU64,
    /// Of these lost, by chance.
    pub lost: AtomicU64,
    /// Of these lost because the network was cut.
    pub cut: AtomicU64,
    /// Sent out before one that came in earlier.
    pub overtook: AtomicU64,
    /// Sent out twice.
    pub repeated: AtomicU64,
}

/// A packet's payload as it passed.
#[derive(Debug, Clone)]
pub struct Captured {
    /// From a device to the server.
    pub to_server: bool,
    /// The UDP payload.
    pub bytes: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    cut: AtomicBool,
    tally: Tally,
    capture: Mutex<Option<Vec<Captured>>>,
}

/// The proxy. Dropping it ends it, and everything under way is lost.
pub struct BadNetwork {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    worker: Option<JoinHandle<()>>,
}

impl BadNetwork {
    /// Stands before a server at `127.0.0.1:port`. The seed decides what befalls the first, second, … packet; which that is,
    /// the machine's speed decides.
    pub fn before(server_port: u16, weather: Weather, seed: u64) -> Self {
        let front = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        front.set_nonblocking(true).expect("a socket that doesn't block");
        let address = front.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let carried = Arc::clone(&shared);
        let server = SocketAddr::from(([127, 0, 0, 1], server_port));
        let worker = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let (back, from_server) = mpsc::unbounded_channel();
                let courier = Courier {
                    front: UdpSocket::from_std(front).expect("a socket"),
                    server,
                    ways: HashMap::new(),
                    back,
                    queue: BinaryHeap::new(),
                    count: 0,
                    newest_out: 0,
                    weather,
                    dice: Dice::new(seed),
                    shared: carried,
                };
                courier.run(from_server, stopped).await;
            });
        });
        Self {
            address,
            shared,
            stop: Some(stop),
            worker: Some(worker),
        }
    }

    /// A server's address, with this network between.
    pub fn address_of(&self, server: &str) -> String {
        let (_, key) = server.split_once("/#").expect("a server's address has a key");
        format!("hearth-sync://{}/#{key}", self.address)
    }

    /// Where devices reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the network, or mends it. What is under way still arrives.
    pub fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::Relaxed);
    }

    /// Keeps what passes from now on.
    pub fn capture(&self) {
        *self.captured_now() = Some(Vec::new());
    }

    /// What has passed since [`BadNetwork::capture`], which goes on.
    pub fn captured(&self) -> Vec<Captured> {
        self.captured_now().clone().unwrap_or_default()
    }

    /// What has befallen packets until now.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    fn captured_now(&self) -> std::sync::MutexGuard<'_, Option<Vec<Captured>>> {
        self.shared.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BadNetwork {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Where a packet goes: to a device, or from it to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer(SocketAddr),
    ToDevice(SocketAddr),
}

struct UnderWay {
    at: Instant,
    number: u64,
    way: Way,
    bytes: Vec<u8>,
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for UnderWay {}
impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct Courier {
    front: UdpSocket,
    server: SocketAddr,
    /// A socket to the server for each device's, so that the server tells them apart.
    ways: HashMap<SocketAddr, Arc<UdpSocket>>,
    back: mpsc::UnboundedSender<(SocketAddr, Vec<u8>)>,
    queue: BinaryHeap<Reverse<UnderWay>>,
    count: u64,
    newest_out: u64,
    weather: Weather,
    dice: Dice,
    shared: Arc<Shared>,
}

impl Courier {
    async fn run(
        mut self,
        mut from_server: mpsc::UnboundedReceiver<(SocketAddr, Vec<u8>)>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut buffer = vec![0; LARGEST];
        loop {
            let due = self.queue.peek().map(|Reverse(next)| next.at);
            tokio::select! {
                _ = &mut stopped => return,
                () = async {
                    match due {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                } => self.deliver().await,
                came = self.front.recv_from(&mut buffer) => {
                    // An error here is of an earlier packet, to a device that is gone.
                    if let Ok((length, device)) = came {
                        self.take(Way::ToServer(device), buffer[..length].to_vec());
                    }
                }
                Some((device, bytes)) = from_server.recv() => self.take(Way::ToDevice(device), bytes),
            }
        }
    }

    /// Rolls for a packet. As many rolls for each, so that the fate of the `n`-th depends on the seed alone.
    #[allow(clippy::needless_pass_by_value, reason = "a packet is handed over")]
    fn take(&mut self, way: Way, bytes: Vec<u8>) {
        let tally = &self.shared.tally;
        let (lost, twice, held) = (
            self.dice.percent(self.weather.lost_percent),
            self.dice.percent(self.weather.repeated_percent),
            self.dice.percent(self.weather.held_back_percent),
        );
        let delays = [
            self.dice.within(&self.weather.delay_ms),
            self.dice.within(&self.weather.delay_ms),
        ];
        tally.came.fetch_add(1, Ordering::Relaxed);
        if let Some(capture) = &mut *self.shared.capture.lock().unwrap_or_else(PoisonError::into_inner) {
            capture.push(Captured {
                to_server: matches!(way, Way::ToServer(_)),
                bytes: bytes.clone(),
            });
        }
        if self.shared.cut.load(Ordering::Relaxed) {
            tally.cut.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if lost || self.queue.len() >= QUEUE {
            tally.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let now = Instant::now();
        let more = if held { *self.weather.delay_ms.end() } else { 0 };
        let times = if twice { 2 } else { 1 };
        tally.repeated.fetch_add(times - 1, Ordering::Relaxed);
        for delay in delays.into_iter().take(times as usize) {
            self.count += 1;
            self.queue.push(Reverse(UnderWay {
                at: now + Duration::from_millis(delay + more),
                number: self.count,
                way,
                bytes: bytes.clone(),
            }));
        }
    }

    async fn deliver(&mut self) {
        while self
            .queue
            .peek()
            .is_some_and(|Reverse(next)| next.at <= Instant::now())
        {
            let Some(Reverse(packet)) = self.queue.pop() else {
                return;
            };
            if packet.number < self.newest_out {
                self.shared.tally.overtook.fetch_add(1, Ordering::Relaxed);
            }
            self.newest_out = self.newest_out.max(packet.number);
            // What can't be sent is lost: nobody is there, or a buffer is full.
            match packet.way {
                Way::ToDevice(device) => _ = self.front.send_to(&packet.bytes, device).await,
                Way::ToServer(device) => {
                    if let Some(socket) = self.way_of(device).await {
                        let _ = socket.send(&packet.bytes).await;
                    }
                }
            }
        }
    }

    async fn way_of(&mut self, device: SocketAddr) -> Option<Arc<UdpSocket>> {
        if let Some(socket) = self.ways.get(&device) {
            return Some(Arc::clone(socket));
        }
        let socket = UdpSocket::bind("127.0.0.1:0").await.ok()?;
        socket.connect(self.server).await.ok()?;
        let socket = Arc::new(socket);
        let (reading, back) = (Arc::clone(&socket), self.back.clone());
        tokio::spawn(async move {
            let mut buffer = vec![0; LARGEST];
            loop {
                // An error here says that no server is listening at the moment.
                let Ok(length) = reading.recv(&mut buffer).await else {
                    continue;
                };
                if back.send((device, buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
        });
        self.ways.insert(device, Arc::clone(&socket));
        Some(socket)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Plain;

    use super::*;

    /// Sends `count` numbered packets through, and gives what arrived within a while.
    fn through(weather: Weather, seed: u64, count: u32) -> (Vec<u32>, BadNetwork) {
        let server = Plain::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        let network = BadNetwork::before(server.local_addr().unwrap().port(), weather, seed);
        let device = Plain::bind("127.0.0.1:0").unwrap();
        for number in 0..count {
            device.send_to(&number.to_be_bytes(), network.address()).unwrap();
        }
        let (mut arrived, mut buffer) = (Vec::new(), [0; 4]);
        while server.recv(&mut buffer).is_ok() {
            arrived.push(u32::from_be_bytes(buffer));
        }
        (arrived, network)
    }

    #[test]
    fn in_fine_weather_everything_arrives_once_and_answers_come_back() {
        let (arrived, _) = through(Weather::fine(), 1, 100);
        assert_eq!(arrived, (0..100).collect::<Vec<_>>());

        let server = Plain::bind("127.0.0.1:0").unwrap();
        let network = BadNetwork::before(server.local_addr().unwrap().port(), Weather::fine(), 1);
        network.capture();
        let devices = [0, 1].map(|_| Plain::bind("127.0.0.1:0").unwrap());
        for (number, device) in (0u8..).zip(&devices) {
            device.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            device.send_to(&[number], network.address()).unwrap();
            let mut buffer = [9];
            let (_, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&[buffer[0] + 10], from).unwrap();
            device.recv(&mut buffer).unwrap();
            assert_eq!(buffer, [number + 10], "each gets its own answer");
        }
        let captured = network.captured();
        assert_eq!(captured.iter().filter(|packet| packet.to_server).count(), 2);
        assert_eq!(captured.len(), 4);
    }

    #[test]
    fn in_a_storm_packets_are_lost_repeated_and_overtaken_and_the_seed_says_which() {
        let storm = Weather {
            lost_percent: 20,
            repeated_percent: 20,
            held_back_percent: 20,
            delay_ms: 1..=20,
        };
        let (first, network) = through(storm.clone(), 7, 200);
        let tally = network.tally();
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        assert_eq!(count(&tally.came), 200);
        assert!((18..=65).contains(&count(&tally.lost)), "{tally:?}");
        assert!((18..=65).contains(&count(&tally.repeated)), "{tally:?}");
        assert!(count(&tally.overtook) > 20, "{tally:?}");
        let which = |mut arrived: Vec<u32>| {
            arrived.sort_unstable();
            arrived
        };
        let again = which(through(storm.clone(), 7, 200).0);
        let first = which(first);
        assert_eq!(again, first);
        assert_ne!(which(through(storm, 8, 200).0), first);
        network.cut(true);
        let device = Plain::bind("127.0.0.1:0").unwrap();
        device.send_to(&[1], network.address()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while count(&network.tally().cut) == 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "a cut network drops everything"
            );
            std::thread::yield_now();
        }
    }
}
