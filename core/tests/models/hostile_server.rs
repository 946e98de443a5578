//! Every bad server leads either to the right bytes or to a clear failure; never to wrong bytes.

use crate::kit::{FILE, Home, ID, Reply, Request, Server, content, manifest, options, restarts, retries};
use hearth_core::models::{FailureKind, PullError};
use std::time::Duration;

const SIZE: usize = 300_000;

/// Pulls from a scripted server and expects the right file in the end; returns where each request started, and why
/// the file was started anew.
async fn check_survives(
    script: impl Fn(&Request, &[u8]) -> Reply + Send + Sync + 'static,
) -> (Vec<usize>, Vec<String>, Vec<String>) {
    let bytes = content(1, SIZE);
    let body = bytes.clone();
    let server = Server::start(move |request| script(request, &body)).await;
    let home = Home::new(manifest(&bytes), options(&server.url));
    let (result, events) = home.pull().await;
    result.unwrap();
    home.assert_ready(&bytes);
    let own = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    (server.starts(), own(restarts(&events)), own(retries(&events)))
}

/// Pulls from a scripted server and expects a failure of this kind that says this; returns the number of requests and
/// the bytes that were kept.
async fn check_fails(
    kind: FailureKind,
    says: &str,
    script: impl Fn(&Request, &[u8]) -> Reply + Send + Sync + 'static,
) -> (usize, u64) {
    let bytes = content(1, SIZE);
    let body = bytes.clone();
    let server = Server::start(move |request| script(request, &body)).await;
    let mut options = options(&server.url);
    options.retries.longest_pause = Duration::from_secs(30);
    let home = Home::new(manifest(&bytes), options);
    let (result, _) = home.pull().await;
    let error = result.unwrap_err();
    let PullError::AllSourcesFailed { failures, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].kind, kind, "{error}");
    assert!(failures[0].reason.contains(says), "{error}");
    assert!(error.to_string().contains(says));
    assert!(
        !home.path(FILE).exists() && !home.path("manifest.json").exists(),
        "nothing looks ready"
    );
    assert!(home.store.path_of(ID).is_err());
    (
        server.requests().len(),
        std::fs::metadata(home.part()).map_or(0, |metadata| metadata.len()),
    )
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_stopped() {
    let (starts, restarts, retries) = check_survives(|request, body| match request.number {
        0 => Reply::honest(request, body).cut(100_000),
        1 => Reply::honest(request, body).cut(1),
        _ => {
            assert_eq!(request.headers["if-range"], "\"one\"");
            assert_eq!(request.headers["accept-encoding"], "identity");
            Reply::honest(request, body)
        }
    })
    .await;
    assert_eq!(starts, [0, 100_000, 100_001]);
    assert!(restarts.is_empty(), "{restarts:?}");
    assert_eq!(retries.len(), 2);
}

#[tokio::test]
async fn a_silent_transfer_is_given_up_and_goes_on() {
    let bytes = content(1, SIZE);
    let body = bytes.clone();
    let server = Server::start(move |request| match request.number {
        0 => Reply::honest(request, &body).cut(5_000).stalling(),
        _ => Reply::honest(request, &body),
    })
    .await;
    let mut options = options(&server.url);
    options.read_timeout = Duration::from_millis(300);
    let home = Home::new(manifest(&bytes), options);
    let (result, events) = home.pull().await;
    result.unwrap();
    home.assert_ready(&bytes);
    assert_eq!(server.starts(), [0, 5_000]);
    assert_eq!(retries(&events), ["nothing came for 300ms"]);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let (starts, restarts, _) = check_survives(|request, body| match request.number {
        0 => Reply::whole(body).cut(50_000),
        _ => Reply::whole(body),
    })
    .await;
    assert_eq!(
        (starts, restarts),
        (
            vec![0, 50_000],
            vec!["the server sends the file from its first byte".into()]
        )
    );
}

#[tokio::test]
async fn a_server_may_send_less_than_was_asked_for() {
    let (starts, restarts, _) = check_survives(|request, body| {
        let start = request.start();
        if start == 0 {
            return Reply::honest(request, body).cut(10);
        }
        let end = (start + 60_000).min(body.len());
        let range = format!("bytes {start}-{}/{}", end - 1, body.len());
        Reply::new(
            "206 Partial Content",
            &[("Content-Range", &range)],
            &body[start..end],
        )
    })
    .await;
    assert_eq!(starts, [0, 10, 60_010, 120_010, 180_010, 240_010]);
    assert!(restarts.is_empty());
}

/// After a first transfer that breaks off, the second answer carries this range header over the right bytes.
async fn check_wrong_range(range: &'static str, says: &str) {
    let (starts, restarts, _) = check_survives(move |request, body| match request.number {
        0 => Reply::honest(request, body).cut(1_000),
        1 => Reply::new("206 Partial Content", &[("Content-Range", range)], &body[1_000..]),
        _ => Reply::honest(request, body),
    })
    .await;
    assert_eq!(starts, [0, 1_000, 0]);
    assert!(restarts.len() == 1 && restarts[0].contains(says), "{restarts:?}");
}

#[tokio::test]
async fn wrong_ranges_are_not_appended() {
    check_wrong_range("bytes 999-299999/300000", "bytes 999-299999 instead of 1000-").await;
    check_wrong_range("bytes 1001-299999/300000", "bytes 1001-299999 instead of 1000-").await;
    check_wrong_range("bytes 1000-300000/300001", "bytes 1000-300000 instead").await;
    check_wrong_range("bytes 1000-299999/300001", "another size").await;
    check_wrong_range("bytes 1000-999/300000", "instead of").await;
    check_wrong_range(
        "bytes 18446744073709551616-18446744073709551617/3",
        "unclear range",
    )
    .await;
    check_wrong_range("lines 1000-299999/300000", "unclear range").await;
    check_wrong_range("", "unclear range").await;
}

#[tokio::test]
async fn a_range_that_is_not_satisfiable_starts_anew() {
    let (starts, restarts, _) = check_survives(|request, body| match request.number {
        0 => Reply::honest(request, body).cut(1_000),
        1 => Reply::new(
            "416 Range Not Satisfiable",
            &[("Content-Range", "bytes */500")],
            b"",
        ),
        _ => Reply::honest(request, body),
    })
    .await;
    assert_eq!(
        (starts, restarts),
        (vec![0, 1_000, 0], vec!["the server has no byte 1000".into()])
    );
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_starts_anew() {
    // The server honours If-Range.
    let (starts, restarts, _) = check_survives(|request, body| match request.number {
        0 => Reply::tagged(request, &content(9, SIZE), "\"old\"").cut(1_000),
        _ => Reply::tagged(request, body, "\"new\""),
    })
    .await;
    assert_eq!((starts, restarts.len()), (vec![0, 1_000], 1));
    // It doesn't, but states the new tag.
    let (starts, restarts, _) = check_survives(|request, body| {
        if request.number == 0 {
            return Reply::tagged(request, &content(9, SIZE), "\"old\"").cut(1_000);
        }
        let mut request = request.clone();
        request.headers.remove("if-range");
        Reply::tagged(&request, body, "\"new\"")
    })
    .await;
    assert_eq!(starts, [0, 1_000, 0]);
    assert_eq!(restarts, ["the file at the server has changed"]);
    // It says nothing of use: the digest tells, and the file is fetched once more.
    let (starts, restarts, _) = check_survives(|request, body| {
        assert!(
            !request.headers.contains_key("if-range"),
            "weak tags can't be used"
        );
        match request.number {
            0 => Reply::tagged(request, &content(9, SIZE), "W/\"weak\"").cut(1_000),
            _ => Reply::tagged(request, body, "W/\"weak\""),
        }
    })
    .await;
    assert_eq!(starts, [0, 1_000, 0]);
    assert!(
        restarts.len() == 1 && restarts[0].contains("expected"),
        "{restarts:?}"
    );
}

#[tokio::test]
async fn wrong_bytes_that_always_break_off_end_too() {
    let (requests, kept) = check_fails(FailureKind::WrongContent, "has SHA-256", |request, _| {
        let reply = Reply::honest(request, &content(9, SIZE));
        if request.start() == 0 {
            reply.cut(1_000)
        } else {
            reply
        }
    })
    .await;
    assert_eq!((requests, kept), (4, 0));
}

#[tokio::test]
async fn a_file_of_another_size_is_refused() {
    let (requests, _) = check_fails(
        FailureKind::WrongContent,
        "has 300001 bytes, not 300000",
        |_, body| Reply::whole(&[body, b"x"].concat()),
    )
    .await;
    assert_eq!(requests, 1);
    check_fails(FailureKind::WrongContent, "has 299999 bytes", |_, body| {
        Reply::whole(&body[1..])
    })
    .await;
}

#[tokio::test]
async fn a_longer_file_of_unknown_length_is_refused_and_not_kept() {
    let (_, kept) = check_fails(
        FailureKind::WrongContent,
        "sends more than 300000 bytes",
        |_, body| Reply::new("200 OK", &[], &[body, b"x"].concat()),
    )
    .await;
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn a_server_that_always_cuts_at_the_same_byte_is_given_up() {
    let (requests, kept) = check_fails(FailureKind::Unreachable, "", |request, body| {
        let rest = 1_000_usize.saturating_sub(request.start());
        Reply::honest(request, body).cut(rest)
    })
    .await;
    assert_eq!(
        (requests, kept),
        (5, 1_000),
        "four attempts in a row without a byte; what came is kept"
    );
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_not_kept() {
    let (requests, kept) = check_fails(FailureKind::WrongContent, "has SHA-256", |request, body| {
        let mut body = body.to_vec();
        body[SIZE / 2] ^= 1;
        Reply::honest(request, &body)
    })
    .await;
    assert_eq!((requests, kept), (1, 0));
}

#[tokio::test]
async fn a_packed_answer_is_refused() {
    check_fails(FailureKind::WrongContent, "gzip", |_, _| {
        Reply::new("200 OK", &[("Content-Encoding", "gzip")], &[0x1f, 0x8b, 8, 0])
    })
    .await;
}

#[tokio::test]
async fn redirections_are_followed_with_their_range_but_not_in_circles() {
    let (starts, _, _) = check_survives(|request, body| match (request.number, request.path.as_str()) {
        (_, path) if path.contains("/resolve/") => {
            Reply::new("302 Found", &[("Location", "/far/away?sign=1")], b"")
        }
        (1, _) => Reply::honest(request, body).cut(7),
        _ => Reply::honest(request, body),
    })
    .await;
    assert_eq!(starts, [0, 0, 7, 7]);
    let (requests, _) = check_fails(FailureKind::WrongContent, "in circles", |_, _| {
        Reply::new("307 Temporary Redirect", &[("Location", "/again")], b"")
    })
    .await;
    assert_eq!(requests, 9);
    check_fails(FailureKind::WrongContent, "nowhere", |_, _| {
        Reply::new("301 Moved", &[], b"")
    })
    .await;
    check_fails(FailureKind::Refused, "redirects to file", |_, _| {
        Reply::new("302 Found", &[("Location", "file:///etc/passwd")], b"")
    })
    .await;
}

#[tokio::test]
async fn a_hub_that_states_another_digest_or_size_is_refused_before_any_byte() {
    let digest = "\"b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53\"";
    let (requests, _) = check_fails(FailureKind::WrongContent, "b179c952", move |request, body| {
        let headers = [("Location", "/cdn"), ("X-Linked-ETag", digest)];
        if request.number == 0 {
            Reply::new("302 Found", &headers, b"")
        } else {
            Reply::whole(body)
        }
    })
    .await;
    assert_eq!(requests, 2);
    check_fails(FailureKind::WrongContent, "has 5 bytes", |_, body| {
        Reply::new(
            "200 OK",
            &[("X-Linked-Size", "5"), ("Content-Length", "300000")],
            body,
        )
    })
    .await;
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says_so() {
    let (starts, _, retries) = check_survives(|request, body| match request.number {
        0 => Reply::new("429 Too Many Requests", &[("Retry-After", "0")], b""),
        1 | 2 => Reply::new("503 Service Unavailable", &[("Retry-After", "0")], b""),
        _ => Reply::honest(request, body),
    })
    .await;
    assert_eq!((starts.len(), retries.len()), (4, 3));
    let (requests, _) = check_fails(FailureKind::Unreachable, "asks to wait 3600 s", |_, _| {
        Reply::new("429 Too Many Requests", &[("Retry-After", "3600")], b"")
    })
    .await;
    assert_eq!(requests, 1);
    let (requests, _) = check_fails(FailureKind::Unreachable, "503", |_, _| {
        Reply::new("503 Service Unavailable", &[("Retry-After", "0")], b"")
    })
    .await;
    assert_eq!(requests, 5);
}

#[tokio::test]
async fn refusals_are_final() {
    for status in [
        "404 Not Found",
        "403 Forbidden",
        "401 Unauthorized",
        "410 Gone",
        "418 Teapot",
    ] {
        let code = &status[..3];
        let (requests, _) = check_fails(FailureKind::Refused, code, move |_, _| {
            Reply::new(status, &[], b"go away")
        })
        .await;
        assert_eq!(requests, 1, "{status}");
    }
    check_fails(FailureKind::WrongContent, "unasked", |_, body| {
        Reply::new(
            "206 Partial Content",
            &[("Content-Range", "bytes 0-299999/300000")],
            body,
        )
    })
    .await;
}

#[tokio::test]
async fn what_is_no_http_at_all_is_given_up() {
    let (requests, _) = check_fails(FailureKind::Unreachable, "", |_, _| Reply {
        bytes: b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        then: crate::kit::Then::Close,
    })
    .await;
    assert_eq!(requests, 2);
    check_fails(FailureKind::Unreachable, "", |_, _| Reply {
        bytes: Vec::new(),
        then: crate::kit::Then::Close,
    })
    .await;
}

#[tokio::test]
async fn damaged_bytes_from_an_earlier_run_cost_one_more_transfer() {
    let bytes = content(1, SIZE);
    let body = bytes.clone();
    let server = Server::start(move |request| match request.number {
        0 => Reply::honest(request, &body).cut(2_000),
        _ => Reply::honest(request, &body),
    })
    .await;
    let mut patience = options(&server.url);
    patience.retries.attempts = 1;
    let home = Home::new(manifest(&bytes), patience);
    home.pull().await.0.unwrap_err();
    assert_eq!(home.state(), "partial: 2000 bytes");
    let mut part = std::fs::read(home.part()).unwrap();
    part[77] ^= 1;
    std::fs::write(home.part(), part).unwrap();
    let (result, events) = home.pull().await;
    result.unwrap();
    home.assert_ready(&bytes);
    assert!(restarts(&events)[0].contains("expected"), "{events:?}");
    assert_eq!(server.starts().last(), Some(&0));
}
