//! Where an engine's local socket is, and that nobody else may use it.

use std::io;
use std::path::{Path, PathBuf};

use interprocess::local_socket::tokio::{Listener, Stream, prelude::*};
use interprocess::local_socket::{ListenerOptions, Name};
use sha2::{Digest, Sha256};

/// Longest path that every Unix takes for a socket, with a margin.
const MAX_PATH_BYTES: usize = 100;
/// Only the profile's owner may connect.
#[cfg(unix)]
const SOCKET_MODE: u32 = 0o600;

/// The socket of the profile in `home`: `engine.sock` inside it, or, where that path is too long for the system, in a
/// folder of the user's runtime or temporary folder that is named by the path's hash.
pub fn socket_path(home: &Path) -> PathBuf {
    let home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
    let home = home.canonicalize().unwrap_or(home);
    let inside = home.join("engine.sock");
    if inside.as_os_str().len() <= MAX_PATH_BYTES {
        return inside;
    }
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join(format!("hearth-{}", digest(&home))).join("engine.sock")
}

fn digest(path: &Path) -> String {
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    hash.iter()
        .take(8)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(unix)]
fn name(path: &Path) -> io::Result<Name<'_>> {
    use interprocess::local_socket::{GenericFilePath, ToFsName};
    path.to_fs_name::<GenericFilePath>()
}

#[cfg(windows)]
fn name(path: &Path) -> io::Result<Name<'static>> {
    use interprocess::local_socket::{GenericNamespaced, ToNsName};
    format!("hearth-{}", digest(path)).to_ns_name::<GenericNamespaced>()
}

/// Listens on the socket of `home`. Only the profile's owner of the engine lock may call this: a socket that is there
/// is a dead engine's and is replaced.
pub(crate) fn listen(home: &Path) -> io::Result<Listener> {
    let path = socket_path(home);
    #[cfg(unix)]
    {
        make_private_folder(&path, home)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let options = ListenerOptions::new().name(name(&path)?);
    // Only Linux lets a socket have its mode before it is bound; elsewhere the folder keeps others out meanwhile.
    #[cfg(target_os = "linux")]
    let options = {
        use interprocess::os::unix::local_socket::ListenerOptionsExt;
        options.mode(SOCKET_MODE)
    };
    let listener = options.create_tokio()?;
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    }
    Ok(listener)
}

/// Connects to the engine of `home`; `None` when none listens.
pub(crate) async fn connect(home: &Path) -> Option<Stream> {
    let path = socket_path(home);
    #[cfg(unix)]
    is_ours(path.parent()?, home).ok()?;
    Stream::connect(name(&path).ok()?).await.ok()
}

/// Removes the socket's file, where there is one.
pub(crate) fn remove(home: &Path) {
    if cfg!(unix) {
        let _ = std::fs::remove_file(socket_path(home));
    }
}

/// Makes the socket's folder when it is not the home folder itself, readable by its owner only.
#[cfg(unix)]
fn make_private_folder(path: &Path, home: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = path.parent().unwrap_or(home);
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    is_ours(folder, home)
}

/// Refuses a folder that somebody else made, which matters in a shared temporary folder.
#[cfg(unix)]
fn is_ours(folder: &Path, home: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let (folder_meta, home_meta) = (std::fs::symlink_metadata(folder)?, std::fs::metadata(home)?);
    let inside = folder_meta.ino() == home_meta.ino() && folder_meta.dev() == home_meta.dev();
    if inside
        || (folder_meta.is_dir()
            && folder_meta.uid() == home_meta.uid()
            && folder_meta.mode() & 0o777 == 0o700)
    {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} belongs to somebody else", folder.display()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_falls_back_to_a_short_one_of_its_own() {
        let short = tempfile::tempdir().unwrap();
        assert_eq!(
            socket_path(short.path()),
            short.path().canonicalize().unwrap().join("engine.sock")
        );
        let long = short.path().join("x".repeat(120));
        let other = short.path().join("y".repeat(120));
        assert!(socket_path(&long).as_os_str().len() <= MAX_PATH_BYTES);
        assert_ne!(socket_path(&long), socket_path(&other));
    }
}
