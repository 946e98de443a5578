//! A process with a wrong clock, or on a disk that is full while the test wants it to be: without privileges, by a library
//! that is loaded before the C library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Environment variables of a process.
pub type Variables = Vec<(String, String)>;

/// The library, built into a folder.
#[derive(Debug)]
pub struct Shim {
    folder: PathBuf,
    library: PathBuf,
}

impl Shim {
    /// Builds it with the system's C compiler, which Rust's linking needs anyway. None, with a message, where that or the
    /// loader can't do it.
    pub fn build(folder: &Path) -> Option<Self> {
        let library = folder.join("shim.so");
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            eprintln!("skipped: no library can be loaded before the C library here");
            return None;
        }
        let source = folder.join("shim.c");
        std::fs::write(&source, include_str!("shim.c")).expect("a file");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .stderr(Stdio::inherit())
            .status();
        if !built.is_ok_and(|status| status.success()) {
            eprintln!("skipped: there is no C compiler called cc");
            return None;
        }
        Some(Self {
            folder: folder.to_owned(),
            library,
        })
    }

    /// For a process whose clock is wrong by so many seconds.
    pub fn clock(&self, offset_s: i64) -> Variables {
        self.with("SHIM_CLOCK_OFFSET_S", &offset_s.to_string())
    }

    /// For a process whose clock is wrong by what [`Shim::set_clock`] says of this name.
    pub fn moving_clock(&self, name: &str) -> Variables {
        let offset = self.folder.join(name);
        self.with("SHIM_CLOCK_OFFSET_IN", &offset.to_string_lossy())
    }

    /// Puts the clock of this name off by so many seconds, from now on.
    pub fn set_clock(&self, name: &str, offset_s: i64) {
        let offset = self.folder.join(name);
        std::fs::write(&offset, offset_s.to_string()).expect("the test's own disk has room");
    }

    /// For a process whose disk is full while [`Shim::fill`] says so of this name.
    pub fn disk(&self, name: &str) -> Variables {
        let flag = self.folder.join(name);
        self.with("SHIM_DISK_FULL_WHILE", &flag.to_string_lossy())
    }

    /// Fills the disk of this name, or frees it.
    pub fn fill(&self, name: &str, full: bool) {
        let flag = self.folder.join(name);
        let done = if full {
            std::fs::write(&flag, "")
        } else {
            std::fs::remove_file(&flag)
        };
        done.expect("the test's own disk has room");
    }

    fn with(&self, name: &str, value: &str) -> Variables {
        let library = self.library.to_string_lossy().into_owned();
        vec![
            ("LD_PRELOAD".to_owned(), library),
            (name.to_owned(), value.to_owned()),
        ]
    }
}
