//! One engine per profile: an operating-system lock that dies with its process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::StoreError;
use crate::store::LOCK_FILE;

/// The right to open the profile of one folder; given back on drop, and by the operating system after a crash.
///
/// It is an advisory lock (`flock` on Unix, `LockFileEx` on Windows) on `engine.lock`, which also names the process
/// that holds it. The file stays behind; only the lock on it means anything. Clones share it: the last one gives it
/// back.
#[derive(Debug, Clone)]
pub struct EngineLock {
    _file: Arc<File>,
}

impl EngineLock {
    /// Takes the lock of the profile folder `dir`, which must exist, without waiting.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another holder is alive, in this process or any other.
    pub fn acquire(dir: &Path) -> Result<EngineLock, StoreError> {
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| StoreError::io("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    pid: read_pid(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path, error)),
        }
        // The process id only helps a human: a disk too full to note it is no reason to refuse.
        let noted = file.set_len(0).and_then(|()| file.rewind());
        let _ = noted.and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(EngineLock {
            _file: Arc::new(file),
        })
    }

    /// Whether somebody holds the lock of the profile folder `dir`. Nothing is written, and no file is made.
    pub fn is_held(dir: &Path) -> bool {
        // Taken for the moment of the question, and beside others who ask.
        let file = File::open(dir.join(LOCK_FILE));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = EngineLock::acquire(dir.path()).unwrap();
        match EngineLock::acquire(dir.path()) {
            Err(StoreError::Locked { pid }) => {
                assert!(pid.is_none_or(|pid| pid == std::process::id()));
                assert!(cfg!(windows) || pid.is_some());
            }
            other => panic!("expected Locked, got {other:?}"),
        }
        assert!(EngineLock::is_held(dir.path()));
        drop(first);
        assert!(!EngineLock::is_held(dir.path()));
        EngineLock::acquire(dir.path()).unwrap();
    }
}
