//! Memory over HTTP: the same names, parameters and outputs as over the socket.

use std::sync::Arc;

use hearth_api::Client;
use hearth_api::http::{AllowedHosts, Connect, HttpLimits, HttpOptions, serve_http};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::kit::{Bench, Via};

const TOKEN: &str = "hearth-0123456789abcdef";

/// Asks and reads status and body.
async fn ask(address: &str, token: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_has_the_same_names_over_http() {
    let bench = Bench::new(Via::InProcess).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let engine = bench.engine.clone();
    let connect: Connect = Arc::new(move || {
        let client = Client::in_process(engine.clone());
        Box::pin(async move { Ok(client) })
    });
    let options = HttpOptions {
        token: TOKEN.to_owned(),
        hosts: AllowedHosts::loopback(),
        limits: HttpLimits::default(),
    };
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve_http(listener, connect, options, stop.clone()));
    let call = async |method: &str, path: &str, body: Value| {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        ask(&address, TOKEN, method, path, &body).await
    };

    assert_eq!(ask(&address, "wrong", "GET", "/memory", "").await.0, 401);
    let (status, kept) = call("POST", "/memory/add", json!({"text": "I live in Lyon"})).await;
    assert_eq!((status, &kept["memory"]["text"]), (200, &json!("I live in Lyon")));
    let id = kept["memory"]["id"].as_str().unwrap().to_owned();
    let (_, other) = call("POST", "/memory", json!({"text": "I prefer trains to planes"})).await;
    assert_eq!(other["memory"]["kind"], "preference");

    let (_, listed) = call("GET", "/memory?kind=biography&limit=5", Value::Null).await;
    assert_eq!(
        (&listed["total"], &listed["memories"][0]["id"]),
        (&json!(1), &json!(id))
    );
    let (_, listed) = call("POST", "/memory/list", json!({"limit": 1})).await;
    assert_eq!(
        (&listed["total"], listed["memories"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    let (_, shown) = call("GET", &format!("/memory/{id}"), Value::Null).await;
    assert_eq!(shown["memory"]["id"], json!(id));
    let (_, found) = call(
        "POST",
        "/recall",
        json!({"query": "Where do I live? Lyon?", "over": "facts"}),
    )
    .await;
    assert_eq!(found["hits"][0]["memory"]["id"], json!(id));
    let (_, found) = call("POST", "/memory/search", json!({"text": "trains"})).await;
    assert_eq!(found["hits"][0]["memory"]["kind"], "preference");
    let (_, edited) = call(
        "PATCH",
        &format!("/memory/{id}"),
        json!({"text": "I live in Nantes"}),
    )
    .await;
    assert_eq!(edited["text"], "I live in Nantes");
    let (status, _) = call("POST", "/memory/pin", json!({"memory": id})).await;
    assert_eq!(status, 200);
    let (_, stats) = call("GET", "/memory/stats", Value::Null).await;
    assert_eq!(
        (&stats["active"], &stats["superseded"], &stats["pinned"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let (_, bio) = call("GET", "/memory/bio", Value::Null).await;
    assert_eq!(bio["sentences"], json!([]));
    let (_, document) = call("GET", "/memory/export", Value::Null).await;
    assert_eq!(document["format"], "hearth-memories");
    for (path, paused) in [("/memory/pause", true), ("/memory/resume", false)] {
        call("POST", path, Value::Null).await;
        assert_eq!(
            call("GET", "/memory/stats", Value::Null).await.1["paused"],
            json!(paused)
        );
    }

    // What is wrong is said in the shape of the other routes, without the request's words.
    for (method, path, body, expected, wrong) in [
        ("POST", "/memory/add", json!({"text": ""}), 400, "invalid_value"),
        (
            "POST",
            "/memory/add",
            json!({"words": "x"}),
            400,
            "unknown_parameter",
        ),
        (
            "POST",
            "/memory/show",
            json!({}),
            400,
            "missing_required_parameter",
        ),
        (
            "POST",
            "/memory/show",
            json!({"memory": "secret"}),
            400,
            "invalid_type",
        ),
        ("POST", "/memory/list", json!([1]), 400, "invalid_type"),
        ("GET", "/memory?colour=red", Value::Null, 400, "unknown_parameter"),
        (
            "GET",
            "/memory/00000000000000000000000000000001",
            Value::Null,
            404,
            "not_found",
        ),
        ("GET", "/memory/nonsense", Value::Null, 404, "not_found"),
        (
            "DELETE",
            "/memory/nonsense",
            Value::Null,
            405,
            "method_not_allowed",
        ),
        ("POST", "/memory/nonsense", json!({}), 405, "method_not_allowed"),
        (
            "POST",
            "/recall",
            json!({"query": "x", "limit": 0}),
            400,
            "invalid_value",
        ),
        (
            "POST",
            "/memory/erase",
            json!({"scope": {"what": "all"}}),
            400,
            "invalid_value",
        ),
        (
            "POST",
            "/memory/import",
            json!({"source": {"from": "file", "path": "/etc/passwd"}}),
            400,
            "unsupported_parameter",
        ),
        (
            "POST",
            "/memory/import",
            json!({"source": {"from": "text", "text": "[3]"}}),
            400,
            "invalid_value",
        ),
    ] {
        let (status, answer) = call(method, path, body).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (expected, &json!(wrong)),
            "{method} {path}: {answer}"
        );
        assert!(!answer.to_string().contains("secret"), "{answer}");
    }
    let (status, _) = ask(&address, TOKEN, "POST", "/memory/add", "{not json").await;
    assert_eq!(status, 400);

    let scope = json!({"what": "items", "memories": [id]});
    let (_, preview) = call("POST", "/memory/erase_preview", json!({"scope": scope})).await;
    assert_eq!(preview["memories"].as_array().unwrap().len(), 1);
    let (_, receipt) = call("POST", "/memory/erase", json!({"scope": scope, "confirm": true})).await;
    assert_eq!(
        (&receipt["memories"], &receipt["recounted"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(call("GET", &format!("/memory/{id}"), Value::Null).await.0, 404);
    let (_, listed) = call("GET", "/memory/receipts?limit=5", Value::Null).await;
    assert_eq!((&listed["total"], &listed["receipts"][0]), (&json!(1), &receipt));
    let (_, posted) = call("POST", "/memory/receipts", json!({"offset": 1})).await;
    assert_eq!((&posted["total"], &posted["receipts"]), (&json!(1), &json!([])));
    let erasure = receipt["erasure"].as_str().unwrap();
    let (_, shown) = call("GET", &format!("/memory/receipts/{erasure}"), Value::Null).await;
    assert_eq!(
        (&shown["receipt"], &shown["erased_memories"]),
        (&receipt, &json!([id]))
    );
    let (_, posted) = call("POST", "/memory/receipt", json!({"erasure": erasure})).await;
    assert_eq!(posted, shown);
    for missing in ["nonsense", "00000000000000000000000000000001"] {
        let (status, answer) = call("GET", &format!("/memory/receipts/{missing}"), Value::Null).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (404, &json!("not_found")),
            "{answer}"
        );
    }

    stop.cancel();
    served.await.unwrap();
    bench.stop().await;
}
