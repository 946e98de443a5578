//! Files that are not whole yet: their bytes, their running digest, and the journal that lets a later pull go on.
//!
//! Whatever lies in a partial file claims to be the start of the content with the journal's digest. A kill at any byte
//! leaves a shorter such start; anything else is found out when the whole file's digest is compared.

use super::progress::Reporter;
use super::{Stop, Wanted};
use crate::models::digest::Sha256Hex;
use crate::models::error::ModelError;
use crate::models::events::PullPhase;
use crate::models::files;
use crate::models::machine;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Bytes handed on at once by [`spawn_reader`].
const PIECE_BYTES: usize = 256 * 1024;

/// The bytes fetched so far.
pub(crate) fn data_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.part"))
}

/// What is known about the bytes fetched so far.
pub(crate) fn journal_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.part.json"))
}

/// Revision and digests that the first pull took from a hub.
pub(crate) fn pin_path(folder: &Path) -> PathBuf {
    folder.join(".pin.json")
}

/// Folder for packages on their way.
pub(crate) fn scratch_path(folder: &Path) -> PathBuf {
    folder.join(".packages")
}

/// Deletes what a killed pull left of packages; returns the bytes freed.
pub(crate) fn remove_scratch(folder: &Path) -> Result<u64, ModelError> {
    let scratch = scratch_path(folder);
    if !scratch.is_dir() {
        return Ok(0);
    }
    let bytes = folder_bytes(&scratch);
    fs::remove_dir_all(&scratch).map_err(ModelError::io(&scratch))?;
    Ok(bytes)
}

/// Bytes of the regular files below a folder; what vanishes meanwhile counts nothing.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(listing) = fs::read_dir(folder) else {
        return 0;
    };
    listing
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => folder_bytes(&entry.path()),
            Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
            _ => 0,
        })
        .sum()
}

/// What a journal says of the bytes beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Journal {
    /// Digest of the whole content the bytes are the start of.
    sha256: Sha256Hex,
    /// Where the last bytes came from, and the entity tag stated with them.
    origin: Option<Origin>,
}

/// A server's statement about the version of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) url: String,
    pub(crate) etag: String,
}

/// A file that is being fetched.
pub(crate) struct Partial {
    folder: PathBuf,
    wanted: Wanted,
    file: tokio::fs::File,
    hasher: Sha256,
    len: u64,
    journal: Journal,
    /// Bytes of an earlier run or answer are part of it.
    continued: bool,
}

impl Partial {
    /// Opens what there is of a file, reading it again for the digest, or starts a new one.
    pub(crate) async fn open(
        folder: &Path,
        wanted: &Wanted,
        report: &mut Reporter<'_>,
    ) -> Result<Self, ModelError> {
        let path = data_path(folder, &wanted.name);
        let journal = files::read_small(&journal_path(folder, &wanted.name), 64 * 1024)
            .ok()
            .and_then(|text| serde_json::from_str::<Journal>(&text).ok())
            .filter(|journal| journal.sha256 == wanted.sha256);
        let file = tokio::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .await
            .map_err(ModelError::io(&path))?;
        let len = file.metadata().await.map_err(ModelError::io(&path))?.len();
        let mut partial = Self {
            folder: folder.into(),
            wanted: wanted.clone(),
            file,
            hasher: Sha256::new(),
            len: 0,
            journal: Journal {
                sha256: wanted.sha256,
                origin: None,
            },
            continued: false,
        };
        match journal {
            Some(journal) if len > 0 && len <= wanted.size => {
                partial.journal = journal;
                partial.rehash(&path, len, report).await?;
            }
            _ => partial.restart().await?,
        }
        Ok(partial)
    }

    async fn rehash(&mut self, path: &Path, len: u64, report: &mut Reporter<'_>) -> Result<(), ModelError> {
        let source = fs::File::open(path).map_err(ModelError::io(path))?;
        let mut pieces = spawn_reader(move |send| send_all(&mut source.take(len), send));
        while let Some(piece) = pieces.recv().await {
            report.check_cancelled()?;
            let piece = piece.map_err(ModelError::io(path))?;
            self.hasher.update(&piece);
            self.len += piece.len() as u64;
            report.at(&self.wanted.name, PullPhase::Checking, self.len);
        }
        self.file
            .seek(io::SeekFrom::Start(self.len))
            .await
            .map_err(ModelError::io(path))?;
        self.continued = true;
        Ok(())
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.len == self.wanted.size
    }

    /// Whether its bytes are of one piece, or were joined from different runs or answers.
    pub(crate) fn is_continued(&self) -> bool {
        self.continued
    }

    pub(crate) fn mark_continued(&mut self) {
        self.continued = true;
    }

    /// The entity tag that was stated for the bytes here by this address.
    pub(crate) fn etag_of(&self, url: &str) -> Option<&str> {
        self.journal
            .origin
            .as_ref()
            .filter(|origin| origin.url == url)
            .map(|origin| origin.etag.as_str())
    }

    /// Records where the bytes that follow come from.
    pub(crate) fn set_origin(&mut self, origin: Option<Origin>) -> Result<(), ModelError> {
        if self.journal.origin != origin {
            self.journal.origin = origin;
            self.write_journal()?;
        }
        Ok(())
    }

    /// Adds bytes at the end. The caller has made sure that they don't exceed the wanted size.
    pub(crate) async fn append(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        if let Err(error) = self.file.write_all(bytes).await {
            return Err(self.explain(error));
        }
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Hands buffered bytes to the system, so that a later pull finds them.
    pub(crate) async fn flush(&mut self) -> Result<(), ModelError> {
        match self.file.flush().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Throws all bytes away.
    pub(crate) async fn restart(&mut self) -> Result<(), ModelError> {
        let path = data_path(&self.folder, &self.wanted.name);
        self.file.flush().await.ok();
        self.file.set_len(0).await.map_err(ModelError::io(&path))?;
        self.file
            .seek(io::SeekFrom::Start(0))
            .await
            .map_err(ModelError::io(&path))?;
        self.hasher = Sha256::new();
        self.len = 0;
        self.continued = false;
        self.journal.origin = None;
        self.write_journal()
    }

    /// Compares the digest and gives the file its name. `Err` inside: the digest it has instead.
    pub(crate) async fn finish(mut self) -> Result<Result<(), (Self, Sha256Hex)>, ModelError> {
        let actual = Sha256Hex::new(self.hasher.clone().finalize().into());
        if actual != self.wanted.sha256 {
            return Ok(Err((self, actual)));
        }
        self.flush().await?;
        if let Err(error) = self.file.sync_all().await {
            return Err(self.explain(error));
        }
        let (from, to) = (
            data_path(&self.folder, &self.wanted.name),
            self.folder.join(&self.wanted.name),
        );
        drop(self.file);
        fs::rename(&from, &to).map_err(ModelError::io(&to))?;
        let journal = journal_path(&self.folder, &self.wanted.name);
        files::remove_if_there(&journal).map_err(ModelError::io(&journal))?;
        files::sync_folder(&self.folder).map_err(ModelError::io(&self.folder))?;
        Ok(Ok(()))
    }

    fn write_journal(&self) -> Result<(), ModelError> {
        let path = journal_path(&self.folder, &self.wanted.name);
        let text = serde_json::to_vec(&self.journal).map_err(|error| ModelError::Io {
            path: path.clone(),
            source: error.into(),
        })?;
        files::write_atomically(&path, &text).map_err(|error| self.explain(error))
    }

    fn explain(&self, error: io::Error) -> ModelError {
        let path = data_path(&self.folder, &self.wanted.name);
        if error.kind() == io::ErrorKind::StorageFull {
            let available_bytes = machine::free_disk_bytes(&self.folder).unwrap_or(0);
            let needed_bytes = self.wanted.size.saturating_sub(self.len);
            return ModelError::NoSpace {
                path: self.folder.clone(),
                needed_bytes,
                available_bytes,
            };
        }
        ModelError::io(&path)(error)
    }
}

/// A channel of pieces that a blocking producer fills; it ends when the producer returns, with its error if any.
pub(crate) type Pieces = mpsc::Receiver<io::Result<Vec<u8>>>;
/// Hands one piece on; false when nobody wants more.
pub(crate) type SendPiece<'a> = &'a mut dyn FnMut(Vec<u8>) -> bool;

/// Runs a blocking producer of pieces beside the async code.
pub(crate) fn spawn_reader(produce: impl FnOnce(SendPiece<'_>) -> io::Result<()> + Send + 'static) -> Pieces {
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let result = produce(&mut |piece| sender.blocking_send(Ok(piece)).is_ok());
        if let Err(error) = result {
            sender.blocking_send(Err(error)).ok();
        }
    });
    receiver
}

/// Sends everything a reader gives.
pub(crate) fn send_all(reader: &mut dyn Read, send: SendPiece<'_>) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        if reader.take(PIECE_BYTES as u64).read_to_end(&mut piece)? == 0 || !send(piece) {
            return Ok(());
        }
    }
}

/// Appends pieces up to exactly `end` bytes of the file; anything else is the source's fault and throws away all bytes.
pub(crate) async fn append_pieces(
    partial: &mut Partial,
    pieces: Pieces,
    end: u64,
    phase: PullPhase,
    report: &mut Reporter<'_>,
) -> Result<(), Stop> {
    let result = try_append_pieces(partial, pieces, end, phase, report).await;
    if matches!(result, Err(Stop::Source(..))) {
        partial.restart().await?;
    }
    result
}

async fn try_append_pieces(
    partial: &mut Partial,
    mut pieces: Pieces,
    end: u64,
    phase: PullPhase,
    report: &mut Reporter<'_>,
) -> Result<(), Stop> {
    while let Some(piece) = pieces.recv().await {
        if let Err(error) = report.check_cancelled() {
            partial.flush().await?;
            return Err(error.into());
        }
        let piece = piece.map_err(|error| Stop::wrong_content(format!("unreadable: {error}")))?;
        if partial.len() + piece.len() as u64 > end {
            return Err(Stop::wrong_content(format!(
                "{} is longer than stated",
                partial.wanted().name
            )));
        }
        partial.append(&piece).await?;
        report.at(&partial.wanted.name, phase, partial.len);
    }
    partial.flush().await?;
    if partial.len() < end {
        return Err(Stop::wrong_content(format!(
            "{} is shorter than stated",
            partial.wanted().name
        )));
    }
    Ok(())
}

/// Digest of a file on disk, with progress; reads it whole.
pub(crate) async fn digest_of(
    path: &Path,
    name: &str,
    report: &mut Reporter<'_>,
) -> Result<Sha256Hex, ModelError> {
    let mut source = fs::File::open(path).map_err(ModelError::io(path))?;
    let mut pieces = spawn_reader(move |send| send_all(&mut source, send));
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    while let Some(piece) = pieces.recv().await {
        report.check_cancelled()?;
        let piece = piece.map_err(ModelError::io(path))?;
        hasher.update(&piece);
        bytes += piece.len() as u64;
        report.at(name, PullPhase::Checking, bytes);
    }
    Ok(Sha256Hex::new(hasher.finalize().into()))
}
