//! The HTTP surface under abuse. No engine is needed to refuse what must be refused.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use hearth_api::http::{AllowedHosts, Connect, HttpLimits, HttpOptions, serve_http};
use hearth_api::{ApiError, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "hearth-0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(limits: HttpLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connect: Connect =
        Arc::new(|| Box::pin(async { Err(ApiError::new(ErrorCode::Disconnected, "there is no engine")) }));
    let options = HttpOptions {
        token: TOKEN.to_owned(),
        hosts: AllowedHosts::loopback(),
        limits,
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve_http(listener, connect, options, stop.clone()));
    Server { address, stop, task }
}

fn small() -> HttpLimits {
    HttpLimits {
        connections: 4,
        body_bytes: 1 << 20,
        head_patience: Duration::from_millis(300),
        body_patience: Duration::from_millis(300),
        stop_patience: Duration::from_millis(300),
        ..HttpLimits::default()
    }
}

impl Server {
    /// Sends bytes as they are and reads until the server closes or the answer is whole.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        // The server may refuse and close before everything is sent.
        let _ = stream.write_all(request).await;
        read_answer(&mut stream).await
    }

    async fn status(&self, head: &str, body: &[u8]) -> u16 {
        let request = format!(
            "{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        status(&self.raw(&[request.as_bytes(), body].concat()).await)
    }

    async fn post(&self, body: &[u8]) -> String {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }
}

async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{answer:?}"))
}

#[tokio::test]
async fn only_this_machine_with_the_token_may_ask() {
    let server = start(small()).await;
    let auth = format!("Authorization: Bearer {TOKEN}");
    for (head, code) in [
        ("GET /health HTTP/1.1\r\nHost: localhost".to_owned(), 503),
        ("GET /health HTTP/1.1\r\nHost: evil.example".to_owned(), 403),
        ("GET /v1/models HTTP/1.1\r\nHost: localhost".to_owned(), 401),
        (
            format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{auth}x"),
            401,
        ),
        (
            format!("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n{auth}"),
            403,
        ),
        (
            format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n{auth}"),
            403,
        ),
        (
            format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n{auth}"),
            400,
        ),
        (
            format!("GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n{auth}"),
            403,
        ),
        (
            format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{auth}"),
            503,
        ),
        (
            format!("GET /v1/nonsense HTTP/1.1\r\nHost: localhost\r\n{auth}"),
            404,
        ),
        (
            format!("GET /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{auth}"),
            405,
        ),
        (
            format!(
                "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n{auth}"
            ),
            403,
        ),
    ] {
        assert_eq!(server.status(&head, b"").await, code, "{head}");
    }
    let answer = server
        .raw(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.contains("\"code\":\"invalid_api_key\"") && !answer.contains(TOKEN),
        "{answer}"
    );
    assert!(
        !answer.to_lowercase().contains("access-control-allow"),
        "{answer}"
    );
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_in_openai_shape() {
    let server = start(small()).await;
    for (body, code, says) in [
        (&b"{"[..], 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"{\"model\": \"\xff\"}", 400, "UTF-8"),
        (b"[1]", 400, "must be a JSON object"),
        (b"{\"messages\": []}", 400, "missing_required_parameter"),
        (
            b"{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"nonsense\": 1}",
            400,
            "unknown_parameter",
        ),
        (
            b"{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
            503,
            "engine_unavailable",
        ),
    ] {
        let answer = server.post(body).await;
        assert_eq!(status(&answer), code, "{answer}");
        assert!(
            answer.contains(says) && answer.contains("\"error\":{\"message\""),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn bodies_too_large_are_refused_however_they_are_sent() {
    let server = start(HttpLimits {
        body_patience: PATIENCE,
        ..small()
    })
    .await;
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(status(&server.post(&large).await), 413);
    assert_eq!(
        status(&server.post(&large[1..]).await),
        400,
        "the limit itself is allowed, and isn't JSON"
    );
    let huge = format!(
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 99999999999\r\n\r\n{{"
    );
    assert_eq!(status(&server.raw(huge.as_bytes()).await), 413);
    let mut chunked = format!(
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..40 {
        chunked.extend_from_slice(b"8000\r\n");
        chunked.extend_from_slice(&large[..0x8000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(status(&server.raw(&chunked).await), 413);
}

#[tokio::test]
async fn slow_and_broken_clients_are_let_go() {
    let server = start(small()).await;
    let mut silent = TcpStream::connect(&server.address).await.unwrap();
    let mut slow = TcpStream::connect(&server.address).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    assert_eq!(read_answer(&mut silent).await, "");
    let _ = read_answer(&mut slow).await;

    let head = format!(
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{{"
    );
    assert_eq!(
        status(&server.raw(head.as_bytes()).await),
        408,
        "a body that never comes"
    );
    assert_eq!(
        status(&server.raw(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await),
        400
    );
    let long = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(1_000_000)
    );
    let answer = server.raw(long.as_bytes()).await;
    assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    assert_eq!(
        server
            .status("GET /health HTTP/1.1\r\nHost: localhost", b"")
            .await,
        503,
        "it still answers"
    );
}

#[tokio::test]
async fn too_many_connections_are_turned_away_with_a_reason() {
    let server = start(HttpLimits {
        head_patience: PATIENCE,
        ..small()
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        // An answered request shows that the connection was accepted.
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut some = [0; 16];
        timeout(PATIENCE, stream.read_exact(&mut some))
            .await
            .unwrap()
            .unwrap();
        open.push(stream);
    }
    let answer = server
        .raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert!(
        status(&answer) == 503 && answer.contains("retry-after: 2") && answer.contains("server_busy"),
        "{answer}"
    );
    drop(open);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_told_when_to_come_back() {
    let server = start(HttpLimits {
        requests: 0,
        ..small()
    })
    .await;
    let answer = server.post(b"{}").await;
    assert!(
        status(&answer) == 503 && answer.contains("retry-after: 2"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_request_has_its_place_before_its_body_is_read() {
    let server = start(HttpLimits {
        requests: 1,
        body_patience: PATIENCE,
        ..small()
    })
    .await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    );
    let mut first = TcpStream::connect(&server.address).await.unwrap();
    first.write_all(head.as_bytes()).await.unwrap();
    // The server says so when it begins to read the body.
    let mut go_on = [0; 25];
    timeout(PATIENCE, first.read_exact(&mut go_on))
        .await
        .unwrap()
        .unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    let answer = server.post(b"{}").await;
    assert!(
        status(&answer) == 503 && answer.contains("server_busy"),
        "{answer}"
    );
    first.write_all(b"{}").await.unwrap();
    assert_eq!(status(&read_answer(&mut first).await), 400);
    let answer = server.post(b"{}").await;
    assert_eq!(status(&answer), 400, "the place is free again: {answer}");
}

#[tokio::test]
async fn stopping_waits_for_nobody_for_long() {
    let server = start(HttpLimits {
        head_patience: PATIENCE,
        ..small()
    })
    .await;
    let mut idle = TcpStream::connect(&server.address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut some = [0; 16];
    timeout(PATIENCE, idle.read_exact(&mut some))
        .await
        .unwrap()
        .unwrap();
    server.stop.cancel();
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(
        TcpStream::connect(&server.address).await.is_err(),
        "the port is free again"
    );
}
