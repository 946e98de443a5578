//! Free space, and the part of it that erasures can count on.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file that is given up when the disk is full, so that erasures still find room.
const BALLAST: &str = "reserve";
/// Its size.
const BALLAST_BYTES: u64 = 16 << 20;
/// How long an answer of the file system is good for.
const FRESH: Duration = Duration::from_secs(1);

/// Watches the free space of a data folder.
#[derive(Debug)]
pub struct Reserve {
    folder: PathBuf,
    margin: u64,
    seen: Cell<Option<(Instant, u64)>>,
}

impl Reserve {
    /// `margin`: free bytes below which only the reserve is left. 0 turns all of it off.
    pub(super) fn new(folder: &Path, margin: u64) -> Self {
        let reserve = Self {
            folder: folder.to_owned(),
            margin,
            seen: Cell::new(None),
        };
        reserve.fill();
        reserve
    }

    /// Whether no more content may be taken. At best a second old.
    pub fn only_reserve_left(&self) -> bool {
        self.margin > 0 && self.free_bytes() < self.margin
    }

    /// Bytes that are free, without the ballast. `u64::MAX` if the file system doesn't say.
    pub fn free_bytes(&self) -> u64 {
        if let Some((at, bytes)) = self.seen.get()
            && at.elapsed() < FRESH
        {
            return bytes;
        }
        let bytes = free_bytes(&self.folder);
        self.seen.set(Some((Instant::now(), bytes)));
        bytes
    }

    /// The disk is full: the ballast goes. It comes back with the next start that finds room.
    pub(super) fn release(&self) {
        fs::remove_file(self.folder.join(BALLAST)).ok();
        self.seen.set(None);
    }

    fn fill(&self) {
        if self.margin > 0 && self.free_bytes() > self.margin + BALLAST_BYTES {
            allocate(&self.folder.join(BALLAST)).ok();
        }
    }
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> u64 {
    u64::MAX
}

fn allocate(path: &Path) -> std::io::Result<()> {
    if path
        .metadata()
        .is_ok_and(|metadata| metadata.len() == BALLAST_BYTES)
    {
        return Ok(());
    }
    // Written, not only reserved: some file systems don't count holes.
    let mut file = fs::File::create(path)?;
    let block = vec![0x5a; 1 << 20];
    for _ in 0..BALLAST_BYTES >> 20 {
        std::io::Write::write_all(&mut file, &block)?;
    }
    file.sync_all()
}
