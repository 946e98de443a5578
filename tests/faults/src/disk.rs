//! What a disk remembers, and what becomes of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::shim;

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process ends before this operation: neither it nor any that follows is done, and all fail.
    Crash,
    /// The same, in the middle of a write.
    CrashWithin,
    /// This operation fails; of a write, half is done.
    Broken,
    /// From here on no file grows, until [`Disk::relieve`].
    Full,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It alone: what it wrote is there.
    Process,
    /// The power failed: what wasn't synced is there, or isn't, or by half.
    Power,
}

/// Operations so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes, truncations, syncs and deletions: the places where a fault can be.
    pub all: u64,
    /// Writes.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Operations that were made to fail.
    pub failed: u64,
}

/// How one change of a file is undone, and done again.
#[derive(Debug)]
enum Change {
    Write {
        at: u64,
        length_before: u64,
        before: Vec<u8>,
        after: Vec<u8>,
    },
    Truncate {
        to: u64,
        tail: Vec<u8>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct State {
    folder: PathBuf,
    /// Changes of files since their last sync, the oldest first.
    unsynced: BTreeMap<PathBuf, Vec<Change>>,
    /// Files that were removed, as long as that may be undone by a power cut.
    removed: BTreeMap<PathBuf, Vec<u8>>,
    plan: Option<(u64, Fault)>,
    counts: Counts,
    dead: bool,
    full: bool,
    read_elsewhere: bool,
}

/// What is to become of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Do,
    /// Do half of it and fail.
    Half,
    Fail,
    NoSpace,
}

/// A folder whose SQLite files are watched. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

static DISKS: Mutex<Vec<(PathBuf, Arc<Mutex<State>>)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Watches what SQLite does below a folder, which exists, from the next file that is opened on.
    pub fn of(folder: &Path) -> std::io::Result<Disk> {
        shim::install();
        let folder = folder.canonicalize()?;
        let state = Arc::new(Mutex::new(State {
            folder: folder.clone(),
            ..State::default()
        }));
        let mut disks = lock(&DISKS);
        disks.retain(|(other, _)| *other != folder);
        disks.push((folder, Arc::clone(&state)));
        Ok(Disk { state })
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        lock(&self.state).counts
    }

    /// Lets the operation that follows the next `after` ones meet a fault.
    pub fn plan(&self, after: u64, fault: Fault) {
        let mut state = lock(&self.state);
        state.plan = Some((state.counts.all + after, fault));
    }

    /// Takes back what was planned and hasn't come.
    pub fn unplan(&self) {
        lock(&self.state).plan = None;
    }

    /// The process has ended, by plan.
    pub fn is_dead(&self) -> bool {
        lock(&self.state).dead
    }

    /// Files can't grow.
    pub fn is_full(&self) -> bool {
        lock(&self.state).full
    }

    /// There is room again.
    pub fn relieve(&self) {
        lock(&self.state).full = false;
    }

    /// Another program reads the databases, or ends: their write-ahead logs can't be emptied meanwhile.
    pub fn read_elsewhere(&self, reads: bool) {
        lock(&self.state).read_elsewhere = reads;
    }

    /// Nothing is done from here on: the process has ended. Whoever has a database open drops it now.
    pub fn kill(&self) {
        lock(&self.state).dead = true;
    }

    /// What the next process finds. Everything must have been closed. `chance` gives a number below its argument.
    ///
    /// # Errors
    /// Those of the real files.
    pub fn restart(&self, cut: Cut, chance: &mut dyn FnMut(u64) -> u64) -> std::io::Result<()> {
        let mut state = lock(&self.state);
        state.dead = false;
        state.full = false;
        state.plan = None;
        let unsynced = std::mem::take(&mut state.unsynced);
        let removed = std::mem::take(&mut state.removed);
        if cut == Cut::Process {
            return Ok(());
        }
        for (path, bytes) in removed {
            if !path.exists() && chance(2) == 0 {
                fs::write(&path, bytes)?;
            }
        }
        for (path, changes) in unsynced {
            if path.exists() {
                lose(&path, &changes, chance)?;
            }
        }
        Ok(())
    }

    /// Forgets all that was done: the files were replaced by others.
    pub fn replaced(&self) {
        let mut state = lock(&self.state);
        *state = State {
            folder: std::mem::take(&mut state.folder),
            counts: state.counts,
            ..State::default()
        };
    }
}

/// Takes a file back to its last sync, and does again what chance says.
fn lose(path: &Path, changes: &[Change], chance: &mut dyn FnMut(u64) -> u64) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    for change in changes.iter().rev() {
        match change {
            Change::Write {
                at,
                length_before,
                before,
                ..
            } => {
                put(&mut bytes, *at, before);
                bytes.truncate(*length_before as usize);
            }
            Change::Truncate { to, tail } => {
                bytes.resize(*to as usize, 0);
                bytes.extend_from_slice(tail);
            }
        }
    }
    // All, nothing, up to some place, or anything: disks write in any order.
    let manner = chance(4);
    let end = chance(changes.len() as u64 + 1);
    for (place, change) in changes.iter().enumerate() {
        let place = place as u64;
        let (kept, torn) = match manner {
            0 => (false, false),
            1 => (true, false),
            2 => (place <= end, place == end),
            _ => (chance(2) == 0, chance(4) == 0),
        };
        if !kept {
            continue;
        }
        match change {
            Change::Write { at, after, .. } if torn => {
                for (sector, piece) in after.chunks(SECTOR).enumerate() {
                    if chance(2) == 0 {
                        put(&mut bytes, at + (sector * SECTOR) as u64, piece);
                    }
                }
            }
            Change::Write { at, after, .. } => put(&mut bytes, *at, after),
            Change::Truncate { to, .. } => bytes.truncate(*to as usize),
        }
    }
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)
}

fn put(bytes: &mut Vec<u8>, at: u64, piece: &[u8]) {
    let at = at as usize;
    if bytes.len() < at + piece.len() {
        bytes.resize(at + piece.len(), 0);
    }
    bytes[at..at + piece.len()].copy_from_slice(piece);
}

/// The disk that a file is on.
pub(crate) fn disk_of(path: &Path) -> Option<Arc<Mutex<State>>> {
    lock(&DISKS)
        .iter()
        .rev()
        .find(|(folder, _)| path.starts_with(folder))
        .map(|(_, state)| Arc::clone(state))
}

/// Whether somebody is said to read: then nobody waits for it to end.
pub(crate) fn anything_is_read() -> bool {
    let disks = lock(&DISKS);
    disks.iter().any(|(_, state)| lock(state).read_elsewhere)
}

/// A watched file's part of its disk.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) path: PathBuf,
    pub(crate) state: Arc<Mutex<State>>,
    /// Its first sync is its folder's, too: so SQLite has it of a journal or log that it makes.
    pub(crate) with_folder: AtomicBool,
}

impl Watched {
    pub(crate) fn is_dead(&self) -> bool {
        lock(&self.state).dead
    }

    pub(crate) fn is_read_elsewhere(&self) -> bool {
        lock(&self.state).read_elsewhere
    }

    /// Counts a write and says what is to become of it.
    pub(crate) fn write(&self, grows: bool) -> Verdict {
        let mut state = lock(&self.state);
        state.counts.writes += u64::from(!state.dead);
        state.verdict(grows, true)
    }

    /// The same of a truncation.
    pub(crate) fn truncate(&self) -> Verdict {
        lock(&self.state).verdict(false, false)
    }

    /// The same of a sync.
    pub(crate) fn sync(&self) -> Verdict {
        let mut state = lock(&self.state);
        state.counts.syncs += u64::from(!state.dead);
        let verdict = state.verdict(false, false);
        if verdict == Verdict::Do {
            state.unsynced.remove(&self.path);
            if self.with_folder.swap(false, Ordering::Relaxed) {
                let folder = self.path.parent();
                state.removed.retain(|path, _| path.parent() != folder);
            }
        }
        verdict
    }

    /// A write was done.
    pub(crate) fn wrote(&self, at: u64, length_before: u64, before: Vec<u8>, after: Vec<u8>) {
        self.changed(Change::Write {
            at,
            length_before,
            before,
            after,
        });
    }

    /// A truncation was done.
    pub(crate) fn truncated(&self, to: u64, tail: Vec<u8>) {
        self.changed(Change::Truncate { to, tail });
    }

    fn changed(&self, change: Change) {
        let mut state = lock(&self.state);
        state.unsynced.entry(self.path.clone()).or_default().push(change);
    }
}

/// A file is about to be removed; whether that may be done.
pub(crate) fn remove(state: &Mutex<State>, path: &Path, folder_synced: bool) -> Verdict {
    let mut state = lock(state);
    let verdict = state.verdict(false, false);
    if verdict == Verdict::Do {
        state.unsynced.remove(path);
        if !folder_synced && let Ok(bytes) = fs::read(path) {
            state.removed.insert(path.to_owned(), bytes);
        }
    }
    verdict
}

impl State {
    fn verdict(&mut self, grows: bool, write: bool) -> Verdict {
        if self.dead {
            return Verdict::Fail;
        }
        let number = self.counts.all;
        self.counts.all += 1;
        let planned = self.plan.filter(|(at, _)| *at <= number).map(|(_, fault)| fault);
        let verdict = match planned {
            Some(Fault::Crash) => {
                self.dead = true;
                Verdict::Fail
            }
            Some(Fault::CrashWithin) => {
                self.dead = true;
                if write { Verdict::Half } else { Verdict::Fail }
            }
            Some(Fault::Broken) => {
                if write {
                    Verdict::Half
                } else {
                    Verdict::Fail
                }
            }
            Some(Fault::Full) => {
                self.full = true;
                if grows { Verdict::NoSpace } else { Verdict::Do }
            }
            None if self.full && grows => Verdict::NoSpace,
            None => Verdict::Do,
        };
        if planned.is_some() {
            self.plan = None;
        }
        self.counts.failed += u64::from(verdict != Verdict::Do);
        verdict
    }
}
