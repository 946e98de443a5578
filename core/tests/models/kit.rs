//! A scripted HTTP server, stores in temporary folders, and manifests of made-up models.

use hearth_core::models::{
    Catalogue, HubSource, Installed, Manifest, ModelFile, ModelStore, PackageFile, PackagePart,
    PackagesSource, PullError, PullEvent, PullOptions, Sha256Hex, Source, StoreOptions, Task,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub(crate) const ID: &str = "model-under-test";
pub(crate) const FILE: &str = "weights.gguf";
pub(crate) const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// Bytes that look random, the same for the same seed.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(2).wrapping_add(1));
    std::iter::repeat_with(|| random.next().to_le_bytes())
        .flatten()
        .take(len)
        .collect()
}

/// A small generator of test randomness (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// From the system, unless HEARTH_TEST_SEED says otherwise; printed, so that a failure can be repeated.
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("HEARTH_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).unwrap();
                u64::from_le_bytes(bytes)
            });
        println!("HEARTH_TEST_SEED={seed}");
        Self(seed)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256Hex {
    Sha256Hex::new(Sha256::digest(bytes).into())
}

/// A manifest of one file; the hub is its source and everything is pinned.
pub(crate) fn manifest(bytes: &[u8]) -> Manifest {
    Manifest {
        id: ID.into(),
        name: "Model under test".into(),
        task: Task::Chat,
        architecture: "llama".into(),
        quantization: None,
        parameters: None,
        licence: "MIT".into(),
        context_length: 128,
        memory_bytes: 1 << 20,
        run_by_us: true,
        sampling: hearth_core::types::Sampling::default(),
        notes: String::new(),
        files: vec![ModelFile {
            name: FILE.into(),
            size: bytes.len() as u64,
            sha256: Some(sha256(bytes)),
        }],
        sources: vec![hub_source(Some(REVISION))],
    }
}

pub(crate) fn hub_source(revision: Option<&str>) -> Source {
    Source::Hub(HubSource {
        repository: "owner/model".into(),
        revision: revision.map(Into::into),
        paths: BTreeMap::new(),
    })
}

/// Cuts a file into wheels in `folder`; the source that joins them again.
pub(crate) fn wheels(folder: &Path, name: &str, bytes: &[u8], parts: usize) -> Source {
    let size = bytes.len().div_ceil(parts);
    let parts = bytes.chunks(size).enumerate().map(|(index, piece)| {
        let package = format!("hearth-test-part{index}");
        let member = format!("hearth_test_part{index}/data/part{index}.bin");
        wheel(folder, &package, &[(&member, piece)]);
        PackagePart {
            package,
            version: "1.0".into(),
            member,
            size: piece.len() as u64,
        }
    });
    Source::Packages(PackagesSource {
        files: vec![PackageFile {
            name: name.into(),
            parts: parts.collect(),
        }],
    })
}

/// Writes the wheel `<package>-1.0` with these members.
pub(crate) fn wheel(folder: &Path, package: &str, members: &[(&str, &[u8])]) {
    let plain = package.replace('-', "_");
    let file = std::fs::File::create(folder.join(format!("{plain}-1.0-py3-none-any.whl"))).unwrap();
    let mut archive = zip::ZipWriter::new(file);
    let options = zip::write::SimpleFileOptions::default();
    let metadata = format!("Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n");
    let info = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let texts = [("METADATA", metadata.as_str()), ("WHEEL", info), ("RECORD", "")];
    for (name, text) in texts {
        archive
            .start_file(format!("{plain}-1.0.dist-info/{name}"), options)
            .unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    for (name, bytes) in members {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// Options with short patience, for a server at `url`.
pub(crate) fn options(url: &str) -> StoreOptions {
    let mut options = StoreOptions {
        hub_url: url.into(),
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(20),
        disk_margin_bytes: 0,
        ..StoreOptions::default()
    };
    options.retries.first_pause = Duration::from_millis(1);
    options
}

/// Options that know only the wheels of a folder.
pub(crate) fn package_options(wheels: &Path) -> StoreOptions {
    let mut options = options("http://127.0.0.1:9");
    options.pip_arguments = vec!["--no-index".into(), "--find-links".into(), wheels.into()];
    options
}

/// A store of one manifest in a temporary folder.
pub(crate) struct Home {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: ModelStore,
}

impl Home {
    pub(crate) fn new(manifest: Manifest, options: StoreOptions) -> Self {
        Self::with(vec![manifest], options)
    }

    pub(crate) fn with(manifests: Vec<Manifest>, options: StoreOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::with_catalogue(folder.path(), Catalogue::new(manifests).unwrap(), options);
        Self { folder, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(ID).join(name)
    }

    pub(crate) fn part(&self) -> PathBuf {
        self.path(&format!(".{FILE}.part"))
    }

    pub(crate) fn state(&self) -> String {
        self.store.entry(ID).unwrap().state.to_string()
    }

    pub(crate) async fn pull(&self) -> (Result<Installed, PullError>, Vec<PullEvent>) {
        self.pull_with(&PullOptions::default()).await
    }

    pub(crate) async fn pull_with(
        &self,
        options: &PullOptions,
    ) -> (Result<Installed, PullError>, Vec<PullEvent>) {
        let mut events = Vec::new();
        let result = self
            .store
            .pull(ID, options, &mut |event| events.push(event))
            .await;
        (result, events)
    }

    /// The model is ready, its bytes are these, and nothing else lies about.
    pub(crate) fn assert_ready(&self, bytes: &[u8]) {
        assert_eq!(self.state(), "ready");
        assert!(
            std::fs::read(self.path(FILE)).unwrap() == bytes,
            "the file's bytes differ"
        );
        let mut names: Vec<String> = std::fs::read_dir(self.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["manifest.json", FILE]);
    }
}

/// Reasons for which a file was started anew.
pub(crate) fn restarts(events: &[PullEvent]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| {
            if let PullEvent::Restarted { reason, .. } = event {
                Some(reason.as_str())
            } else {
                None
            }
        })
        .collect()
}

/// Reasons for which a transfer was taken up again.
pub(crate) fn retries(events: &[PullEvent]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| {
            if let PullEvent::Retrying { reason, .. } = event {
                Some(reason.as_str())
            } else {
                None
            }
        })
        .collect()
}

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Counts from 0.
    pub(crate) number: usize,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// First byte of the range asked for; 0 without one.
    pub(crate) fn start(&self) -> usize {
        self.headers.get("range").map_or(0, |range| {
            range
                .strip_prefix("bytes=")
                .unwrap()
                .strip_suffix('-')
                .unwrap()
                .parse()
                .unwrap()
        })
    }
}

/// What the server does after its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Close,
    /// Keeps the connection open and says nothing more.
    Stall,
}

/// An answer, byte for byte.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

impl Reply {
    pub(crate) fn new(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        Self {
            bytes: [head.as_bytes(), body].concat(),
            then: Then::Close,
        }
    }

    /// A whole file.
    pub(crate) fn whole(body: &[u8]) -> Self {
        Self::new(
            "200 OK",
            &[("Content-Length", &body.len().to_string()), ("ETag", "\"one\"")],
            body,
        )
    }

    /// What an honest server answers to this request.
    pub(crate) fn honest(request: &Request, body: &[u8]) -> Self {
        Self::tagged(request, body, "\"one\"")
    }

    pub(crate) fn tagged(request: &Request, body: &[u8], tag: &str) -> Self {
        let start = request.start();
        if start == 0
            || request
                .headers
                .get("if-range")
                .is_some_and(|wanted| wanted != tag)
        {
            return Self::new(
                "200 OK",
                &[("Content-Length", &body.len().to_string()), ("ETag", tag)],
                body,
            );
        }
        let range = format!("bytes {start}-{}/{}", body.len() - 1, body.len());
        let length = (body.len() - start).to_string();
        let headers = [
            ("Content-Length", length.as_str()),
            ("Content-Range", &range),
            ("ETag", tag),
        ];
        Self::new("206 Partial Content", &headers, &body[start..])
    }

    /// Only the head and this many bytes of the body.
    pub(crate) fn cut(mut self, body_bytes: usize) -> Self {
        let head = self
            .bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        self.bytes.truncate(head + body_bytes);
        self
    }

    pub(crate) fn stalling(mut self) -> Self {
        self.then = Then::Stall;
        self
    }
}

/// A server on loopback that answers as its script says.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    answered: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, script, answered) = (Arc::clone(&requests), Arc::new(script), Arc::new(Notify::new()));
        let done = Arc::clone(&answered);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, script, done) = (Arc::clone(&log), Arc::clone(&script), Arc::clone(&done));
                tokio::spawn(async move { serve(stream, &log, &*script, &done).await });
            }
        });
        Self {
            url,
            requests,
            answered,
            task,
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Where each request wanted the file to begin.
    pub(crate) fn starts(&self) -> Vec<usize> {
        self.requests().iter().map(Request::start).collect()
    }

    /// Waits until an answer has been written.
    pub(crate) async fn answered(&self) {
        self.answered.notified().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Request>>,
    script: &(dyn Fn(&Request) -> Reply + Send + Sync),
    done: &Notify,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let reply = {
        let mut log = log.lock().unwrap();
        let request = Request {
            number: log.len(),
            path,
            headers,
        };
        log.push(request.clone());
        drop(log);
        script(&request)
    };
    stream.write_all(&reply.bytes).await.ok();
    stream.flush().await.ok();
    done.notify_one();
    if reply.then == Then::Stall {
        // Until the client goes away.
        stream.read_u8().await.ok();
    }
}

/// Asks again and again until the answer is yes; fails after a while.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Questions about the events of a pull.
pub(crate) trait PullEventExt {
    /// The bytes told in one phase.
    fn progress(&self, phase: hearth_core::models::PullPhase) -> Vec<u64>;
    /// How often a phase began.
    fn phase_starts(&self, phase: hearth_core::models::PullPhase) -> usize;
}

impl PullEventExt for [PullEvent] {
    fn progress(&self, phase: hearth_core::models::PullPhase) -> Vec<u64> {
        let told = self.iter().filter_map(|event| match event {
            PullEvent::Progress(progress) if progress.phase == phase => Some(progress.bytes),
            _ => None,
        });
        told.collect()
    }

    fn phase_starts(&self, phase: hearth_core::models::PullPhase) -> usize {
        let phases = self.iter().filter_map(|event| match event {
            PullEvent::Progress(progress) => Some((progress.file.clone(), progress.phase)),
            _ => None,
        });
        let mut phases: Vec<_> = phases.collect();
        phases.dedup();
        phases.iter().filter(|(_, other)| *other == phase).count()
    }
}
