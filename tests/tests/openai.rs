//! `hearth serve` with the real model: the official client, and clients that go away.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use hearth_tests::hearth::{CHAT_MODEL, EMBEDDING_MODEL, Profile, Server, signal};

#[test]
fn the_official_client_works() {
    let profile = Profile::new();
    let server = profile.serve();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python/openai_client.py");
    let output = Command::new(python())
        .arg(script)
        .args([&server.base_url, &server.token, CHAT_MODEL, EMBEDDING_MODEL])
        .env_remove("OPENAI_API_KEY")
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The interpreter with the pinned client: `HEARTH_TEST_PYTHON`, else the one that `./test` makes.
fn python() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/venv/bin/python");
    let python = std::env::var_os("HEARTH_TEST_PYTHON").map_or_else(default, PathBuf::from);
    assert!(
        python.exists(),
        "{} is missing: ./test makes it, or set HEARTH_TEST_PYTHON",
        python.display()
    );
    python
}

#[test]
fn a_client_that_hangs_up_stops_the_answer() {
    let profile = Profile::new();
    let server = profile.serve();
    for stream in [true, false] {
        let mut client = ask_for_a_long_answer(&server, stream);
        wait_for_queue(&profile, 1);
        if stream {
            let mut seen = [0; 1500];
            client.read_exact(&mut seen).unwrap();
            assert!(String::from_utf8_lossy(&seen).contains("chat.completion.chunk"));
        }
        drop(client);
        wait_for_queue(&profile, 0);
    }
}

fn ask_for_a_long_answer(server: &Server, stream: bool) -> TcpStream {
    let body = format!(
        r#"{{"model":"{CHAT_MODEL}","stream":{stream},"max_tokens":6000,"seed":1,"messages":[{{"role":"user","content":"Write a very long story."}}]}}"#
    );
    let mut client = TcpStream::connect(&server.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        client,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        server.token,
        body.len()
    )
    .unwrap();
    client
}

/// Asks the engine until so many requests are with the model.
fn wait_for_queue(profile: &Profile, wanted: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = profile.json(&["status"]);
        let models = status["loaded_models"].as_array().unwrap();
        let queue: u64 = models
            .iter()
            .map(|model| model["queue_length"].as_u64().unwrap())
            .sum();
        if queue == wanted && !models.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{queue} requests are with the model, not {wanted}: {status}"
        );
    }
}

#[test]
fn the_server_outlives_its_engine() {
    let profile = Profile::new();
    let server = profile.serve();
    assert_eq!(health(&server), 200);
    let pid = profile.json(&["status"])["pid"].as_u64().unwrap().to_string();
    signal(&pid, "KILL");
    let deadline = Instant::now() + Duration::from_secs(20);
    while health(&server) != 200 {
        assert!(Instant::now() < deadline, "the engine wasn't started again");
    }
    assert_ne!(
        profile.json(&["status"])["pid"].as_u64().unwrap().to_string(),
        pid
    );
}

fn health(server: &Server) -> u16 {
    let mut client = TcpStream::connect(&server.address).unwrap();
    write!(
        client,
        "GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.address
    )
    .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_token_is_made_once_and_private() {
    use std::os::unix::fs::PermissionsExt;
    let profile = Profile::new();
    let first = profile.serve().token.clone();
    let file = profile.home().join("http-token");
    assert_eq!(
        std::fs::metadata(file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(profile.serve().token, first);
}
