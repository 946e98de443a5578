//! A pull in a process of its own, killed with SIGKILL at random bytes, then run again.

use crate::kit::{FILE, Home, ID, Random, Reply, Server, content, manifest, package_options, until, wheels};
use hearth_core::models::{Catalogue, Manifest, ModelStore, PullEvent, PullOptions, StoreOptions};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const ORDER: &str = "HEARTH_TEST_PULL_ORDER";

/// What the child shall pull.
#[derive(Serialize, Deserialize)]
struct Order {
    folder: PathBuf,
    manifest: Manifest,
    hub_url: String,
    pip_arguments: Vec<String>,
}

/// Not a test of its own: the process that the tests below start and kill.
#[tokio::test]
#[ignore = "the child process of the tests in this file"]
async fn child() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let order: Order = serde_json::from_str(&order).unwrap();
    let options = StoreOptions {
        pip_arguments: order.pip_arguments.into_iter().map(Into::into).collect(),
        disk_margin_bytes: 0,
        ..crate::kit::options(&order.hub_url)
    };
    let store = ModelStore::with_catalogue(
        order.folder,
        Catalogue::new(vec![order.manifest]).unwrap(),
        options,
    );
    let mut tell = |event: PullEvent| println!("EVENT {}", serde_json::to_string(&event).unwrap());
    store.pull(ID, &PullOptions::default(), &mut tell).await.unwrap();
}

fn start(order: &Order) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "killing::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ORDER, serde_json::to_string(order).unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn finish(child: Child) {
    let output = child.wait_with_output().await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[tokio::test]
async fn a_download_killed_at_ten_random_bytes_ends_with_the_right_file_each_time() {
    const SIZE: usize = 1_500_000;
    let mut random = Random::seeded();
    let bytes = content(60, SIZE);
    let stop_at = Arc::new(Mutex::new(None::<usize>));
    let (body, limit) = (bytes.clone(), Arc::clone(&stop_at));
    let server = Server::start(move |request| {
        let reply = Reply::honest(request, &body);
        match *limit.lock().unwrap() {
            Some(limit) => reply.cut(limit.saturating_sub(request.start())).stalling(),
            None => reply,
        }
    })
    .await;
    for _ in 0..10 {
        let home = Home::new(manifest(&bytes), crate::kit::options(&server.url));
        let order = Order {
            folder: home.folder.path().into(),
            manifest: manifest(&bytes),
            hub_url: server.url.clone(),
            pip_arguments: Vec::new(),
        };
        let kill_at = random.below(SIZE);
        *stop_at.lock().unwrap() = Some(kill_at);
        let mut child = start(&order);
        let part = home.part();
        let here = || std::fs::metadata(&part).is_ok_and(|metadata| metadata.len() == kill_at as u64);
        until(&format!("{kill_at} bytes on disk"), here).await;
        child.kill().await.unwrap();
        assert!(home.store.path_of(ID).is_err(), "half a model is not ready");
        *stop_at.lock().unwrap() = None;
        finish(start(&order)).await;
        home.assert_ready(&bytes);
        assert_eq!(
            server.starts().last(),
            Some(&kill_at),
            "it went on where it was killed"
        );
    }
}

#[tokio::test]
async fn packages_killed_on_the_way_go_on_part_by_part() {
    const PARTS: usize = 3;
    const PART: usize = 400_000;
    let mut random = Random::seeded();
    let bytes = content(61, PARTS * PART);
    let shop = tempfile::tempdir().unwrap();
    let mut manifest = manifest(&bytes);
    manifest.sources = vec![wheels(shop.path(), FILE, &bytes, PARTS)];
    let home = Home::new(manifest.clone(), package_options(shop.path()));
    let order = Order {
        folder: home.folder.path().into(),
        manifest,
        hub_url: "http://127.0.0.1:9".into(),
        pip_arguments: vec![
            "--no-index".into(),
            "--find-links".into(),
            shop.path().to_str().unwrap().into(),
        ],
    };
    let mut joined = 0;
    for part in 0..PARTS {
        // Killed at the first sign of this many bytes, by which time the parts before them are joined.
        let kill_at = part * PART + random.below(PART / 2);
        let mut child = start(&order);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let Some(event) = line.split_once("EVENT ").map(|(_, event)| event) else {
                continue;
            };
            if let PullEvent::Progress(progress) = serde_json::from_str(event).unwrap()
                && progress.bytes >= kill_at as u64
            {
                break;
            }
        }
        child.kill().await.unwrap();
        let kept =
            std::fs::metadata(home.part()).map_or(0, |metadata| usize::try_from(metadata.len()).unwrap());
        let whole = home.path(FILE).exists();
        assert!(
            whole || kept >= joined.max(part.saturating_sub(1) * PART),
            "{kept} bytes were kept, {joined} before"
        );
        joined = if whole { bytes.len() } else { kept };
    }
    // Parts that were joined are not needed any more.
    for part in 0..joined / PART {
        std::fs::remove_file(
            shop.path()
                .join(format!("hearth_test_part{part}-1.0-py3-none-any.whl")),
        )
        .unwrap();
    }
    finish(start(&order)).await;
    home.assert_ready(&bytes);
}
