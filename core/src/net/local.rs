//! The local network: saying that this device is there, and hearing who else is.
//!
//! By multicast DNS (RFC 6762 and 6763, `_hearth-sync._udp`). An announcement holds signs that mean something to members of one
//! account alone (`hearth_sync::discovery`), a port and the addresses of this machine's interfaces; its name and host name are
//! random and new whenever it changes, which is at least every quarter of an hour. Only private IPv4 addresses (RFC 1918, link
//! local) are announced, and only such as are on a network of this machine are handed on. Without one it is silent.
//!
//! What is heard is anybody's word. Whoever is called proves its key in the handshake.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hearth_sync::discovery::{MAX_SIGNS, Sign, TAG_BYTES};
use mdns_sd::{IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::time::Instant;

const SERVICE: &str = "_hearth-sync._udp.local.";
/// How often this machine's addresses are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often a folder is looked at, in its place.
const LOOK_AT_FOLDER: Duration = Duration::from_millis(100);
/// How long taking an announcement back may take.
const GOODBYE: Duration = Duration::from_millis(250);
/// Announcements that are remembered, at most.
const MAX_SEEN: usize = 256;
/// Addresses of one announcement, at most.
const MAX_ADDRESSES: usize = 8;
/// Bytes of a file in the folder.
const MAX_FILE_BYTES: usize = 4_096;

/// What one device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// By which its members know it.
    pub signs: Vec<Sign>,
    /// Where it serves.
    pub addresses: Vec<SocketAddr>,
}

/// Where announcements go and come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LocalNetwork {
    /// Nowhere.
    Off,
    /// Multicast DNS.
    #[default]
    Multicast,
    /// Files in a folder, for machines where no multicast passes, such as tests: devices that share it see each other, on
    /// the loopback interface.
    Folder(PathBuf),
}

/// Announces and listens; ends both when dropped.
#[derive(Debug)]
pub struct Discovery {
    way: Way,
    /// What is announced: signs and port.
    announced: Option<(Vec<Sign>, u16)>,
    /// This machine's addresses when it was last said.
    addresses: BTreeSet<Ipv4Addr>,
    look_at: Instant,
    heard: BTreeMap<String, Heard>,
    /// The announcement's own name.
    own: String,
}

#[derive(Debug)]
enum Way {
    Off,
    Multicast(Option<Multicast>),
    Folder(PathBuf),
}

struct Multicast {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
}

impl std::fmt::Debug for Multicast {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Multicast")
    }
}

impl Drop for Multicast {
    fn drop(&mut self) {
        // It says goodbye for what it announced.
        self.daemon.shutdown().ok();
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl Discovery {
    /// Listens from the first [`Discovery::changed`] on. Nothing is announced yet.
    pub fn new(network: &LocalNetwork) -> Self {
        Self {
            way: match network {
                LocalNetwork::Off => Way::Off,
                LocalNetwork::Multicast => Way::Multicast(None),
                LocalNetwork::Folder(folder) => Way::Folder(folder.clone()),
            },
            announced: None,
            addresses: BTreeSet::new(),
            look_at: Instant::now(),
            heard: BTreeMap::new(),
            own: String::new(),
        }
    }

    /// Announces this in place of what was announced before; no signs: nothing.
    pub fn announce(&mut self, signs: Vec<Sign>, port: u16) {
        let wanted = (!signs.is_empty()).then_some((signs, port));
        if self.announced != wanted {
            self.announced = wanted;
            self.say();
        }
    }

    /// Who is there, but for this announcement's own.
    pub fn heard(&self) -> impl Iterator<Item = &Heard> {
        self.heard.values()
    }

    /// Waits until somebody came, went or changed. Safe to drop and to call again.
    pub async fn changed(&mut self) {
        loop {
            if self.look_at <= Instant::now() && self.look() {
                return;
            }
            let Way::Multicast(Some(multicast)) = &self.way else {
                tokio::time::sleep_until(self.look_at).await;
                continue;
            };
            let event = multicast.events.recv_async();
            let next = tokio::time::timeout_at(self.look_at, event).await;
            match next {
                Ok(Ok(event)) => {
                    if self.take(event) {
                        return;
                    }
                }
                // Its thread has ended: another one is made at the next look.
                Ok(Err(_)) => {
                    self.way = Way::Multicast(None);
                    self.addresses.clear();
                }
                Err(_) => {}
            }
        }
    }

    /// Looks at the interfaces, or at the folder; whether who is there has changed.
    fn look(&mut self) -> bool {
        match &self.way {
            Way::Off => {
                self.look_at = Instant::now() + LOOK;
                false
            }
            Way::Folder(folder) => {
                self.look_at = Instant::now() + LOOK_AT_FOLDER;
                let heard = read_folder(folder, &self.own);
                let changed = heard != self.heard;
                self.heard = heard;
                changed
            }
            Way::Multicast(_) => {
                self.look_at = Instant::now() + LOOK;
                let addresses: BTreeSet<Ipv4Addr> = own_networks().into_iter().map(|(ip, _)| ip).collect();
                if addresses == self.addresses {
                    return false;
                }
                self.addresses = addresses;
                // What was heard was heard elsewhere.
                let changed = !self.heard.is_empty();
                self.heard.clear();
                self.way = Way::Multicast(if self.addresses.is_empty() { None } else { listen() });
                self.say();
                changed
            }
        }
    }

    fn take(&mut self, event: ServiceEvent) -> bool {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let name = service.get_fullname().to_owned();
                if name.starts_with(&self.own) && !self.own.is_empty() {
                    return false;
                }
                let Some(heard) = resolved(&service, &own_networks()) else {
                    return self.heard.remove(&name).is_some();
                };
                if self.heard.len() >= MAX_SEEN && !self.heard.contains_key(&name) {
                    return false;
                }
                self.heard.insert(name, heard.clone()) != Some(heard)
            }
            ServiceEvent::ServiceRemoved(_, name) => self.heard.remove(&name).is_some(),
            _ => false,
        }
    }

    /// Takes the announcement back, and waits a moment until that was said: a process that ends right away wouldn't.
    pub async fn end(mut self) {
        let own = std::mem::take(&mut self.own);
        match &self.way {
            Way::Multicast(Some(multicast)) if !own.is_empty() => {
                if let Ok(said) = multicast.daemon.unregister(&format!("{own}.{SERVICE}")) {
                    tokio::time::timeout(GOODBYE, said.recv_async()).await.ok();
                }
            }
            _ => self.own = own,
        }
    }

    fn withdraw(&mut self) {
        if self.own.is_empty() {
            return;
        }
        match &self.way {
            Way::Multicast(Some(multicast)) => {
                multicast
                    .daemon
                    .unregister(&format!("{}.{SERVICE}", self.own))
                    .ok();
            }
            Way::Folder(folder) => _ = std::fs::remove_file(folder.join(&self.own)),
            _ => {}
        }
        self.own.clear();
    }

    fn say(&mut self) {
        self.withdraw();
        let Some((signs, port)) = &self.announced else {
            return;
        };
        let mut random = [0; 12];
        if getrandom::fill(&mut random).is_err() {
            return;
        }
        let own = hex(&random);
        match &self.way {
            Way::Multicast(Some(multicast)) => {
                let ips: Vec<IpAddr> = self.addresses.iter().map(|ip| IpAddr::V4(*ip)).collect();
                let host = format!("{}.local.", hex(&random[..6]));
                let info = ServiceInfo::new(SERVICE, &own, &host, &ips[..], *port, &properties(signs)[..]);
                match info {
                    Ok(info) => _ = multicast.daemon.register(info),
                    Err(error) => tracing::warn!(%error, "this device can't be announced"),
                }
            }
            Way::Folder(folder) => {
                let (hidden, file) = (folder.join(format!(".{own}")), folder.join(&own));
                let written = std::fs::write(&hidden, format!("{port} {}", signs_text(signs)))
                    .and_then(|()| std::fs::rename(&hidden, &file));
                if let Err(error) = written {
                    tracing::warn!(%error, "this device can't be announced");
                }
            }
            _ => return,
        }
        self.own = own;
    }
}

fn listen() -> Option<Multicast> {
    let started = ServiceDaemon::new().and_then(|daemon| {
        daemon.disable_interface(vec![IfKind::IPv6, IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        let events = daemon.browse(SERVICE)?;
        Ok(Multicast { daemon, events })
    });
    match started {
        Ok(multicast) => Some(multicast),
        Err(error) => {
            tracing::warn!(%error, "the local network can't be listened to");
            None
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One text property each, as a property holds 255 bytes.
fn properties(signs: &[Sign]) -> Vec<(String, String)> {
    let signs = signs.iter().take(MAX_SIGNS).enumerate();
    signs
        .map(|(place, sign)| (format!("s{place}"), signs_text(&[*sign])))
        .collect()
}

fn signs_text(signs: &[Sign]) -> String {
    signs
        .iter()
        .map(|sign| hex(&[sign.tag, sign.mark].concat()))
        .collect()
}

fn signs_of(text: &str) -> Vec<Sign> {
    let digits = 4 * TAG_BYTES;
    let part = |text: &str| {
        let mut bytes = [0; TAG_BYTES];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
        }
        Some(bytes)
    };
    (0..text.len() / digits)
        .take(MAX_SIGNS)
        .filter_map(|place| {
            let sign = text.get(place * digits..(place + 1) * digits)?;
            Some(Sign {
                tag: part(sign.get(..digits / 2)?)?,
                mark: part(sign.get(digits / 2..)?)?,
            })
        })
        .collect()
}

/// What a service says, if it is one of ours that can be called.
fn resolved(service: &ResolvedService, networks: &[(Ipv4Addr, Ipv4Addr)]) -> Option<Heard> {
    let properties = (0..MAX_SIGNS).map_while(|place| service.get_property_val_str(&format!("s{place}")));
    let signs: Vec<Sign> = properties.flat_map(signs_of).take(MAX_SIGNS).collect();
    let port = service.get_port();
    let mut addresses: Vec<SocketAddr> = service
        .get_addresses_v4()
        .into_iter()
        .filter(|ip| is_near(*ip, networks))
        .map(|ip| (ip, port).into())
        .collect();
    addresses.sort_unstable();
    addresses.truncate(MAX_ADDRESSES);
    (!signs.is_empty() && !addresses.is_empty() && port != 0).then_some(Heard { signs, addresses })
}

/// Whether an address is private, and on one of these networks: whoever forges an announcement has nobody called on the
/// internet.
fn is_near(ip: Ipv4Addr, networks: &[(Ipv4Addr, Ipv4Addr)]) -> bool {
    let same =
        |(own, mask): &(Ipv4Addr, Ipv4Addr)| own.to_bits() & mask.to_bits() == ip.to_bits() & mask.to_bits();
    is_local(ip) && networks.iter().any(same)
}

fn is_local(ip: Ipv4Addr) -> bool {
    ip.is_private() || ip.is_link_local()
}

/// This machine's private addresses, with the masks of their networks.
fn own_networks() -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .into_iter()
        .filter(|interface| interface.is_oper_up() && !interface.is_p2p())
        .filter_map(|interface| match interface.addr {
            if_addrs::IfAddr::V4(address) => Some((address.ip, address.netmask)),
            if_addrs::IfAddr::V6(_) => None,
        })
        .filter(|(ip, _)| is_local(*ip))
        .collect()
}

fn read_folder(folder: &Path, own: &str) -> BTreeMap<String, Heard> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            if name.starts_with('.') || name == own {
                return None;
            }
            let text = std::fs::read_to_string(entry.path()).ok()?;
            let (port, signs) = text.get(..text.len().min(MAX_FILE_BYTES))?.split_once(' ')?;
            let heard = Heard {
                signs: signs_of(signs),
                addresses: vec![(Ipv4Addr::LOCALHOST, port.parse().ok()?).into()],
            };
            Some((name, heard))
        })
        .take(MAX_SEEN)
        .collect()
}

/// A socket on which other devices of the network call this one; IPv4, a port of the system's choice.
#[expect(clippy::disallowed_methods, reason = "this is where sockets come from")]
pub fn listening_socket(network: &LocalNetwork) -> io::Result<UdpSocket> {
    let ip = match network {
        LocalNetwork::Multicast => Ipv4Addr::UNSPECIFIED,
        LocalNetwork::Off | LocalNetwork::Folder(_) => Ipv4Addr::LOCALHOST,
    };
    UdpSocket::bind((ip, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(number: u8) -> Sign {
        Sign {
            tag: [number; 8],
            mark: [number + 1; 8],
        }
    }

    #[test]
    fn signs_are_read_back_and_garbage_is_passed_over() {
        let signs = vec![sign(1), sign(2)];
        assert_eq!(signs_of(&signs_text(&signs)), signs);
        assert_eq!(properties(&signs).len(), 2);
        for garbage in ["", "zz", &"ä".repeat(40), &"g".repeat(32)] {
            assert_eq!(signs_of(garbage), [], "{garbage}");
        }
        let many = signs_text(&vec![sign(3); 1_000]);
        assert_eq!(signs_of(&many).len(), MAX_SIGNS);
    }

    #[test]
    fn only_addresses_of_this_machine_s_own_networks_are_called() {
        let networks = [(Ipv4Addr::new(192, 168, 1, 7), Ipv4Addr::new(255, 255, 255, 0))];
        assert!(is_near(Ipv4Addr::new(192, 168, 1, 9), &networks));
        for far in [[192, 168, 2, 9], [93, 184, 216, 34], [127, 0, 0, 1], [0, 0, 0, 0]] {
            assert!(!is_near(far.into(), &networks), "{far:?}");
        }
        let public = [(Ipv4Addr::new(93, 184, 216, 7), Ipv4Addr::new(255, 255, 255, 0))];
        assert!(!is_near(Ipv4Addr::new(93, 184, 216, 34), &public));
    }

    #[tokio::test]
    async fn two_who_share_a_folder_hear_each_other_and_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let network = LocalNetwork::Folder(folder.path().to_owned());
        let (mut one, mut two) = (Discovery::new(&network), Discovery::new(&network));
        one.announce(vec![sign(1)], 7);
        two.announce(vec![sign(2)], 8);
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, one.changed()).await.unwrap();
        let heard: Vec<&Heard> = one.heard().collect();
        assert_eq!(heard.len(), 1);
        assert_eq!(
            (&heard[0].signs, heard[0].addresses[0].port()),
            (&vec![sign(2)], 8)
        );
        drop(two);
        tokio::time::timeout(patience, one.changed()).await.unwrap();
        assert_eq!(one.heard().count(), 0);
        // Off: nothing is written.
        let mut off = Discovery::new(&LocalNetwork::Off);
        off.announce(vec![sign(1)], 7);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
