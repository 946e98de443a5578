//! What only a socket can carry: garbage, half lines, hang-ups.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use hearth_api::methods::Empty;
use hearth_api::methods::chat::{Send, SendParams};
use hearth_api::methods::engine::{GetStatus, Shutdown};
use hearth_api::{Client, METHOD_NAMES, ServeOptions, socket_path};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::kit::{Bench, Via, is_token, serve, until};

struct Raw(BufReader<UnixStream>);

impl Raw {
    async fn to(bench: &Bench) -> Self {
        Self(BufReader::new(
            UnixStream::connect(socket_path(bench.engine.home()))
                .await
                .unwrap(),
        ))
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, bytes: &[u8]) -> Value {
        self.say(bytes).await;
        self.hear().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_answered_and_harms_nobody() {
    let bench = Bench::new(Via::InProcess).await;
    let served = serve(
        &bench.engine,
        ServeOptions {
            max_line_bytes: 1000,
            ..ServeOptions::default()
        },
    )
    .await;
    let mut raw = Raw::to(&bench).await;
    let mut check = async |bytes: &[u8], code: &str, id: Value| {
        let answer = raw.ask(bytes).await;
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!(code), &id),
            "{answer}"
        );
    };
    check(b"hello\n", "invalid_request", Value::Null).await;
    check(b"\xff\xfe{\"id\":1}\n", "invalid_request", Value::Null).await;
    check(
        b"{\"id\":1,\"method\":\"status\",\"colour\":1}\n",
        "invalid_request",
        Value::Null,
    )
    .await;
    check(b"{\"id\":1}\n", "invalid_request", json!(1)).await;
    check(
        b"{\"id\":-1,\"method\":\"status\"}\n",
        "invalid_request",
        Value::Null,
    )
    .await;
    check(
        &[b"{\"id\":2,\"method\":\"".as_slice(), &[b'x'; 2000], b"\"}\n"].concat(),
        "too_large",
        Value::Null,
    )
    .await;
    check(b"{\"id\":3,\"method\":\"nothing\"}\n", "unknown_method", json!(3)).await;
    check(
        b"{\"id\":4,\"method\":\"chat.send\",\"params\":{\"text\":\"x\",\"loud\":true}}\n",
        "invalid_request",
        json!(4),
    )
    .await;
    check(
        b"{\"id\":5,\"method\":\"chats.show\",\"params\":{\"chat\":\"zz\"}}\n",
        "invalid_request",
        json!(5),
    )
    .await;
    check(
        b"{\"id\":6,\"method\":\"chat.send\",\"params\":[]}\n",
        "invalid_request",
        json!(6),
    )
    .await;
    raw.say(b"\n  \n{\"cancel\":99}\n").await;
    let answer = raw.ask(b"{\"id\":7,\"method\":\"status\"}\n").await;
    assert_eq!(
        (&answer["id"], &answer["result"]["pid"]),
        (&json!(7), &json!(std::process::id()))
    );
    // A line cut off by a hang-up.
    let mut other = Raw::to(&bench).await;
    other.say(b"{\"id\":1,\"meth").await;
    drop(other);
    assert_eq!(
        raw.ask(b"{\"id\":8,\"method\":\"settings.get\"}\n").await["id"],
        json!(8)
    );
    bench.engine.request_stop();
    served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_is_served_and_refuses_fields_it_does_not_know() {
    let bench = Bench::new(Via::Socket).await;
    let mut raw = Raw::to(&bench).await;
    for (id, name) in METHOD_NAMES.iter().enumerate() {
        let line = json!({"id": id, "method": name, "params": {"no_such_field": 1}});
        let answer = raw.ask(format!("{line}\n").as_bytes()).await;
        assert_eq!(answer["error"]["code"], "invalid_request", "{name}: {answer}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_in_use_is_refused_and_cancel_ends_it() {
    let bench = Bench::new(Via::Socket).await;
    let mut raw = Raw::to(&bench).await;
    raw.say(b"{\"id\":1,\"method\":\"chat.send\",\"params\":{\"text\":\"count\"}}\n")
        .await;
    while raw.hear().await["event"]["type"] != "token" {}
    raw.say(b"{\"id\":1,\"method\":\"status\"}\n").await;
    while raw.hear().await["error"]["code"] != "invalid_request" {}
    raw.say(b"{\"cancel\":1}\n").await;
    let result = loop {
        let line = raw.hear().await;
        if let Some(result) = line.get("result") {
            break result.clone();
        }
    };
    assert_eq!(result["message"]["status"], "stopped");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_or_never_reads_stops_no_one_else() {
    let bench = Bench::new(Via::Socket).await;
    let mut raw = Raw::to(&bench).await;
    raw.say(b"{\"id\":1,\"method\":\"chat.send\",\"params\":{\"text\":\"count\"}}\n")
        .await;
    while raw.hear().await["event"]["type"] != "token" {}
    let mut silent = Raw::to(&bench).await;
    silent
        .say(b"{\"id\":1,\"method\":\"chat.send\",\"params\":{\"text\":\"count\"}}\n")
        .await;
    drop(raw);
    bench
        .fake
        .cancelled
        .subscribe()
        .wait_for(|count| *count == 1)
        .await
        .unwrap();
    assert_eq!(bench.say(None, "still here").await.unwrap().text, "still here");
    // The silent one has not read a byte: the engine ends all the same.
    let started = std::time::Instant::now();
    bench.stop().await;
    assert!(started.elapsed() < Duration::from_secs(10));
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_are_served() {
    let bench = Bench::new(Via::Socket).await;
    let home = bench.engine.home().to_owned();
    let clients = (0..100).map(|n| {
        let home = home.clone();
        tokio::spawn(async move {
            let client = Client::attach(&home).await.unwrap();
            let params = SendParams {
                text: format!("number {n}"),
                ..SendParams::default()
            };
            client.call::<Send>(params).await.unwrap().message.text
        })
    });
    for (n, client) in clients.enumerate().collect::<Vec<_>>() {
        assert_eq!(client.await.unwrap(), format!("number {n}"));
    }
    assert_eq!(*bench.fake.loads.lock().unwrap(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_client_stops_its_answers() {
    let bench = Bench::new(Via::Socket).await;
    let other = Client::attach(bench.engine.home()).await.unwrap();
    let mut counting = other.stream::<Send>(SendParams {
        text: "count".into(),
        ..SendParams::default()
    });
    until(&mut counting, is_token).await;
    drop((other, counting));
    bench
        .fake
        .cancelled
        .subscribe()
        .wait_for(|count| *count == 1)
        .await
        .unwrap();
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_finishes_answers_tells_their_clients_and_removes_the_socket() {
    let mut bench = Bench::new(Via::Socket).await;
    let path = socket_path(bench.engine.home());
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mut counting = bench.client.stream::<Send>(SendParams {
        text: "count".into(),
        ..SendParams::default()
    });
    until(&mut counting, is_token).await;
    let other = Client::attach(bench.engine.home()).await.unwrap();
    other.call::<Shutdown>(Empty {}).await.unwrap();
    let message = counting.output().await.unwrap().message;
    assert_eq!(message.status, hearth_api::types::MessageStatus::Stopped);
    bench.served.take().unwrap().await.unwrap().unwrap();
    assert!(!path.exists());
    assert!(bench.client.call::<GetStatus>(Empty {}).await.is_err());
    assert!(Client::attach(bench.engine.home()).await.is_none());
}
