//! The bearer token: made at first start, kept in a file that only its owner can read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Name of the token's file inside the home folder.
pub const TOKEN_FILE: &str = "http-token";

const PREFIX: &str = "hearth-";
const LONGEST_BYTES: u64 = 512;

/// Reads the token of the home folder, or makes one of 256 random bits in a file of mode 0600.
///
/// A file that others can read is narrowed to its owner again. Errors: I/O, or a file that holds no usable token
/// (`InvalidData`; deleting it makes a new one at the next start).
pub fn read_or_create_token(home: &Path) -> io::Result<(String, PathBuf)> {
    let path = home.join(TOKEN_FILE);
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return Ok((read?, path)),
    }
    match make(home, &path) {
        Ok(token) => Ok((token, path)),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((read(&path)?, path)),
        Err(error) => Err(error),
    }
}

/// Puts a new token in place whole or not at all, and never over another.
fn make(home: &Path, path: &Path) -> io::Result<String> {
    let (first, second, name) = (random()?, random()?, random()?);
    let token = format!("{PREFIX}{first:032x}{second:032x}");
    let partial = home.join(format!(".{TOKEN_FILE}.{name:032x}"));
    let mut file = private_options().create_new(true).open(&partial)?;
    let placed = file
        .write_all(format!("{token}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| place(&partial, path));
    drop(file);
    let _ = std::fs::remove_file(&partial);
    placed.map(|()| token)
}

/// Gives the file its name, unless that is taken.
fn place(partial: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(partial, path) {
        // Some file systems have no links: there the first of two processes may lose its token at once.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
            std::fs::rename(partial, path)
        }
        placed => placed,
    }
}

fn random() -> io::Result<u128> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u128::from_le_bytes(bytes))
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    narrow(&file)?;
    let mut text = String::new();
    file.take(LONGEST_BYTES).read_to_string(&mut text)?;
    let token = text.trim();
    let usable = token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_graphic());
    if usable {
        return Ok(token.to_owned());
    }
    let message = format!(
        "{} holds no usable token; delete it and a new one is made",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(unix)]
fn private_options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

#[cfg(not(unix))]
fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    options
}

#[cfg(unix)]
fn narrow(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let others = file.metadata()?.permissions().mode() & 0o077;
    if others == 0 {
        return Ok(());
    }
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn narrow(_file: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_made_once_and_kept_private() {
        let home = tempfile::tempdir().unwrap();
        let (first, path) = read_or_create_token(home.path()).unwrap();
        assert_eq!(first.len(), PREFIX.len() + 64);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            assert_eq!(read_or_create_token(home.path()).unwrap().0, first);
            assert_eq!(mode(&path), 0o600);
        }
        assert_eq!(read_or_create_token(home.path()).unwrap().0, first);
        assert_eq!(
            std::fs::read_dir(home.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
        std::fs::write(&path, "short\n").unwrap();
        assert_eq!(
            read_or_create_token(home.path()).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn of_many_that_make_the_token_at_once_all_read_the_same() {
        let home = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        let tokens = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| {
                scope.spawn(|| {
                    start.wait();
                    read_or_create_token(home.path()).unwrap().0
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(tokens.iter().all(|token| *token == tokens[0]));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
