//! What the server keeps, what it lets go of, and what a crash, a backup or a full disk does to either.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::device::Device;
use common::{Process, complaint, operated};
use hearth_protocol::error::ErrorCode;
use hearth_sync_server::SqliteStore;

/// Bytes that stand nowhere else.
fn canary(number: u8) -> Vec<u8> {
    (0..96_u8)
        .map(|at| at.wrapping_mul(37).wrapping_add(number.wrapping_mul(101)) ^ 0x5c)
        .collect()
}

/// The files below a folder that hold these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if !path.ends_with("reserve") // 16 MiB of one byte
            && fs::read(&path)
            .unwrap()
            .windows(bytes.len())
            .any(|window| window == bytes)
        {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::start(folder.path(), &[]);
    let mut device = Device::new(10, &server);
    device.open(server.listening, "").await.unwrap();
    for number in 0..20 {
        device.send(1, &canary(number));
    }
    assert_eq!(device.stored(20).await.unwrap().link, device.head.link);
    for round in 0..3 {
        // More goes out, and the server is killed after some of it was acknowledged.
        let before = device.head.seq;
        let sent: Vec<(u64, Vec<u8>)> = (0..30)
            .map(|number| {
                let bytes = device.write(2, &canary(number));
                (device.head.seq, bytes)
            })
            .collect();
        for (_, bytes) in &sent {
            device.resend(bytes.clone());
        }
        let acknowledged = device.stored(before + 1 + round * 7).await.unwrap().seq;
        server.kill();
        server = Process::start(folder.path(), &[]);
        device.connect(server.listening).await;
        let own = device.hello().await.unwrap().own.unwrap();
        assert!(own.seq >= acknowledged, "{} of {acknowledged} are left", own.seq);
        for (seq, bytes) in sent {
            if seq > own.seq {
                device.resend(bytes);
            }
        }
        if own.seq < device.head.seq {
            assert_eq!(
                device.stored(device.head.seq).await.unwrap().link,
                device.head.link
            );
        }
    }
    let bodies = device.fetch(1).await;
    assert_eq!(bodies.len() as u64, device.head.seq);
    assert_eq!(bodies[3], Some(canary(3)));
    assert_eq!(bodies[20 + 30 + 7], Some(canary(7)));
    assert!(server.terminate());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_gone_from_every_file_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    let mut device = Device::new(10, &server);
    device.open(server.listening, "").await.unwrap();
    for number in 0..10 {
        device.send(number, &canary(number));
    }
    device.stored(10).await.unwrap();
    assert!(
        !holding(folder.path(), &canary(4)).is_empty(),
        "it is there before"
    );
    let began = Instant::now();
    let receipt = device.erase(4).await;
    let took = began.elapsed();
    assert_eq!(receipt.bodies, 1);
    assert_eq!(holding(folder.path(), &canary(4)), Vec::<PathBuf>::new());
    assert!(!holding(folder.path(), &canary(5)).is_empty());
    assert!(took < Duration::from_secs(1), "{took:?}");
    // And it can't come back.
    device.applied().await.unwrap();
    device.send(4, &canary(4));
    let stored = device.stored(11).await.unwrap();
    assert_eq!(
        stored.holed.iter().map(|hole| hole.code).collect::<Vec<_>>(),
        [ErrorCode::HandleErased]
    );
    assert_eq!(holding(folder.path(), &canary(4)), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_back_what_was_stored_but_nothing_that_was_erased() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Process::start(&data, &[]);
    let mut device = Device::new(10, &server);
    device.open(server.listening, "").await.unwrap();
    for number in 0..3 {
        device.send(number, &canary(number));
    }
    device.stored(3).await.unwrap();
    let backup = folder.path().join("backup");
    operated(&data, &["backup", backup.to_str().unwrap()]);
    assert!(
        fs::read(&backup)
            .unwrap()
            .windows(96)
            .any(|window| window == canary(1))
    );
    // After the backup: one is erased, one is new.
    device.erase(1).await;
    device.applied().await.unwrap();
    let late = device.write(7, &canary(7));
    device.resend(late.clone());
    device.stored(4).await.unwrap();
    server.kill();

    let said = operated(&data, &["restore", backup.to_str().unwrap()]);
    assert!(
        said.contains("accounts 1\nerasures carried out 1\nerasures left to devices 0"),
        "{said}"
    );
    assert_eq!(holding(&data, &canary(1)), Vec::<PathBuf>::new());
    assert_eq!(operated(&data, &["check"]), "all is well\n");

    // The device has a newer token than the server, and a longer log: it is let in and fills the server up.
    let server = Process::start(&data, &[]);
    device.connect(server.listening).await;
    assert_eq!(device.hello().await.unwrap().own.unwrap().seq, 3);
    device.applied().await.ok();
    device.resend(late);
    assert_eq!(device.stored(4).await.unwrap().link, device.head.link);
    assert_eq!(
        device.fetch(1).await,
        [Some(canary(0)), None, Some(canary(2)), Some(canary(7))]
    );
}

/// A device that is alone has nobody who confirms its snapshots: a backup does.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_lets_what_was_replaced_go() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Process::start(&data, &[]);
    let mut device = Device::new(10, &server);
    device.open(server.listening, "").await.unwrap();
    device.send(1, &canary(1));
    let snapshot = device.snapshot(1, &canary(2));
    device.resend(snapshot);
    device.stored(2).await.unwrap();
    let told = || {
        let store = SqliteStore::open(&data, 0).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match store.newest_backup().unwrap() {
                Some((begun_ms, true)) => return begun_ms,
                _ => assert!(Instant::now() < deadline, "nobody looks for backups"),
            }
            std::thread::yield_now();
        }
    };
    let started_ms = told();
    let backup = folder.path().join("backup");
    operated(&data, &["backup", backup.to_str().unwrap()]);
    let begun_ms = told();
    assert!(begun_ms > started_ms);
    // The snapshot is younger than a day.
    assert_eq!(device.fetch(1).await, [Some(canary(1)), Some(canary(2))]);
    let store = SqliteStore::open(&data, 0).unwrap();
    store.backup_begun(begun_ms + 2 * 24 * 3_600_000).unwrap();
    told();
    assert_eq!(device.fetch(1).await, [None, Some(canary(2))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_purged_from_a_server_that_runs_and_from_one_that_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &[]);
    let (mut one, mut two) = (Device::new(10, &server), Device::new(20, &server));
    for (device, number) in [(&mut one, 1), (&mut two, 2)] {
        device.open(server.listening, "").await.unwrap();
        device.send(1, &canary(number));
        device.stored(1).await.unwrap();
    }
    let listed = operated(folder.path(), &["accounts"]);
    assert!(
        listed.contains(&one.account.to_string()) && listed.lines().count() == 2,
        "{listed}"
    );
    let said = complaint(folder.path(), &["purge-account", &one.account.to_string()]);
    assert!(said.contains("nothing was deleted"), "{said}");
    operated(
        folder.path(),
        &["purge-account", &one.account.to_string(), "--yes"],
    );
    assert_eq!(one.closed().await, Some(ErrorCode::Purged));
    assert_eq!(holding(folder.path(), &canary(1)), Vec::<PathBuf>::new());
    assert_eq!(holding(folder.path(), &one.account.0), Vec::<PathBuf>::new());
    assert!(!holding(folder.path(), &canary(2)).is_empty());
    assert!(server.terminate());
    operated(
        folder.path(),
        &["purge-account", &two.account.to_string(), "--yes"],
    );
    assert_eq!(holding(folder.path(), &canary(2)), Vec::<PathBuf>::new());
    assert_eq!(operated(folder.path(), &["accounts"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_back_no_purged_account_and_no_used_invitation() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Process::start(&data, &["--accounts", "invitations"]);
    let codes = [(); 3].map(|()| operated(&data, &["invite"]));
    let mut one = Device::new(10, &server);
    one.open(server.listening, codes[0].trim()).await.unwrap();
    one.send(1, &canary(1));
    one.stored(1).await.unwrap();
    let backup = folder.path().join("backup");
    operated(&data, &["backup", backup.to_str().unwrap()]);
    // Opened and purged after the backup.
    let mut four = Device::new(40, &server);
    four.open(server.listening, codes[2].trim()).await.unwrap();
    operated(&data, &["purge-account", &four.account.to_string(), "--yes"]);
    operated(&data, &["purge-account", &one.account.to_string(), "--yes"]);
    // Opened after the backup, with the second code.
    let mut two = Device::new(20, &server);
    two.open(server.listening, codes[1].trim()).await.unwrap();
    assert!(server.terminate());
    let said = operated(&data, &["restore", backup.to_str().unwrap()]);
    assert!(said.contains("accounts 1\n"), "{said}");
    assert_eq!(holding(&data, &one.account.0), Vec::<PathBuf>::new());
    assert_eq!(holding(&data, &canary(1)), Vec::<PathBuf>::new());
    let server = Process::start(&data, &["--accounts", "invitations"]);
    four.connect(server.listening).await;
    assert_eq!(four.hello().await.err(), Some(ErrorCode::Purged));
    // It is known, though the backup never had it.
    two.connect(server.listening).await;
    assert!(two.hello().await.is_ok());
    let mut three = Device::new(30, &server);
    let refused = three.open(server.listening, codes[1].trim()).await;
    assert_eq!(refused.unwrap_err(), ErrorCode::NotInvited);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_lets_one_account_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(folder.path(), &["--accounts", "invitations"]);
    let code = operated(folder.path(), &["invite"]);
    let code = code.trim();
    let mut device = Device::new(10, &server);
    assert_eq!(
        device.open(server.listening, "").await,
        Err(ErrorCode::NotInvited)
    );
    assert_eq!(
        device.open(server.listening, "00000-00000").await,
        Err(ErrorCode::NotInvited)
    );
    device.open(server.listening, code).await.unwrap();
    let mut other = Device::new(20, &server);
    assert_eq!(
        other.open(server.listening, code).await,
        Err(ErrorCode::NotInvited)
    );
    let spelled = code.to_lowercase().replace('-', "");
    assert_eq!(
        other.open(server.listening, &spelled).await,
        Err(ErrorCode::NotInvited),
        "the same, spelled otherwise"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_account_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = folder.path().join("config.toml");
    let first = Process::start(&data, &["--endpoint", "localhost:1"]);
    let (mut listed, mut other) = (Device::new(10, &first), Device::new(20, &first));
    first.kill();
    fs::write(
        &config,
        format!("accounts = \"list\"\naccount_list = [\"{}\"]\n", listed.account),
    )
    .unwrap();
    let arguments = [
        "--config",
        config.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--metrics",
        "off",
    ];
    let mut command = common::program(&data);
    command.args(arguments);
    let server = Process::run(command);
    listed.open(server.listening, "").await.unwrap();
    assert_eq!(other.open(server.listening, "").await, Err(ErrorCode::NotInvited));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_told_and_erasing_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    fs::write(&config, "[space]\naccount_mib = 1\n").unwrap();
    let server = Process::start(
        &folder.path().join("data"),
        &["--config", config.to_str().unwrap()],
    );
    let mut device = Device::new(10, &server);
    device.open(server.listening, "").await.unwrap();
    device.send(1, &vec![1; 700_000]);
    assert!(device.stored(1).await.unwrap().holed.is_empty());
    device.send(2, &vec![2; 700_000]);
    let stored = device.stored(2).await.unwrap();
    assert_eq!(
        stored.holed.first().map(|hole| hole.code),
        Some(ErrorCode::QuotaReached)
    );
    device.erase(1).await;
    device.applied().await.unwrap();
    device.send(3, &vec![3; 700_000]);
    assert!(
        device
            .stored(3)
            .await
            .unwrap()
            .holed
            .iter()
            .all(|hole| hole.seq != 3)
    );
}

/// A file system of its own, small enough to be filled. Needs root.
#[cfg(target_os = "linux")]
struct SmallDisk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn new(mib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(Self(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status()
            .ok();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_content_and_still_takes_erasures() {
    let Some(disk) = SmallDisk::new(64) else {
        println!("skipped: no file system can be mounted here (not root)");
        return;
    };
    let data = disk.0.path().join("data");
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), "[space]\nreserve_mib = 8\n").unwrap();
    let server = Process::start(&data, &["--config", config.path().to_str().unwrap()]);
    let mut device = Device::new(10, &server);
    device.open(server.listening, "").await.unwrap();
    device.send(1, &canary(1));
    assert!(device.stored(1).await.unwrap().holed.is_empty());
    // Something else fills the disk, to the last byte.
    let mut filler = fs::File::create(disk.0.path().join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[7; 4096]).is_ok() {}
    server.until("disk_free_bytes", |free| free < 8 << 20).await;
    assert_eq!(server.page("/readyz").0, 503);
    assert_eq!(server.page("/healthz").0, 200);
    device.send(2, &vec![2; 900_000]);
    let refused = device.refused().await;
    assert!(
        matches!(refused, ErrorCode::StorageFailed | ErrorCode::QuotaReached),
        "{refused:?}"
    );
    // The first write finds no room at all; it makes the server give its reserve up.
    let mut tries = 0;
    loop {
        device.connect(server.listening).await;
        match device.hello().await {
            Ok(_) => break,
            Err(code) => assert_eq!(code, ErrorCode::StorageFailed),
        }
        tries += 1;
        assert!(tries < 3);
    }
    let receipt = device.erase(1).await;
    assert_eq!(receipt.bodies, 1);
    assert_eq!(holding(&data, &canary(1)), Vec::<PathBuf>::new());
}
