//! How an operator tells a person which server to use.

use std::fmt;
use std::str::FromStr;

use hearth_protocol::base32;
use hearth_protocol::id::VerifyKey;
use hearth_protocol::limits::MAX_TEXT_BYTES;

/// The port of sync servers unless said otherwise.
pub const DEFAULT_PORT: u16 = 4433;

const SCHEME: &str = "hearth-sync://";

/// Where a server is: `host` or `host:port`, IPv6 addresses in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// The UDP port.
    pub port: u16,
}

/// Where a server is, and the key by which it proves itself.
///
/// As text `hearth-sync://host:port/#KEY`, the key in Crockford's base 32. The key stands behind `#`, so nothing that
/// takes the text for an address sends it anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// Where.
    pub endpoint: Endpoint,
    /// Who.
    pub key: VerifyKey,
}

/// Why a text isn't a server's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not the scheme.
    #[error("a server's address begins with hearth-sync://")]
    Scheme,
    /// No host, or one with characters that no host has.
    #[error("this is not a host name or address")]
    Host,
    /// Not a port.
    #[error("this is not a port: 1 to 65535")]
    Port,
    /// No key, or not the digits of one.
    #[error("the server's key behind # is missing or mistyped: 52 digits")]
    Key,
    /// Longer than the protocol can say.
    #[error("longer than 255 bytes")]
    TooLong,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(AddressError::TooLong);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(AddressError::Host)?;
                host.parse::<std::net::Ipv6Addr>()
                    .map_err(|_| AddressError::Host)?;
                (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")))
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, Some("")),
            },
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(allowed) {
            return Err(AddressError::Host);
        }
        let port = match port.ok_or(AddressError::Port)? {
            "" if !text.ends_with(':') => DEFAULT_PORT,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(AddressError::Port)?,
            _ => return Err(AddressError::Port),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{SCHEME}{}/#{}",
            self.endpoint,
            base32::encode(&self.key.0)
        )
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.len() > 2 * MAX_TEXT_BYTES {
            return Err(AddressError::TooLong);
        }
        let rest = match text.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
            _ => return Err(AddressError::Scheme),
        };
        let (endpoint, key) = rest.split_once('#').ok_or(AddressError::Key)?;
        let endpoint = endpoint.strip_suffix('/').unwrap_or(endpoint).parse()?;
        let key = base32::decode(key).map_err(|_| AddressError::Key)?;
        let key = key.try_into().map_err(|_| AddressError::Key)?;
        Ok(Self {
            endpoint,
            key: VerifyKey(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_as_it_was_written() {
        for (endpoint, written) in [
            ("sync.example", "sync.example:4433"),
            ("10.0.0.1:99", "10.0.0.1:99"),
            ("[::1]:99", "[::1]:99"),
            ("[2001:db8::1]", "[2001:db8::1]:4433"),
        ] {
            let address = ServerAddress {
                endpoint: endpoint.parse().unwrap(),
                key: VerifyKey([0xa7; 32]),
            };
            assert_eq!(address.endpoint.to_string(), written);
            let text = address.to_string();
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
            assert_eq!(text.to_lowercase().parse(), Ok(address), "typed in lower case");
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_a_reason() {
        let key = base32::encode(&[7; 32]);
        for (text, reason) in [
            ("https://host/".to_owned(), AddressError::Scheme),
            ("hearth-sync://host:4433/".to_owned(), AddressError::Key),
            (
                format!("hearth-sync://host:4433/#{}", &key[1..]),
                AddressError::Key,
            ),
            (format!("hearth-sync://:4433/#{key}"), AddressError::Host),
            (format!("hearth-sync://ho st/#{key}"), AddressError::Host),
            (format!("hearth-sync://host:/#{key}"), AddressError::Port),
            (format!("hearth-sync://host:0/#{key}"), AddressError::Port),
            (format!("hearth-sync://host:65536/#{key}"), AddressError::Port),
            (format!("hearth-sync://host:+80/#{key}"), AddressError::Port),
            (format!("hearth-sync://[::1/#{key}"), AddressError::Host),
            (format!("hearth-sync://[::1]80/#{key}"), AddressError::Port),
            (
                format!("hearth-sync://{}/#{key}", "a".repeat(256)),
                AddressError::TooLong,
            ),
        ] {
            assert_eq!(text.parse::<ServerAddress>(), Err(reason), "{text}");
        }
    }
}
