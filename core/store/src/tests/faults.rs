//! A kill, a failing statement, a torn write at any step of what changes memories: after the next start it has happened
//! or it has not, and what was erased is in no page.
//!
//! A kill is shown by the files as they are at that moment, which is what a killed process leaves to the next one. The
//! moments are SQLite's own: its progress handler is called after every step of every statement.

mod synced;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::json;
use tempfile::TempDir;

use super::{chat, create, message, open, pages};
use crate::vectors::{Index, IndexMirror};
use crate::{
    BiographySentence, ChatId, DATABASE_FILE, EmbeddedText, ErasePlan, Job, KEY_HEADER_FILE, MemoryChange,
    MemoryId, MemoryKind, MemoryOrigin, MemoryStatus, MessageId, MessageStatus, NewJob, NewMemory, Settled,
    SourceTurn, Store, Superseded, SyncBatch,
};

/// A little random number generator, so that a seed says everything.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// A profile with something of everything, each thing with a word of its own.
struct Base {
    dir: TempDir,
    chats: Vec<ChatId>,
    messages: Vec<(ChatId, MessageId)>,
    memories: Vec<MemoryId>,
    export: Vec<u8>,
    state: State,
}

/// A word that is nowhere else; scattered, so that some begin the pages of an index.
fn canary(what: &str, number: usize) -> String {
    format!(
        "{:05x}{what}{number}canary",
        (number as u32 + 7).wrapping_mul(2_654_435_761) >> 12
    )
}

fn vector_of(number: usize) -> Vec<f32> {
    (0..16)
        .map(|n| ((number * 31 + n * 17 + 5) % 101) as f32 - 50.5)
        .collect()
}

impl Base {
    /// With `syncing`, each chat and memory has a document with its words in it.
    fn new(syncing: bool) -> Base {
        let (dir, mut store) = create();
        let (mut chats, mut messages, mut memories) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..6 {
            let id = chat(&mut store);
            store.rename_chat(id, &canary("title", number), 2).unwrap();
            chats.push(id);
            for turn in 0..8 {
                let text = format!(
                    "{} {}",
                    canary("turn", number * 8 + turn),
                    "la ".repeat(40 * turn)
                );
                let mut new = message(id, &text, MessageStatus::Complete);
                new.parent = store.chat(id).unwrap().head;
                new.reasoning = canary("reason", number * 8 + turn);
                messages.push((id, store.append_message(new).unwrap().id));
            }
        }
        for number in 0..40 {
            let source = |at: usize| {
                let (chat, message) = messages[at % messages.len()];
                SourceTurn { chat, message }
            };
            let new = NewMemory {
                text: format!("Remembers {} of {number}", canary("memory", number)),
                kind: MemoryKind::ALL[number % 5],
                confidence: 0.9,
                sensitive: false,
                valid_from_ms: None,
                valid_to_ms: None,
                created_at_ms: number as i64,
                sources: match number % 3 {
                    0 => vec![source(number)],
                    1 => vec![source(number), source(number + 11)],
                    _ => Vec::new(),
                },
                status: MemoryStatus::Active,
                origin: MemoryOrigin::Extracted,
                pinned: false,
            };
            let vector = vector_of(number);
            let vector = EmbeddedText {
                model_id: "m",
                vector: &vector,
            };
            memories.push(store.add_memory(&new, Some(vector)).unwrap().id);
        }
        for pair in memories.chunks(4) {
            store.supersede_memory(pair[0], pair[1], None, 50).unwrap();
        }
        let waiting = store.rows_without_vector(Index::Turns, "m", 100).unwrap();
        let vectors = waiting
            .into_iter()
            .zip(100..)
            .map(|(row, n)| (row, vector_of(n)))
            .collect::<Vec<_>>();
        store.set_vectors(Index::Turns, "m", &vectors).unwrap();
        let sentences: Vec<BiographySentence> = (0..12)
            .map(|number| BiographySentence {
                text: canary("bio", number),
                sources: vec![memories[number], memories[number + 20]],
            })
            .collect();
        store.set_biography(&sentences, 60).unwrap();
        for number in 0..8 {
            let job = NewJob {
                kind: "embed".into(),
                key: format!("memory {}", memories[number]),
                payload: json!({ "message": messages[number].1 }),
                not_before_ms: 0,
            };
            store.enqueue(&job).unwrap();
        }
        let mut export = Vec::new();
        store.export_memories(&mut export).unwrap();
        if syncing {
            synced::begin(&mut store, &memories, &chats);
        }
        store.truncate_log().unwrap();
        let state = state(&store.connection);
        drop(store);
        Base {
            dir,
            chats,
            messages,
            memories,
            export,
            state,
        }
    }

    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_profile(self.dir.path(), copy.path());
        copy
    }

    /// A change that follows from the seed: of each kind one, half of them erasures, then again.
    fn change(&self, seed: u64, random: &mut Random) -> Change {
        let memory = self.memories[random.below(self.memories.len())];
        let chat = self.chats[random.below(self.chats.len())];
        let source = self.messages[random.below(self.messages.len())].1;
        // The second of four took the place of the first; the third and fourth stand for themselves.
        let known = self.memories[4 * random.below(10) + 1];
        let replaced = self.memories[4 * random.below(10) + 2];
        match seed % 25 {
            0 => Change::DeleteChat(chat),
            1 => Change::Evict(random.below(40)),
            2 => Change::Import,
            3 => Change::Update(memory),
            4 => Change::SwitchOff(chat),
            5 => Change::Biography,
            6 => Change::New(source, replaced),
            7 => Change::Known(known, source, replaced),
            8 => Change::Vectors(Index::Memories, 1 + random.below(40)),
            9 => Change::Vectors(Index::Turns, 1 + random.below(40)),
            10 => Change::Mark(chat, source),
            // What idle work does with a chat, each in a transaction of its own: any of them may be the last.
            11 => Change::Each(vec![
                Change::Claim,
                Change::New(source, replaced),
                Change::Known(known, source, self.memories[4 * random.below(10) + 3]),
                Change::Mark(chat, source),
                Change::Complete,
            ]),
            12 => Change::Each(vec![
                Change::Claim,
                Change::Vectors(Index::Turns, 8),
                Change::Fail,
            ]),
            _ => {
                let some = |random: &mut Random, most: usize| random.below(most + 1);
                let (memories, turns) = (some(random, 8), some(random, 6));
                Change::Erase(ErasePlan {
                    memories: (0..memories).map(|_| self.memories[random.below(40)]).collect(),
                    turns: (0..turns).map(|_| self.messages[random.below(48)].1).collect(),
                    chats: if random.below(3) == 0 {
                        vec![chat]
                    } else {
                        Vec::new()
                    },
                    ..ErasePlan::default()
                })
            }
        }
    }
}

#[derive(Debug)]
enum Change {
    Erase(ErasePlan),
    Sync(Box<SyncBatch>),
    DeleteChat(ChatId),
    Evict(usize),
    Import,
    Update(MemoryId),
    SwitchOff(ChatId),
    Biography,
    /// A fact that is new, from this message, in whose place that memory was.
    New(MessageId, MemoryId),
    /// The same of one that is known.
    Known(MemoryId, MessageId, MemoryId),
    /// So many vectors of another model.
    Vectors(Index, usize),
    /// How far a chat was mined.
    Mark(ChatId, MessageId),
    Claim,
    Complete,
    Fail,
    /// One after the other.
    Each(Vec<Change>),
}

impl Change {
    /// Makes the change; errors are what some of these tests are about.
    fn make(&self, store: &mut Store, base: &Base) -> Result<(), crate::StoreError> {
        match self {
            Change::Erase(plan) => store.erase(plan, 100).map(|_| ()),
            Change::Sync(batch) => store.sync_write(batch, 100).map(|_| ()),
            Change::DeleteChat(chat) => store.delete_chat(*chat),
            Change::Evict(cap) => store.evict_memories(*cap).map(|_| ()),
            Change::Import => store
                .import_memories(&mut base.export_with_more().as_slice())
                .map(|_| ()),
            Change::Update(memory) => {
                let change = MemoryChange {
                    text: Some("Remembers something else".into()),
                    ..MemoryChange::default()
                };
                store.update_memory(*memory, &change, None, 100).map(|_| ())
            }
            Change::SwitchOff(chat) => store.set_chat_memory(*chat, false),
            Change::New(message, replaced) => {
                let number = 500;
                let vector = vector_of(number);
                let vector = EmbeddedText {
                    model_id: "m",
                    vector: &vector,
                };
                let new = NewMemory {
                    text: format!("Remembers {}", canary("memory", number)),
                    kind: MemoryKind::Preference,
                    confidence: 0.8,
                    sensitive: false,
                    valid_from_ms: None,
                    valid_to_ms: None,
                    created_at_ms: 90,
                    sources: vec![base.source(*message)],
                    status: MemoryStatus::Active,
                    origin: MemoryOrigin::Extracted,
                    pinned: false,
                };
                let settled = Settled::New {
                    memory: &new,
                    vector: Some(vector),
                };
                store
                    .settle_memory(&settled, &[superseded(*replaced)], 100)
                    .map(|_| ())
            }
            Change::Known(id, message, replaced) => {
                let settled = Settled::Known {
                    id: *id,
                    sources: &[base.source(*message)],
                    said_at_ms: 95,
                    change: Some(MemoryChange {
                        confidence: Some(1.0),
                        sensitive: Some(true),
                        ..MemoryChange::default()
                    }),
                };
                store
                    .settle_memory(&settled, &[superseded(*replaced)], 100)
                    .map(|_| ())
            }
            Change::Vectors(index, count) => {
                let waiting = store.rows_without_vector(*index, "n", *count)?;
                let vectors: Vec<_> = waiting
                    .into_iter()
                    .zip(200..)
                    .map(|(row, number)| (row, vector_of(number)))
                    .collect();
                store.set_vectors(*index, "n", &vectors).map(|_| ())
            }
            Change::Mark(chat, message) => {
                store.set_setting(&format!("memory.mined.{chat}"), &json!(message))
            }
            Change::Claim => store.claim_next(&["embed"], 80).map(|_| ()),
            Change::Complete => store.complete(&running(store)?),
            Change::Fail => store.fail(&running(store)?, 120),
            Change::Each(changes) => changes.iter().try_for_each(|change| change.make(store, base)),
            Change::Biography => {
                let sentence = BiographySentence {
                    text: "All in one.".into(),
                    sources: base.memories.clone(),
                };
                store.set_biography(&[sentence], 100)
            }
        }
    }
}

fn superseded(memory: MemoryId) -> Superseded {
    Superseded {
        memory,
        valid_to_ms: Some(85),
    }
}

fn running(store: &Store) -> Result<Job, crate::StoreError> {
    let mut jobs = store.jobs()?;
    jobs.retain(|job| job.running);
    Ok(jobs.remove(0))
}

impl Change {
    /// What it is made of, as far as one part may happen without the next.
    fn parts(&self) -> &[Change] {
        match self {
            Change::Each(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }
}

impl Base {
    fn source(&self, message: MessageId) -> SourceTurn {
        let (chat, message) = *self.messages.iter().find(|turn| turn.1 == message).unwrap();
        SourceTurn { chat, message }
    }

    /// The states after each part of a change, beginning with the one before the first: what the next start finds.
    fn states(&self, change: &Change) -> Vec<State> {
        let copy = self.copy();
        let mut store = open(copy.path()).unwrap();
        let mut states = vec![self.state.clone()];
        for part in change.parts() {
            part.make(&mut store, self).unwrap();
            let later = tempfile::tempdir().unwrap();
            copy_profile(copy.path(), later.path());
            states.push(state(&open(later.path()).unwrap().connection));
        }
        states
    }

    /// The export, with memories that aren't in the profile.
    fn export_with_more(&self) -> Vec<u8> {
        let text = String::from_utf8(self.export.clone()).unwrap();
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let list = document["memories"].as_array_mut().unwrap();
        for number in 0..10u8 {
            let mut more = list[usize::from(number)].clone();
            more["id"] = json!(MemoryId::from_bytes([number; 16]));
            list.push(more);
        }
        document.to_string().into_bytes()
    }
}

const MEMORY_COLUMNS: &str = "seq, CASE WHEN seq > 40 THEN NULL ELSE id END, text, kind, confidence, sensitive, \
                              valid_from_ms, valid_to_ms, created_at_ms, updated_at_ms, status, superseded_by, \
                              origin, use_count, last_used_at_ms, pinned";

fn copy_profile(from: &Path, to: &Path) {
    for name in [DATABASE_FILE, KEY_HEADER_FILE, "hearth.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

type State = BTreeMap<&'static str, Vec<String>>;

/// Every row of every table, the erasures' own aside. Of a new memory the id is left out, as chance gives it.
fn state(connection: &Connection) -> State {
    let tables = [
        "chat",
        "message",
        "memory",
        "memory_source",
        "memory_vector",
        "turn_vector",
        "embedding_model",
        "job",
        "biography",
        "biography_source",
        "erased",
        "memory_state",
        "setting",
        "memory_search_docsize",
        "turn_search_docsize",
        "message_search_docsize",
        "sync_state",
        "sync_record",
        "sync_document",
        "sync_dirty",
        "sync_piece",
        "sync_successor",
        "sync_erased",
        "sync_outgoing_erasure",
    ];
    let rows = |table: &str| -> Vec<String> {
        let columns = match table {
            "memory" => MEMORY_COLUMNS,
            "sync_document" => "seq, handle, kind, local, CAST(document AS TEXT), published",
            // New memories have random ids here, too.
            "sync_dirty" => {
                "kind, CASE WHEN local IN (SELECT id FROM memory WHERE seq > 40) THEN NULL ELSE local END"
            }
            _ => "*",
        };
        let mut statement = connection
            .prepare(&format!("SELECT {columns} FROM {table}"))
            .unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let values: Vec<Value> = (0..columns).map(|column| row.get(column).unwrap()).collect();
            Ok(format!("{values:?}"))
        });
        let mut rows: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
        rows.sort();
        rows
    };
    tables.into_iter().map(|table| (table, rows(table))).collect()
}

/// Every word of the base's that is in the state.
fn canaries(state: &State, base: &Base) -> (Vec<String>, Vec<String>) {
    let all: String = state.values().flatten().cloned().collect();
    let words = [
        ("title", 6),
        ("turn", 48),
        ("reason", 48),
        ("memory", 40),
        ("bio", 12),
    ];
    let words = words
        .into_iter()
        .flat_map(|(what, count)| (0..count).map(move |n| canary(what, n)));
    assert!(!base.memories.is_empty());
    words.partition(|word| all.contains(word.as_str()))
}

/// What must be true after any start.
fn check(seed: u64, dir: &Path, change: &Change, before: &Base, states: &[State]) {
    let store = open(dir).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    store.verify().unwrap();
    let now = state(&store.connection);
    let erasures: Vec<String> = store
        .connection
        .prepare("SELECT state FROM erasure")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let happened = states.last() == Some(&now);
    assert!(
        states.contains(&now),
        "seed {seed}: {change:?} was done by half: {:?}",
        now.iter()
            .filter(|(table, rows)| states.iter().all(|state| state[*table] != **rows))
            .collect::<Vec<_>>()
    );
    if let Change::Erase(plan) = change {
        // What was noted was done, and is settled.
        assert!(
            erasures.iter().all(|state| state == "settled"),
            "seed {seed}: {erasures:?}"
        );
        assert!(happened || erasures.is_empty(), "seed {seed}");
        if happened && !erasures.is_empty() {
            let receipt = store.erase_receipt(store.erasures().unwrap()[0]).unwrap();
            assert_eq!(receipt.counts, receipt.recount, "seed {seed}: {plan:?}");
        }
    }
    for index in [Index::Memories, Index::Turns] {
        let mirror = store.mirror(index).unwrap().contents();
        assert_eq!(mirror, IndexMirror::afresh(&store.connection, index).contents());
    }
    for table in ["memory_search", "turn_search", "message_search"] {
        let check = format!("INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)");
        store
            .connection
            .execute(&check, [])
            .unwrap_or_else(|error| panic!("seed {seed}: {table}: {error}"));
    }
    let ordered = matches!(change, Change::Sync(batch) if !batch.erasures.is_empty());
    if ordered {
        assert!(
            erasures.iter().all(|state| state == "settled"),
            "seed {seed}: {erasures:?}"
        );
    }
    if ordered || matches!(change, Change::Erase(_)) {
        let pages = pages::decrypted(&store.connection);
        let (there, gone) = canaries(&now, before);
        for word in &there {
            assert!(
                pages::contains(&pages, word),
                "seed {seed}: the scan misses {word}"
            );
        }
        for word in &gone {
            assert!(
                !pages::contains(&pages, word),
                "seed {seed}: {word} is still in a page"
            );
        }
        for number in (0..40).chain(100..148) {
            let bytes = crate::vectors::encode(&crate::vectors::unit(&vector_of(number)).unwrap());
            let text = format!("{:?}", Value::Blob(bytes.clone()));
            let kept = now["memory_vector"]
                .iter()
                .chain(&now["turn_vector"])
                .any(|row| row.contains(&text));
            let found = memchr::memmem::find(&pages, &bytes).is_some();
            assert_eq!(found, kept, "seed {seed}: vector {number}");
        }
        // The log begins anew after an erasure: it holds no more than that this was noted.
        let log = fs::metadata(dir.join("hearth.db-wal")).map_or(0, |log| log.len());
        assert!(!happened || log < 8 * 4200, "seed {seed}: a log of {log} bytes");
    }
}

/// Counts steps, and at one of them takes a picture of the files, or fails.
struct Steps {
    taken: usize,
    stop_at: usize,
    picture: Option<(PathBuf, PathBuf)>,
}

fn watch(store: &mut Store, steps: &Arc<Mutex<Steps>>) {
    let steps = Arc::clone(steps);
    let handler = move || {
        let mut steps = steps.lock().unwrap();
        steps.taken += 1;
        if steps.taken != steps.stop_at {
            return false;
        }
        match &steps.picture {
            Some((from, to)) => {
                copy_profile(from, to);
                false
            }
            None => true,
        }
    };
    store.connection.progress_handler(1, Some(handler)).unwrap();
}

type Choose = fn(&Base, u64, &mut Random) -> Change;

fn killed_or_failing(base: &Base, seed: u64, choose: Choose) {
    let mut random = Random::new(seed);
    let change = choose(base, seed, &mut random);
    // Once in peace: what comes of it, and in how many steps.
    let peaceful = base.copy();
    let mut store = open(peaceful.path()).unwrap();
    let count = Arc::new(Mutex::new(Steps {
        taken: 0,
        stop_at: 0,
        picture: None,
    }));
    watch(&mut store, &count);
    change.make(&mut store, base).unwrap();
    let steps = count.lock().unwrap().taken;
    let states = base.states(&change);
    assert!(steps > 0);
    drop(store);
    check(seed, peaceful.path(), &change, base, &states);

    let fails = random.below(3) == 0;
    let (copy, picture) = (base.copy(), tempfile::tempdir().unwrap());
    let mut store = open(copy.path()).unwrap();
    drop(store.mirror(Index::Memories).unwrap());
    let stop = Arc::new(Mutex::new(Steps {
        taken: 0,
        stop_at: 1 + random.below(steps),
        picture: (!fails).then(|| (copy.path().to_owned(), picture.path().to_owned())),
    }));
    watch(&mut store, &stop);
    let result = change.make(&mut store, base);
    store
        .connection
        .progress_handler(0, None::<fn() -> bool>)
        .unwrap();
    if fails {
        // It goes on being used, and the next start ends what was noted.
        let mirror = store.mirror(Index::Memories).unwrap().contents();
        assert_eq!(
            mirror,
            IndexMirror::afresh(&store.connection, Index::Memories).contents()
        );
        drop(store);
        check(seed, copy.path(), &change, base, &states);
    } else {
        result.unwrap();
        drop(store);
        check(seed, picture.path(), &change, base, &states);
    }
}

thread_local! {
    /// Where to put a picture after each commit, and the lengths of the log.
    static COMMITS: RefCell<Option<(PathBuf, PathBuf, usize)>> = const { RefCell::new(None) };
}

#[allow(clippy::unnecessary_wraps, reason = "the type of a hook")]
fn after_commit(_: &mut rusqlite::hooks::Wal, _: i32) -> rusqlite::Result<()> {
    COMMITS.with_borrow_mut(|place| {
        if let Some((from, to, number)) = place {
            let to = to.join(number.to_string());
            fs::create_dir(&to).unwrap();
            copy_profile(from, &to);
            *number += 1;
        }
    });
    Ok(())
}

/// Writes that were torn: a log cut short anywhere, a database into which half of the log was moved.
fn torn(base: &Base, seed: u64, choose: Choose) {
    let mut random = Random::new(seed ^ 0xABCD);
    let change = choose(base, seed, &mut random);
    let (copy, pictures) = (base.copy(), tempfile::tempdir().unwrap());
    let mut store = open(copy.path()).unwrap();
    store.connection.wal_hook(Some(after_commit)).unwrap();
    COMMITS.set(Some((copy.path().to_owned(), pictures.path().to_owned(), 0)));
    change.make(&mut store, base).unwrap();
    let (_, _, commits) = COMMITS.take().unwrap();
    let states = base.states(&change);
    let key = store.key.clone();
    drop(store);
    let picture = pictures.path().join(random.below(commits).to_string());
    if random.below(2) == 0 {
        let log = picture.join("hearth.db-wal");
        let length = fs::metadata(&log).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
        file.set_len(random.below(length as usize + 1) as u64).unwrap();
    } else {
        // Cut short while the log was moved into the database: each page is the old or the new one.
        let moved = tempfile::tempdir().unwrap();
        copy_profile(&picture, moved.path());
        let path = moved.path().join(DATABASE_FILE);
        let through = crate::connection::open(&path, &key).unwrap();
        crate::connection::settle(&through).unwrap();
        through
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        drop(through);
        let new = fs::read(path).unwrap();
        let mut mixed = fs::read(picture.join(DATABASE_FILE)).unwrap();
        mixed.resize(new.len().max(mixed.len()), 0);
        for (old, new) in mixed.chunks_mut(4096).zip(new.chunks(4096)) {
            if random.below(2) == 0 {
                old.copy_from_slice(new);
            }
        }
        fs::write(picture.join(DATABASE_FILE), mixed).unwrap();
    }
    check(seed, &picture, &change, base, &states);
}

fn run(base: &Base, seeds: std::ops::Range<u64>, choose: Choose) {
    for seed in seeds {
        killed_or_failing(base, seed, choose);
        torn(base, seed, choose);
    }
}

#[test]
fn a_kill_anywhere_leaves_nothing_half_done() {
    run(&Base::new(false), 0..25, Base::change);
}

/// As many as the task asks for, and more.
#[test]
fn big_a_kill_anywhere_leaves_nothing_half_done() {
    run(&Base::new(false), 1000..1600, Base::change);
}
