//! What can be typed about several devices.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Make an account with this profile as its first device; shows the recovery phrase once
    Create {
        /// The server's address, as its operator shows it: hearth-sync://HOST:PORT/#KEY
        #[arg(long, value_name = "ADDRESS", required_unless_present = "no_server")]
        server: Option<String>,
        /// No server: devices exchange what they have when they are on the same local network
        #[arg(long, conflicts_with = "server")]
        no_server: bool,
        /// The operator's invitation code, where one is needed
        #[arg(long, value_name = "CODE", requires = "server")]
        invitation: Option<String>,
        /// What this device is called; the machine's name otherwise
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Get an account back with its recovery phrase, read from standard input
    Recover {
        /// The account's server: hearth-sync://HOST:PORT/#KEY
        #[arg(long, value_name = "ADDRESS")]
        server: String,
        /// The other devices stay; otherwise they are shut out, as lost ones should be
        #[arg(long)]
        keep_devices: bool,
        /// Only show what the phrase opens, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// What this device is called; the machine's name otherwise
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Show the account, its server and how far it is in sync
    Status,
    /// Prove that your recovery phrase works; read from standard input, nothing is sent or kept
    Drill,
    /// Move the account to another server; the other devices follow
    Move {
        /// The new server's address, as its operator shows it: hearth-sync://HOST:PORT/#KEY
        #[arg(long, value_name = "ADDRESS")]
        server: String,
        /// Its operator's invitation code, where one is needed
        #[arg(long, value_name = "CODE")]
        invitation: Option<String>,
    },
    /// Put a new recovery phrase in the place of the old one; without a terminal the old and the new are read from standard input, a line each
    NewPhrase {
        /// Only show a fresh phrase, and change nothing
        #[arg(long)]
        propose: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Devices {
    /// List the account's devices
    List,
    /// Let this profile into an account: shows a QR code and a code to type on a device that you have
    Pair {
        /// The account's server: `hearth account status` on the other device shows it. Without one both devices have to be on
        /// the same local network
        #[arg(long, value_name = "ADDRESS")]
        server: Option<String>,
        /// What this device is called; the machine's name otherwise
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Write the QR code to an image as well, PNG or SVG by its ending; it is removed at the end
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
    },
    /// Let the device in that shows this code
    Approve {
        /// The 12 characters, or the text of the QR code; asked for when absent
        code: Option<String>,
    },
    /// Shut a device out: it gets nothing more, and the keys are changed at once
    Revoke {
        /// Its identifier, the beginning of it, or its name
        device: String,
        /// It was lost or stolen, not put away
        #[arg(long)]
        lost: bool,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Give a device another name
    Rename {
        /// Its identifier, the beginning of it, or its name
        device: String,
        /// Its new name
        name: String,
    },
    /// Change the account's keys now, not within a day of an erasure
    Rotate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sync {
    /// Call the server, and wait until both have everything
    Once {
        /// Longest wait, seconds
        #[arg(long, value_name = "N", default_value_t = 30)]
        limit: u32,
    },
    /// Show what happens as it happens, until Ctrl-C
    Watch,
    /// Say per device what is pending and why, and what to do
    Doctor {
        /// This profile, or the server, was restored from a backup: go on in a new log
        #[arg(long)]
        restored: bool,
        /// You have looked at what was found: show it no longer
        #[arg(long)]
        dismiss: bool,
    },
}

/// What to erase.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "they are switches")]
pub(crate) struct Erase {
    /// The memories
    pub(crate) memories: Vec<String>,
    /// On every device of the account, and at its server. Without it use `hearth memory erase`
    #[arg(long, required = true)]
    pub(crate) everywhere: bool,
    /// A chat with what was drawn from it alone; may be given again
    #[arg(long, value_name = "CHAT", conflicts_with = "memories")]
    pub(crate) chat: Vec<String>,
    /// What a search for this finds
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["memories", "chat"])]
    pub(crate) topic: Option<String>,
    /// Every memory and every chat
    #[arg(long, conflicts_with_all = ["memories", "chat", "topic"])]
    pub(crate) all: bool,
    /// Leave this out: a memory, message or chat of the preview (or the beginning of its identifier)
    #[arg(long, value_name = "ID")]
    pub(crate) keep: Vec<String>,
    /// Take this, too: a memory of the preview that says nearly the same and would stay
    #[arg(long, value_name = "ID")]
    pub(crate) take: Vec<String>,
    /// Leave the messages and chats; erase memories alone
    #[arg(long)]
    pub(crate) keep_chats: bool,
    /// Show what would go, and erase nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) preview: bool,
    /// Change the account's keys at once, not within a day
    #[arg(long)]
    pub(crate) now: bool,
    /// Don't ask. Where much would go there are still 30 seconds to take it back with Ctrl-C
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Erasures {
    /// List what was erased everywhere, and who has confirmed
    List,
    /// Show one
    Show {
        /// Its identifier, or the beginning of it
        erasure: String,
    },
    /// Write its certificate: what devices and servers have signed
    Certificate {
        /// Its identifier, or the beginning of it
        erasure: String,
        /// The file to write, which must not exist
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Certificate {
    /// Check a certificate, offline and without a profile; says what it proves and what it can't
    Verify {
        /// The file
        file: PathBuf,
    },
}
