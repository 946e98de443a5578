//! Transfers over HTTP that survive bad servers: broken off, resumed, contradictory, too long, too slow.

use super::Stop;
use super::partial::{Origin, Partial};
use super::progress::Reporter;
use crate::models::digest::Sha256Hex;
use crate::models::error::ModelError;
use crate::models::events::PullPhase;
use crate::models::store::StoreOptions;
use futures::StreamExt;
use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Response, StatusCode, Url};
use std::error::Error;
use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest chain of redirections to follow.
const MAX_REDIRECTS: usize = 8;
/// Restarts from the first byte before a server counts as hopeless.
const MAX_RESTARTS: u32 = 3;
/// Attempts for a server that has given no byte yet: another source may be at hand.
const ATTEMPTS_WITHOUT_A_BYTE: u32 = 2;
/// Attempts altogether, against servers that give one byte at a time.
const MAX_ATTEMPTS: u32 = 1_000;
/// Largest JSON answer.
const MAX_JSON_BYTES: usize = 8 << 20;

/// How a broken transfer is taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Attempts in a row that brought no byte before the source is given up.
    pub attempts: u32,
    /// First pause; it doubles with each attempt.
    pub first_pause: Duration,
    /// Longest pause. A server that asks for a longer one is given up.
    pub longest_pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_mins(1),
        }
    }
}

/// A client with the store's patience.
pub(crate) struct Http {
    client: Client,
    read_timeout: Duration,
    retries: Retries,
}

/// How one attempt failed.
enum Attempt {
    /// It broke off; another attempt goes on from there. The server may have asked for a pause.
    Broken(String, Option<Duration>),
    /// No connection came about at all.
    NoConnection(String),
    /// What is here can't be continued.
    Restart(String),
    /// Nothing more to be had from here.
    Stop(Stop),
}

impl From<Stop> for Attempt {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<ModelError> for Attempt {
    fn from(error: ModelError) -> Self {
        Self::Stop(error.into())
    }
}

impl Http {
    /// A client for addresses below `base`: over HTTPS only if that is HTTPS.
    pub(crate) fn new(options: &StoreOptions, base: &Url) -> Result<Self, Stop> {
        // An error means that the process has chosen a provider already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = Client::builder()
            .user_agent(concat!("hearth/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            .https_only(base.scheme() == "https")
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(base) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| Stop::unreachable(explain(&error)))?;
        Ok(Self {
            client,
            read_timeout: options.read_timeout,
            retries: options.retries,
        })
    }

    /// Fetches the rest of a file. `Ok`: it has the wanted size; its digest is the caller's to compare.
    pub(crate) async fn fetch(
        &self,
        url: &Url,
        partial: &mut Partial,
        report: &mut Reporter<'_>,
    ) -> Result<(), Stop> {
        let (mut fruitless, mut restarts, mut any_byte) = (0, 0, false);
        for _ in 0..MAX_ATTEMPTS {
            if partial.is_whole() {
                return Ok(());
            }
            let before = partial.len();
            let result = self.attempt(url, partial, report).await;
            partial.flush().await?;
            if partial.len() > before {
                (fruitless, any_byte) = (0, true);
            }
            let (reason, asked) = match result {
                Ok(()) => continue,
                Err(Attempt::Stop(stop)) => return Err(stop),
                Err(Attempt::NoConnection(reason)) if !any_byte => return Err(Stop::unreachable(reason)),
                Err(Attempt::Restart(reason)) => {
                    restarts += 1;
                    if restarts > MAX_RESTARTS {
                        return Err(Stop::wrong_content(reason));
                    }
                    report.restarted(&reason);
                    partial.restart().await?;
                    continue;
                }
                Err(Attempt::NoConnection(reason)) => (reason, None),
                Err(Attempt::Broken(reason, asked)) => (reason, asked),
            };
            fruitless += 1;
            let patience = if any_byte || asked.is_some() {
                self.retries.attempts
            } else {
                ATTEMPTS_WITHOUT_A_BYTE
            };
            if fruitless >= patience.min(self.retries.attempts) {
                return Err(Stop::unreachable(reason));
            }
            self.pause(fruitless, asked, &reason, report).await?;
        }
        Err(Stop::unreachable("the transfer broke off too often"))
    }

    /// Asks for a small JSON document.
    pub(crate) async fn json(
        &self,
        url: &Url,
        report: &mut Reporter<'_>,
    ) -> Result<Option<serde_json::Value>, Stop> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (reason, asked) = match self.try_json(url, report.cancel()).await {
                Ok(value) => return Ok(value),
                Err(Attempt::Stop(stop)) => return Err(stop),
                Err(Attempt::NoConnection(reason) | Attempt::Restart(reason)) => {
                    return Err(Stop::unreachable(reason));
                }
                Err(Attempt::Broken(reason, asked)) => (reason, asked),
            };
            let patience = if asked.is_some() {
                self.retries.attempts
            } else {
                ATTEMPTS_WITHOUT_A_BYTE
            };
            if tries >= patience.min(self.retries.attempts) {
                return Err(Stop::unreachable(reason));
            }
            self.pause(tries, asked, &reason, report).await?;
        }
    }

    async fn try_json(
        &self,
        url: &Url,
        cancel: &CancellationToken,
    ) -> Result<Option<serde_json::Value>, Attempt> {
        let (response, _) = self.get(url, HeaderMap::new(), cancel).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(refusal(&response)),
        }
        let mut body = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = self.patiently(cancel, stream.next()).await? {
            body.extend_from_slice(&chunk.map_err(|error| Attempt::Broken(explain(&error), None))?);
            if body.len() > MAX_JSON_BYTES {
                return Err(Stop::wrong_content("the answer is absurdly large").into());
            }
        }
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| Stop::wrong_content(format!("the answer is no JSON: {error}")).into())
    }

    async fn attempt(
        &self,
        url: &Url,
        partial: &mut Partial,
        report: &mut Reporter<'_>,
    ) -> Result<(), Attempt> {
        let start = partial.len();
        let known_tag = partial.etag_of(url.as_str()).map(str::to_owned);
        let mut headers = HeaderMap::new();
        // A digest of the file's own bytes is wanted, not of some packed form.
        headers.insert(
            header::ACCEPT_ENCODING,
            header::HeaderValue::from_static("identity"),
        );
        if start > 0 {
            insert(&mut headers, header::RANGE, &format!("bytes={start}-"));
            if let Some(tag) = known_tag.as_deref().filter(|tag| !tag.starts_with("W/")) {
                insert(&mut headers, header::IF_RANGE, tag);
            }
        }
        let (response, linked) = self.get(url, headers, report.cancel()).await?;
        check_linked(&linked, partial)?;
        let tag = text(response.headers(), &header::ETAG).map(str::to_owned);
        let size = partial.wanted().size;
        if let Some(encoding) =
            text(response.headers(), &header::CONTENT_ENCODING).filter(|name| *name != "identity")
        {
            return Err(Stop::wrong_content(format!(
                "the server packs the file ({encoding}) although told not to"
            ))
            .into());
        }
        match response.status() {
            StatusCode::PARTIAL_CONTENT if start > 0 => {
                check_range(&response, start, size, known_tag, tag.as_ref())?;
                partial.mark_continued();
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(Stop::wrong_content("the server sends a part of the file unasked").into());
            }
            StatusCode::OK => {
                if let Some(length) = response.content_length().filter(|length| *length != size) {
                    return Err(Stop::wrong_content(format!(
                        "the server's file has {length} bytes, not {size}"
                    ))
                    .into());
                }
                if start > 0 {
                    report.restarted("the server sends the file from its first byte");
                    partial.restart().await?;
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                return Err(Attempt::Restart(format!("the server has no byte {start}")));
            }
            _ => return Err(refusal(&response)),
        }
        partial.set_origin(tag.map(|etag| Origin {
            url: url.to_string(),
            etag,
        }))?;
        self.receive(response, partial, report).await
    }

    async fn receive(
        &self,
        response: Response,
        partial: &mut Partial,
        report: &mut Reporter<'_>,
    ) -> Result<(), Attempt> {
        let wanted = partial.wanted().clone();
        let mut stream = response.bytes_stream();
        loop {
            let Some(chunk) = self.patiently(report.cancel(), stream.next()).await? else {
                if partial.is_whole() {
                    return Ok(());
                }
                let reason = format!("the transfer ended at byte {} of {}", partial.len(), wanted.size);
                return Err(Attempt::Broken(reason, None));
            };
            let chunk = chunk.map_err(|error| Attempt::Broken(explain(&error), None))?;
            if partial.len() + chunk.len() as u64 > wanted.size {
                partial.restart().await?;
                return Err(
                    Stop::wrong_content(format!("the server sends more than {} bytes", wanted.size)).into(),
                );
            }
            partial.append(&chunk).await?;
            report.at(&wanted.name, PullPhase::Downloading, partial.len());
        }
    }

    /// Sends a request and follows redirections, never from HTTPS to HTTP. Also returns the first answer's headers:
    /// a hub states the file's digest there.
    async fn get(
        &self,
        url: &Url,
        headers: HeaderMap,
        cancel: &CancellationToken,
    ) -> Result<(Response, HeaderMap), Attempt> {
        let mut target = url.clone();
        let mut first = None;
        for _ in 0..=MAX_REDIRECTS {
            let request = self.client.get(target.clone()).headers(headers.clone()).send();
            let response = self.patiently(cancel, request).await?.map_err(|error| {
                if error.is_connect() {
                    Attempt::NoConnection(explain(&error))
                } else if error.is_builder() || error.is_redirect() {
                    Attempt::Stop(Stop::refused(explain(&error)))
                } else {
                    Attempt::Broken(explain(&error), None)
                }
            })?;
            let first = first.get_or_insert_with(|| response.headers().clone());
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, std::mem::take(first)));
            }
            let location = text(response.headers(), &header::LOCATION)
                .and_then(|location| target.join(location).ok())
                .ok_or_else(|| Stop::wrong_content("the server redirects to nowhere"))?;
            let plainer = target.scheme() == "https" && location.scheme() != "https";
            if plainer || !matches!(location.scheme(), "http" | "https") {
                return Err(Stop::refused(format!(
                    "the server redirects to {}: not followed",
                    location.scheme()
                ))
                .into());
            }
            target = location;
        }
        Err(Stop::wrong_content("the server redirects in circles").into())
    }

    /// Waits for the other side, but not for ever, and not when told to stop.
    async fn patiently<T>(
        &self,
        cancel: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Result<T, Attempt> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ModelError::Cancelled.into()),
            done = tokio::time::timeout(self.read_timeout, work) => done.map_err(|_| {
                Attempt::Broken(format!("nothing came for {:?}", self.read_timeout), None)
            }),
        }
    }

    async fn pause(
        &self,
        attempt: u32,
        asked: Option<Duration>,
        reason: &str,
        report: &mut Reporter<'_>,
    ) -> Result<(), Stop> {
        let own = self
            .retries
            .first_pause
            .saturating_mul(1 << (attempt - 1).min(10))
            .min(self.retries.longest_pause);
        let pause = own.max(asked.unwrap_or_default());
        if pause > self.retries.longest_pause {
            return Err(Stop::unreachable(format!(
                "{reason}; it asks to wait {} s",
                pause.as_secs()
            )));
        }
        report.retrying(reason, pause);
        tokio::select! {
            biased;
            () = report.cancel().clone().cancelled_owned() => Err(ModelError::Cancelled.into()),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }
}

/// A 206 must continue exactly where the file here ends, in the same version of the file.
fn check_range(
    response: &Response,
    start: u64,
    size: u64,
    known_tag: Option<String>,
    tag: Option<&String>,
) -> Result<(), Attempt> {
    let stated = text(response.headers(), &header::CONTENT_RANGE).unwrap_or("");
    let Some((first, last, total)) = parse_content_range(stated) else {
        return Err(Attempt::Restart(format!(
            "the server answers with an unclear range ({stated:?})"
        )));
    };
    if first != start || last >= size || last < first {
        return Err(Attempt::Restart(format!(
            "the server answers with bytes {first}-{last} instead of {start}-"
        )));
    }
    if total.is_some_and(|total| total != size) {
        return Err(Attempt::Restart(format!(
            "the file at the server has another size now ({stated:?})"
        )));
    }
    if known_tag.is_some_and(|known| tag.is_some_and(|tag| *tag != known)) {
        return Err(Attempt::Restart("the file at the server has changed".into()));
    }
    Ok(())
}

/// The hub states a large file's digest and size in the headers of its redirection.
fn check_linked(headers: &HeaderMap, partial: &Partial) -> Result<(), Stop> {
    let value = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.trim_matches('"'))
    };
    let wanted = partial.wanted();
    if let Some(stated) = value("x-linked-etag").and_then(|tag| tag.parse::<Sha256Hex>().ok())
        && stated != wanted.sha256
    {
        return Err(Stop::wrong_content(format!(
            "the hub has another {}: SHA-256 {stated}",
            wanted.name
        )));
    }
    if let Some(stated) = value("x-linked-size").and_then(|size| size.parse::<u64>().ok())
        && stated != wanted.size
    {
        return Err(Stop::wrong_content(format!(
            "the hub's {} has {stated} bytes, not {}",
            wanted.name, wanted.size
        )));
    }
    Ok(())
}

/// `bytes first-last/total`, where the total may be `*`. RFC 9110, section 14.4.
fn parse_content_range(stated: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = stated.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" {
        None
    } else {
        Some(total.parse().ok()?)
    };
    Some((first.parse().ok()?, last.parse().ok()?, total))
}

fn refusal(response: &Response) -> Attempt {
    let status = response.status();
    let reason = format!("the server answers {status}");
    match status.as_u16() {
        408 | 429 | 500 | 502 | 503 | 504 => {
            // A date instead of seconds is not worth a clock: the usual pause does.
            let asked =
                text(response.headers(), &header::RETRY_AFTER).and_then(|value| value.trim().parse().ok());
            Attempt::Broken(reason, asked.map(Duration::from_secs))
        }
        _ => Stop::refused(reason).into(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = header::HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// What went wrong and its innermost cause, in one line that a person can read.
fn explain(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_body() || error.is_decode() {
        "the transfer broke off"
    } else {
        "the request failed"
    };
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    format!("{kind} ({cause})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, 9, None)));
        for wrong in [
            "",
            "bytes */10",
            "bytes 5-9",
            "bytes=5-9/10",
            "bytes -9/10",
            "items 5-9/10",
            "bytes 5-x/10",
        ] {
            assert_eq!(parse_content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for (url, expected) in [
            ("http://127.0.0.1:8/", true),
            ("http://localhost/", true),
            ("http://[::1]:8/", true),
            ("https://models.example/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
