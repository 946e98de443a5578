//! What an operator does, and what goes wrong.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::net::UdpSocket;

use common::{Process, call, complaint, next, operate, operated, program};
use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::Nothing;
use hearth_protocol::hash::verify;
use hearth_protocol::message::{Reply, ReplyFrame, Request, RequestFrame, server_id};
use hearth_transport::Event;

#[test]
fn the_identity_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = Process::start(&data, &[]);
    let address = first.address.clone();
    first.kill();
    let second = Process::start(&data, &["--endpoint", "sync.example"]);
    assert_eq!(second.address.key, address.key);
    assert_eq!(second.address.endpoint.to_string(), "sync.example:4433");
    let printed = operated(&data, &["fingerprint", "--endpoint", "sync.example"]);
    assert_eq!(printed.trim(), second.address.to_string());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| data.join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("server.key")), (0o700, 0o600));
    }
}

#[test]
fn a_key_that_is_gone_is_not_replaced_by_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    Process::start(folder.path(), &[]).kill();
    fs::remove_file(folder.path().join("server.key")).unwrap();
    let said = complaint(folder.path(), &["--listen", "127.0.0.1:0", "--metrics", "off"]);
    assert!(said.contains("server.key"), "{said}");
    fs::write(folder.path().join("server.key"), "").unwrap();
    let said = complaint(folder.path(), &["--listen", "127.0.0.1:0", "--metrics", "off"]);
    assert!(said.contains("server.key"), "{said}");
}

#[test]
fn two_servers_on_one_folder_and_two_on_one_port_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    let said = complaint(folder.path(), &["--listen", "127.0.0.1:0", "--metrics", "off"]);
    assert!(
        said.contains("another server") && said.contains("data folder"),
        "{said}"
    );
    let other = tempfile::tempdir().unwrap();
    let listen = server.listening.to_string();
    let said = complaint(other.path(), &["--listen", &listen, "--metrics", "off"]);
    assert!(said.contains("taken") && said.contains(&listen), "{said}");
    let metrics = server.metrics.to_string();
    let said = complaint(other.path(), &["--listen", "127.0.0.1:0", "--metrics", &metrics]);
    assert!(said.contains("taken") && said.contains(&metrics), "{said}");
}

#[test]
fn what_is_wrong_with_the_settings_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let config = config.to_str().unwrap();
    fs::write(config, "data = \"x\"\n\nlistne = \"[::]:1\"\n").unwrap();
    let said = complaint(folder.path(), &["--config", config]);
    assert!(said.contains("line 3") && said.contains("listne"), "{said}");
    let said = complaint(folder.path(), &["--config", "/no/such/file"]);
    assert!(said.contains("/no/such/file"), "{said}");
    let said = complaint(folder.path(), &["--accounts", "nobody"]);
    assert!(said.contains("open, invitations or list"), "{said}");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let said = complaint(
        &file.join("data"),
        &["--listen", "127.0.0.1:0", "--metrics", "off"],
    );
    assert!(said.contains("can't be written"), "{said}");
}

#[test]
fn settings_come_from_flags_then_environment_then_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    fs::write(
        &config,
        "endpoint = \"file\"\nmetrics = \"off\"\nlisten = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let started = |variable: Option<&str>, flag: Option<&str>| {
        let mut command = program(&folder.path().join("data"));
        command.env("HEARTH_SYNC_CONFIG", &config);
        if let Some(value) = variable {
            command.env("HEARTH_SYNC_ENDPOINT", value);
        }
        if let Some(value) = flag {
            command.args(["--endpoint", value]);
        }
        Process::run(command).address.endpoint.host.clone()
    };
    assert_eq!(started(None, None), "file");
    assert_eq!(started(Some("environment"), None), "environment");
    assert_eq!(started(Some("environment"), Some("flag")), "flag");
}

#[tokio::test]
async fn a_certificate_that_was_given_is_used_and_one_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (pem(1), pem(2));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("one.crt"), &one.0).unwrap();
    fs::write(path("one.key"), &one.1).unwrap();
    fs::write(path("two.key"), &two.1).unwrap();
    let data = folder.path().join("data");
    let server = Process::start(
        &data,
        &[
            "--certificate",
            &path("one.crt"),
            "--private-key",
            &path("one.key"),
        ],
    );
    let mut device = call(server.listening, 9).await.unwrap();
    assert_eq!(device.key, hearth_transport::tls::public_key(&[1; 32]));
    // So it is asked for its own.
    let ask = RequestFrame {
        id: 0,
        request: Request::Prove(Nothing {}),
    };
    device.sender.frame(ask.encode()).unwrap();
    let Event::Frame(answer) = next(&mut device).await else {
        panic!("no answer")
    };
    let Reply::Proof(proof) = ReplyFrame::decode(&answer).unwrap().reply else {
        panic!("no proof")
    };
    verify(&server.address.key, &server_id(&device.exporter), &proof).unwrap();
    assert_ne!(
        device.key,
        Some(server.address.key.0),
        "the identity is another key"
    );
    server.kill();
    for (certificate, key, reason) in [
        ("one.crt", "two.key", "can't be used together"),
        ("one.key", "one.key", "certificate"),
        ("one.crt", "one.crt", "private key"),
        ("none.crt", "one.key", "none.crt"),
    ] {
        let said = complaint(
            &data,
            &[
                "--listen",
                "127.0.0.1:0",
                "--metrics",
                "off",
                "--certificate",
                &path(certificate),
                "--private-key",
                &path(key),
            ],
        );
        assert!(said.contains(reason), "{certificate} {key}: {said}");
    }
    let said = complaint(&data, &["--certificate", &path("one.crt")]);
    assert!(said.contains("private_key"), "{said}");
}

/// A certificate and its key, PEM.
fn pem(seed: u8) -> (String, String) {
    let (certificate, key) = hearth_transport::tls::self_signed(&[seed; 32]).unwrap();
    let block = |name: &str, bytes: &[u8]| {
        let lines: Vec<String> = base64(bytes)
            .as_bytes()
            .chunks(64)
            .map(|c| String::from_utf8_lossy(c).into())
            .collect();
        format!(
            "-----BEGIN {name}-----\n{}\n-----END {name}-----\n",
            lines.join("\n")
        )
    };
    (block("CERTIFICATE", &certificate), block("PRIVATE KEY", &key))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0u32, |number, byte| number << 8 | u32::from(*byte));
        for at in 0..4 {
            let digit = if at <= chunk.len() {
                DIGITS[(number >> (18 - 6 * at)) as usize & 63]
            } else {
                b'='
            };
            out.push(char::from(digit));
        }
    }
    out
}

#[test]
fn commands_need_a_server_folder_and_change_nothing_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let file = file.to_str().unwrap();
    for command in [
        &["fingerprint"][..],
        &["invite"],
        &["accounts"],
        &["check"],
        &["backup", file],
    ] {
        let said = complaint(folder.path(), command);
        assert!(
            said.contains("not the data folder of a server"),
            "{command:?}: {said}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let said = complaint(folder.path(), &["purge-account", "12", "--yes"]);
    assert!(said.contains("64 hexadecimal digits"), "{said}");
    assert!(operate(folder.path(), &["frobnicate"]).status.code() == Some(2));
}

#[test]
fn a_server_that_runs_is_looked_over_and_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Process::start(&data, &[]);
    assert_eq!(operated(&data, &["check"]), "all is well\n");
    assert_eq!(operated(&data, &["accounts"]), "");
    assert_eq!(operated(&data, &["invite"]).trim().len(), 26 + 5);
    let file = folder.path().join("backup");
    let name = file.to_str().unwrap();
    operated(&data, &["backup", name]);
    let said = complaint(&data, &["backup", name]);
    assert!(said.contains("exists already"), "{said}");
    let said = complaint(&data, &["restore", name]);
    assert!(said.contains("another server"), "{said}");
    let said = complaint(&data, &["purge-account", &"00".repeat(32), "--yes"]);
    assert!(said.contains("no such account"), "{said}");
    assert!(server.terminate());

    // On a new machine the key comes from beside the backup.
    let fresh = folder.path().join("fresh");
    operated(&fresh, &["restore", name]);
    assert_eq!(
        operated(&fresh, &["fingerprint"]),
        operated(&data, &["fingerprint"])
    );
    assert_eq!(operated(&fresh, &["check"]), "all is well\n");
    // A backup of another server is refused, a file that is none, and one that was cut off.
    let other = folder.path().join("other");
    Process::start(&other, &[]).kill();
    assert!(complaint(&other, &["restore", name]).contains("another server than this data folder"));
    let broken = folder.path().join("broken");
    fs::write(&broken, "no database").unwrap();
    assert!(complaint(&data, &["restore", broken.to_str().unwrap()]).contains("database"));
    assert_eq!(operated(&data, &["check"]), "all is well\n");
}

/// It may hold what was erased since the backup.
#[test]
fn nothing_is_left_of_a_restore_that_came_to_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Process::start(&data, &[]).kill();
    let parts = ["sync.db.new", "sync.db.new-wal", "sync.db.new-shm"].map(|name| data.join(name));
    let broken = folder.path().join("broken");
    fs::write(&broken, "no database").unwrap();
    complaint(&data, &["restore", broken.to_str().unwrap()]);
    assert!(parts.iter().all(|part| !part.exists()), "refused");
    for part in &parts {
        fs::write(part, "as after a kill").unwrap();
    }
    Process::start(&data, &[]).kill();
    assert!(parts.iter().all(|part| !part.exists()), "killed");
}

#[test]
fn a_port_that_another_program_has_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = complaint(folder.path(), &["--listen", &address, "--metrics", "off"]);
    assert!(said.contains("taken") && said.contains("UDP"), "{said}");
}
