//! Who may talk to the server: the Host, Origin and Authorization headers.
//!
//! A web page that the user visits can make its browser send requests to a loopback address, and with DNS rebinding
//! even under a name of its own. So requests must name this machine in `Host`, must not come from a foreign page
//! (`Origin`), and everything but `/health` must carry the bearer token.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use subtle::ConstantTimeEq;

use super::error::HttpError;

/// Names under which the server may be addressed.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts {
    remote: bool,
    names: Vec<String>,
}

impl AllowedHosts {
    /// Only `localhost`, `127.0.0.0/8` and `::1`, on any port.
    pub fn loopback() -> Self {
        Self::default()
    }

    /// Loopback names, any address literal, and the given host names (compared without case).
    ///
    /// Rebinding needs a name, so address literals are safe once remote access was asked for.
    pub fn remote(names: impl IntoIterator<Item = String>) -> Self {
        Self {
            remote: true,
            names: names.into_iter().map(|name| name.to_ascii_lowercase()).collect(),
        }
    }

    fn allows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        if host == "localhost" || self.names.contains(&host) {
            return true;
        }
        let literal = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(&host);
        literal
            .parse::<IpAddr>()
            .is_ok_and(|address| self.remote || address.is_loopback())
    }
}

/// Checks that the request addresses this machine by an allowed name and comes from no foreign web page.
pub(super) fn check_origin(headers: &HeaderMap, uri: &Uri, hosts: &AllowedHosts) -> Result<(), HttpError> {
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err(HttpError::invalid("The request has more than one Host header."));
    }
    let named = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .map(without_port);
    let absolute = uri.authority().map(|authority| without_port(authority.as_str()));
    let allowed = |host: Option<&str>| host.is_none_or(|host| hosts.allows(host));
    if (named.is_none() && absolute.is_none()) || !allowed(named) || !allowed(absolute) {
        return Err(HttpError::forbidden(
            "The Host header doesn't name this machine. Use localhost or 127.0.0.1; for access from other machines start `hearth serve` with --allow-remote.",
        ));
    }
    match headers.get(header::ORIGIN) {
        Some(origin) if !origin_allowed(origin, hosts) => Err(HttpError::forbidden(
            "Requests from web pages of other sites are refused (Origin header).",
        )),
        _ => Ok(()),
    }
}

/// Compares the bearer token in constant time.
pub(super) fn check_token(headers: &HeaderMap, token: &str) -> Result<(), HttpError> {
    let hint = "The token is in the file `http-token` in Hearth's home folder; `hearth serve` prints where.";
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return Err(HttpError::unauthorized(format!(
            "This server needs its token: send `Authorization: Bearer …` (the API key of your client). {hint}"
        )));
    };
    let given = given.as_bytes();
    let (scheme, value) = given.split_at(given.len().min(7));
    let right =
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(value.trim_ascii().ct_eq(token.as_bytes()));
    if right {
        Ok(())
    } else {
        Err(HttpError::unauthorized(format!("The token is wrong. {hint}")))
    }
}

fn origin_allowed(origin: &HeaderValue, hosts: &AllowedHosts) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let rest = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|host| hosts.allows(without_port(host)))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => {
            if name.contains(':') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>, hosts: &AllowedHosts) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        check_origin(&headers, &Uri::from_static("/health"), hosts).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        let hosts = AllowedHosts::loopback();
        for good in [
            "localhost",
            "LOCALHOST:4321",
            "127.0.0.1:80",
            "127.3.2.1",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(check(good, None, &hosts), "{good}");
        }
        let evil =
            "evil.example localhost.evil.example 127.0.0.1.evil.example:80 192.168.1.5 [::2]:80 0.0.0.0";
        for bad in evil.split(' ').chain([
            "",
            "localhost:80:80",
            "localhost@evil.example",
            "[::1",
            "127.0.0.1:80x",
        ]) {
            assert!(!check(bad, None, &hosts), "{bad}");
        }
    }

    #[test]
    fn remote_access_allows_addresses_and_chosen_names_only() {
        let hosts = AllowedHosts::remote(["Den.lan".to_owned()]);
        assert!(check("192.168.1.5:80", None, &hosts) && check("den.LAN:80", None, &hosts));
        assert!(!check("evil.example", None, &hosts));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let hosts = AllowedHosts::loopback();
        assert!(check("localhost", Some("http://localhost:5173"), &hosts));
        for bad in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "file://",
            "http://",
        ] {
            assert!(!check("localhost", Some(bad), &hosts), "{bad}");
        }
    }

    #[test]
    fn an_absolute_address_must_name_this_machine_too() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        let uri = Uri::from_static("http://evil.example/v1/models");
        assert!(check_origin(&headers, &uri, &AllowedHosts::loopback()).is_err());
        assert!(
            check_origin(
                &HeaderMap::new(),
                &Uri::from_static("/"),
                &AllowedHosts::loopback()
            )
            .is_err()
        );
    }

    #[test]
    fn only_the_exact_token_opens() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            check_token(&headers, "abc123").is_ok()
        };
        assert!(with("Bearer abc123") && with("bearer abc123"));
        for bad in [
            "Bearer abc12",
            "Bearer abc1234",
            "Bearer ",
            "Bearer",
            "Basic abc123",
            "abc123",
            "",
            "Béarer abc123",
        ] {
            assert!(!with(bad), "{bad}");
        }
        assert!(check_token(&HeaderMap::new(), "abc123").is_err());
    }
}
