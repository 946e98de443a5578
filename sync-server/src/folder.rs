//! The data folder, and the lock that keeps a second server out of it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::identity::{KEY_FILE, KeyError, ServerKey};

/// The file below the data folder in which a restore puts a database together.
const UNFINISHED: &str = "sync.db.new";

/// Why the folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It can't be made, or nothing can be written in it.
    #[error("the data folder {path} can't be written: {source}")]
    NotWritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("another server (or a restore) uses the data folder {0}")]
    InUse(PathBuf),
    /// There is no server in it.
    #[error("{0} is not the data folder of a server: no server.key in it")]
    Empty(PathBuf),
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A data folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Falls with the process. None: only looked at.
    _lock: Option<File>,
}

impl Folder {
    /// Takes the folder for this process alone; makes it if there is none.
    pub fn take(path: &Path) -> Result<Self, FolderError> {
        let not_writable = |source| FolderError::NotWritable {
            path: path.to_owned(),
            source,
        };
        make(path).map_err(not_writable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(not_writable)?;
        match lock.try_lock() {
            Ok(()) => {
                let folder = Self {
                    path: path.to_owned(),
                    _lock: Some(lock),
                };
                folder.drop_unfinished().map_err(not_writable)?;
                Ok(folder)
            }
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(not_writable(source)),
        }
    }

    /// Where a restore puts a database together.
    pub fn unfinished(&self) -> PathBuf {
        self.path.join(UNFINISHED)
    }

    /// Removes what a restore has left that didn't come to its end: it may hold what was erased since the backup.
    pub fn drop_unfinished(&self) -> io::Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            match fs::remove_file(self.path.join(format!("{UNFINISHED}{suffix}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The folder of a server that may be running.
    pub fn look(path: &Path) -> Result<Self, FolderError> {
        if path.join(KEY_FILE).exists() {
            Ok(Self {
                path: path.to_owned(),
                _lock: None,
            })
        } else {
            Err(FolderError::Empty(path.to_owned()))
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The server's key; made if there is none and none is missing, that is: no data either.
    pub fn key(&self) -> Result<ServerKey, FolderError> {
        let path = self.path.join(KEY_FILE);
        if path.exists() || self.path.join(crate::store::DATABASE).exists() {
            Ok(ServerKey::read(&path)?)
        } else {
            Ok(ServerKey::create(&path)?)
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
