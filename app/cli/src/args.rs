//! What can be typed: commands, options and their help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod sync;

pub(crate) use sync::{Account, Certificate, Devices, Erase, Erasures, Sync};

const AFTER_HELP: &str = "\
Exit codes:
  0    done
  1    failed
  2    the command or the request makes no sense as given
  3    no such chat, message, memory, model or file
  4    locked: wrong or missing passphrase or key, or the profile is in use
  5    the model isn't here, can't be used or doesn't fit this machine
  6    the text is larger than the model's window
  7    the disk is full, or a file can't be read or written
  8    a download failed, or the sync server can't be reached or refuses
  130  interrupted

Environment:
  HEARTH_HOME        the profile's folder (as --home)
  HEARTH_MODELS      the folder of model files; `models` in the profile's folder otherwise
  HEARTH_PASSPHRASE  the profile's passphrase
  HEARTH_KEYCHAIN    `off` leaves the system's keychain alone
  HEARTH_LOG         what to log, for instance `debug` or `hearth_core=trace`
  NO_COLOR           no colours

Examples:
  hearth ask \"What is the capital of France?\"
  git diff | hearth ask \"Write a commit message for this:\"
  hearth chat --last
  hearth serve";

/// A private assistant on your own machine. A local model answers; nothing leaves this machine.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, after_help = AFTER_HELP, arg_required_else_help = true, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options for every command")]
pub(crate) struct Global {
    /// Print JSON on standard output (errors as JSON on standard error)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The profile's folder: chats, key, models
    #[arg(long, global = true, value_name = "DIR", env = "HEARTH_HOME", hide_env = true)]
    pub(crate) home: Option<PathBuf>,
    /// Which size of models to use; the machine's memory decides otherwise
    #[arg(long, global = true, value_name = "SIZE")]
    pub(crate) profile: Option<Size>,
    /// Open the profile with this key file, or protect a new one with it
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Read the profile's passphrase from the first line of this file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Don't use or start an engine process; do everything in this one
    #[arg(long, global = true)]
    pub(crate) in_process: bool,
    /// Log to standard error; twice for more. Never logs what you or the model say
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Sizes of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// Runs on any machine
    Small,
    /// Chosen from 6 GiB of memory on
    Standard,
    /// Chosen from 12 GiB of memory on, with a GPU
    Large,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask one question and print the answer as it comes
    Ask(Ask),
    /// Talk with the model, line by line
    Chat(Chat),
    /// List, read, search, move and delete chats
    #[command(subcommand)]
    Chats(Chats),
    /// Keep, list, find, correct and erase what is remembered about you
    #[command(subcommand)]
    Memory(Memory),
    /// Find what is remembered that answers a question
    Recall(Recall),
    /// List, download, check and choose models
    #[command(subcommand)]
    Models(Models),
    /// Make an account for several devices, and try its recovery phrase
    #[command(subcommand)]
    Account(Account),
    /// Let devices in, list, rename and shut them out
    #[command(subcommand)]
    Devices(Devices),
    /// Keep devices in sync: once, watched, or asked what is wrong
    #[command(subcommand)]
    Sync(Sync),
    /// Erase for good on every device of the account and at its server
    Erase(Erase),
    /// What was erased everywhere, who has confirmed, and its certificates
    #[command(subcommand)]
    Erasures(Erasures),
    /// Check an erasure's certificate, offline
    #[command(subcommand)]
    Certificate(Certificate),
    /// Show the engine, its models, memory and database
    Status,
    /// Serve the OpenAI-compatible HTTP API on this machine
    Serve(Serve),
    /// Run the engine that owns the profile, until stopped
    Engine(Engine),
    /// Protect, back up, restore and wipe the profile
    #[command(subcommand)]
    Profile(Profile),
    /// Show and change settings
    #[command(subcommand)]
    Settings(Settings),
    /// Print the version
    Version,
}

/// How an answer is made.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Answering {
    /// The model that answers (see `hearth models list`)
    #[arg(long, value_name = "ID")]
    pub(crate) model: Option<String>,
    /// Instructions to the model, for a new chat
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// 0 always takes the likeliest word, higher is more varied (0 to 2)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,
    /// The same seed, model and question give the same answer
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// Keep the chat in memory only; it is gone when the engine ends. Nothing remembered is looked at in it
    #[arg(long)]
    pub(crate) incognito: bool,
    /// For a new chat: look at nothing remembered, and remember nothing of it
    #[arg(long, conflicts_with = "incognito")]
    pub(crate) no_memory: bool,
    /// Download a missing model without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The question. Text on standard input is the question when this is absent, else it is attached after it
    #[arg(value_name = "TEXT")]
    pub(crate) text: Vec<String>,
    /// Go on with this chat (its identifier, the beginning of it, or `last`)
    #[arg(long, value_name = "CHAT", conflicts_with_all = ["incognito", "system", "no_memory"])]
    pub(crate) chat: Option<String>,
    /// Answer with JSON that follows the JSON schema in this file; such an answer is not kept as a chat
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chat", "incognito"])]
    pub(crate) schema: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) answering: Answering,
}

#[derive(Debug, Args)]
#[allow(clippy::struct_field_names, reason = "the field is the option's name")]
pub(crate) struct Chat {
    /// Go on with this chat (its identifier, or the beginning of it)
    #[arg(long, value_name = "CHAT", conflicts_with_all = ["incognito", "system", "no_memory"])]
    pub(crate) chat: Option<String>,
    /// Go on with the latest chat
    #[arg(long, conflicts_with_all = ["chat", "incognito", "system", "no_memory"])]
    pub(crate) last: bool,
    #[command(flatten)]
    pub(crate) answering: Answering,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Chats {
    /// List chats, latest first
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Print a chat
    Show {
        /// Its identifier, the beginning of it, or `last`
        chat: String,
        /// The branch that ends with this message; absent means the one shown last
        #[arg(long, value_name = "MESSAGE")]
        leaf: Option<String>,
    },
    /// Find messages by their words
    Search {
        /// Words that must all occur; the last may be the beginning of one
        #[arg(required = true)]
        words: Vec<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
        /// Only in this chat
        #[arg(long, value_name = "CHAT")]
        chat: Option<String>,
    },
    /// Write chats as JSON, readable by anyone who has the file
    Export {
        /// The chats; absent means all
        chats: Vec<String>,
        /// Write to this file (which must not exist) instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read chats: Hearth's export, ChatGPT's conversations.json, or one turn a line as JSON
    ///
    /// A line is {"chat": "…", "turn": "…", "speaker": "…", "time": "2024-05-01T10:00:00Z", "text": "…", "caption": "…"};
    /// time and caption may be absent. Speakers are user and assistant, or names: the first is you. A bad line refuses
    /// the whole file. Lines such as {"role": "user", "content": "…"}, without a chat, are one chat, in their order.
    #[command(verbatim_doc_comment)]
    Import {
        /// The file; `-` is standard input
        file: PathBuf,
        /// What the file is, when it can't be told from its content
        #[arg(long, value_enum, default_value_t = ImportForm::Auto)]
        format: ImportForm,
        /// Draw memories from them, in idle moments; otherwise they are only found by `hearth recall`
        #[arg(long)]
        remember: bool,
    },
    /// Give a chat another name
    Rename {
        /// Its identifier, the beginning of it, or `last`
        chat: String,
        /// Its new name
        #[arg(required = true)]
        title: Vec<String>,
    },
    /// Remember a chat or not: off, nothing is drawn from it, and nothing remembered is looked at in it
    Memory {
        /// Its identifier, the beginning of it, or `last`
        chat: String,
        /// On or off
        #[arg(value_enum)]
        switch: Switch,
    },
    /// Delete chats for good, with what is remembered from them alone
    Delete {
        /// The chats
        #[arg(required_unless_present = "all")]
        chats: Vec<String>,
        /// Every chat
        #[arg(long, conflicts_with = "chats")]
        all: bool,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportForm {
    /// Look at the content
    Auto,
    /// Hearth's export
    Hearth,
    /// ChatGPT's conversations.json
    Chatgpt,
    /// One turn a line, as JSON
    Lines,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// On
    On,
    /// Off
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Memory {
    /// Keep a fact about you
    Add {
        /// The fact
        #[arg(required = true)]
        text: Vec<String>,
        /// What it is about; told from its words otherwise
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// A special category of personal data: health, belief, politics, …
        #[arg(long)]
        sensitive: bool,
        /// Keep it whatever happens
        #[arg(long)]
        pin: bool,
        /// Since when it holds (a day, YYYY-MM-DD)
        #[arg(long, value_name = "DATE")]
        from: Option<String>,
        /// Until when it held (a day, YYYY-MM-DD)
        #[arg(long, value_name = "DATE")]
        to: Option<String>,
    },
    /// List what is remembered, newest first
    List {
        /// Only of this kind
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// Only with this status
        #[arg(long, value_enum)]
        state: Option<State>,
        /// Only with these letters
        #[arg(long, value_name = "TEXT")]
        text: Option<String>,
        /// Only what was said in this chat
        #[arg(long, value_name = "CHAT")]
        chat: Option<String>,
        /// Only sensitive ones
        #[arg(long)]
        sensitive: bool,
        /// Only pinned ones
        #[arg(long)]
        pinned: bool,
        /// At most so many (1 to 1000)
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
        /// Leave out so many
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: u32,
    },
    /// Show a memory: where it was said, what it took the place of
    Show {
        /// Its identifier, or the beginning of it
        memory: String,
    },
    /// Find memories by words and meaning
    Search {
        /// What to look for
        #[arg(required = true)]
        words: Vec<String>,
        /// At most so many (1 to 1000)
        #[arg(short = 'k', long, value_name = "N", default_value_t = 10)]
        limit: u32,
    },
    /// Correct a memory; the old text stays as history
    Edit {
        /// Its identifier, or the beginning of it
        memory: String,
        /// What is right
        text: Vec<String>,
        /// What it is about
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// Whether it is a special category of personal data
        #[arg(long, value_enum)]
        sensitive: Option<Switch>,
        /// Since when it holds (a day, YYYY-MM-DD)
        #[arg(long, value_name = "DATE")]
        from: Option<String>,
        /// Until when it held (a day, YYYY-MM-DD)
        #[arg(long, value_name = "DATE")]
        to: Option<String>,
        /// It has no end, whatever was noted before
        #[arg(long, conflicts_with = "to")]
        endless: bool,
    },
    /// Say that a memory is right; what contradicts it becomes history
    Confirm {
        /// Its identifier, or the beginning of it
        memory: String,
    },
    /// Keep a memory whatever happens
    Pin {
        /// Its identifier, or the beginning of it
        memory: String,
        /// Let it loose again
        #[arg(long)]
        off: bool,
    },
    /// Erase for good: shows what would go, asks, erases, and counts again
    Erase {
        /// The memories
        memories: Vec<String>,
        /// A chat with what was drawn from it alone; may be given again
        #[arg(long, value_name = "CHAT", conflicts_with = "memories")]
        chat: Vec<String>,
        /// What a search for this finds
        #[arg(long, value_name = "TEXT", conflicts_with_all = ["memories", "chat"])]
        topic: Option<String>,
        /// Every memory and every chat
        #[arg(long, conflicts_with_all = ["memories", "chat", "topic"])]
        all: bool,
        /// Leave this out: a memory, message or chat of the preview (or the beginning of its identifier)
        #[arg(long, value_name = "ID")]
        keep: Vec<String>,
        /// Take this, too: a memory of the preview that says nearly the same and would stay
        #[arg(long, value_name = "ID")]
        take: Vec<String>,
        /// Leave the messages and chats; erase memories alone
        #[arg(long)]
        keep_chats: bool,
        /// Show what would go, and erase nothing
        #[arg(long, conflicts_with = "yes")]
        preview: bool,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
    /// List the receipts of what was erased, or show one: identifiers and counts
    Receipts {
        /// One receipt's identifier, or the beginning of it
        receipt: Option<String>,
        /// At most so many (1 to 1000)
        #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "receipt")]
        limit: u32,
        /// Leave out so many
        #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "receipt")]
        offset: u32,
    },
    /// Write all memories as JSON, readable by anyone who has the file
    Export {
        /// Write to this file (which must not exist) instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read memories: Hearth's export, or another assistant's list (JSON, or a line each). After an interruption, do it again
    Import {
        /// The file; `-` is standard input
        file: PathBuf,
        /// What the file is, when it can't be told from its content
        #[arg(long, value_enum, default_value_t = MemoryForm::Auto)]
        format: MemoryForm,
    },
    /// Remember nothing but what you `add`, and look at nothing remembered, until `resume`
    Pause,
    /// Go on after `pause`
    Resume,
    /// Show how much is remembered, and what work on it waits
    Stats,
    /// Print the biography: what stands in every prompt, with the memories it was made from
    Bio,
    /// Print a question about a memory that may no longer be right
    Review,
    /// Do now what waits for an idle moment: draw memories from chats (those that have grown by about 200 tokens since the
    /// last time), embed, build the biography
    Work {
        /// Wait until it is done, which is what happens anyway
        #[arg(long)]
        wait: bool,
    },
}

/// What a memory is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// An allergy, a hard rule
    Constraint,
    /// A lasting fact about your life
    Biography,
    /// A like or dislike
    Preference,
    /// Something that happened or will
    Event,
    /// A mood, a current task
    Context,
}

/// Whether a memory is held to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// Held to be true now
    Active,
    /// Was true; kept as history
    Superseded,
    /// Waits for your word
    Review,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MemoryForm {
    /// Look at the content
    Auto,
    /// Hearth's export
    Hearth,
    /// Plain facts of another assistant
    Facts,
}

#[derive(Debug, Args)]
pub(crate) struct Recall {
    /// The question
    #[arg(
        value_name = "QUERY",
        required_unless_present = "queries",
        conflicts_with = "queries"
    )]
    pub(crate) query: Vec<String>,
    /// Questions, one a line: text, or JSON with `query` and perhaps `id`, `previous`, `now`; `-` is standard input.
    /// Prints one line of JSON each
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: Option<PathBuf>,
    /// What to look through
    #[arg(long, value_enum, default_value_t = Over::Facts)]
    pub(crate) over: Over,
    /// At most so many for each question (1 to 1000)
    #[arg(short = 'k', long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: u32,
    /// Only in this chat, and in what was drawn from it; may be given again
    #[arg(long, value_name = "CHAT")]
    pub(crate) chat: Vec<String>,
}

/// What recall looks through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// Memories
    Facts,
    /// Turns of past chats
    Turns,
    /// Both
    All,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// List the models that can be used, and which are here
    List,
    /// Download models and check them; goes on where an earlier download ended
    Pull {
        /// The models; absent means those proposed for this machine
        models: Vec<String>,
        /// Those proposed for this machine, said in so many words
        #[arg(long, conflicts_with = "models")]
        default: bool,
    },
    /// Check a model's files against their hashes
    Verify {
        /// The model
        model: String,
    },
    /// Delete a model's files
    Remove {
        /// The model
        model: String,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Bring in a GGUF file
    Import {
        /// The file
        file: PathBuf,
    },
    /// Make a model the one that is used when none is named
    Use {
        /// The model
        model: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen, 127.0.0.1:4327 unless said; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Allow an address that other machines can reach (the traffic isn't encrypted)
    #[arg(long, requires = "listen")]
    pub(crate) allow_remote: bool,
    /// With --allow-remote: a name of this machine that clients may use
    #[arg(long, value_name = "NAME", requires = "allow_remote")]
    pub(crate) host: Vec<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Engine {
    /// End after so many seconds without work
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle_exit: Option<u64>,
    /// Started by another command: passphrase on standard input, one line of JSON on standard output
    #[arg(long, hide = true)]
    pub(crate) spawned: bool,
    #[command(subcommand)]
    pub(crate) action: Option<EngineAction>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum EngineAction {
    /// Stop the running engine; answers being written are kept as far as they are
    Stop,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Profile {
    /// Protect the profile with a new passphrase, or with something else
    ChangePassphrase {
        /// What shall open the profile
        #[arg(long, value_enum, default_value_t = ProtectWith::Passphrase)]
        to: ProtectWith,
        /// Read the new passphrase from the first line of this file
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Write an encrypted copy of the database that a passphrase of its own opens
    Backup {
        /// The file to write; it must not exist
        file: PathBuf,
        /// Read the backup's passphrase from the first line of this file
        #[arg(long, value_name = "FILE")]
        backup_passphrase_file: Option<PathBuf>,
    },
    /// Replace the database by a backup
    Restore {
        /// The backup
        file: PathBuf,
        /// Read the backup's passphrase from the first line of this file
        #[arg(long, value_name = "FILE")]
        backup_passphrase_file: Option<PathBuf>,
        /// Don't ask; chats that are in the profile now will be gone
        #[arg(short, long)]
        yes: bool,
    },
    /// Delete all chats, settings and the key for good; models stay
    Wipe {
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtectWith {
    /// A passphrase
    Passphrase,
    /// The system's keychain
    Keychain,
    /// A key file (--key-file, else one in your configuration folder)
    KeyFile,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Settings {
    /// Print all settings
    List,
    /// Print one setting
    Get {
        /// Its name
        name: String,
    },
    /// Change a setting
    Set {
        /// Its name, for instance `chat_model` or `sampling.temperature`
        name: String,
        /// Its new value
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Leave a setting to the engine again
    Unset {
        /// Its name
        name: String,
    },
}
