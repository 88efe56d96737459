//! Link addresses as they stand in configuration files: `udp://PEER:PORT?bind=OWN:PORT`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use thiserror::Error;

/// Where a link leads. IP addresses only: a name would have to be looked up, and the look-up would leave unmetered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// A UDP socket, bound and connected.
    Udp {
        /// Own address.
        local: SocketAddr,
        /// The only address that is sent to and received from.
        peer: SocketAddr,
    },
}

/// Why an address is not one.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AddressError {
    /// No `scheme://`.
    #[error("link address {text:?}: expected udp:// and an IP address and port")]
    NoScheme {
        /// The whole address.
        text: String,
    },
    /// A scheme that is planned.
    #[error("link address {text:?}: {scheme}:// links are not available in this version; use udp://")]
    NotYet {
        /// The whole address.
        text: String,
        /// Its scheme.
        scheme: String,
    },
    /// A scheme that means nothing.
    #[error("link address {text:?}: unknown scheme {scheme:?}; use udp://")]
    UnknownScheme {
        /// The whole address.
        text: String,
        /// Its scheme.
        scheme: String,
    },
    /// An endpoint is not an IP address and port.
    #[error(
        "link address {text:?}: {part} is {got:?}; expected an IP address and a port, such as 10.0.0.2:4000 or [fd00::2]:4000"
    )]
    Endpoint {
        /// The whole address.
        text: String,
        /// Which endpoint.
        part: &'static str,
        /// What stands there.
        got: String,
    },
    /// The peer's port is 0 or its address unspecified.
    #[error("link address {text:?}: the peer needs a port and an address of its own")]
    NoPeer {
        /// The whole address.
        text: String,
    },
    /// `bind` is missing.
    #[error("link address {text:?}: bind is missing; add ?bind=OWN:PORT")]
    NoBind {
        /// The whole address.
        text: String,
    },
    /// An option that means nothing.
    #[error("link address {text:?}: unknown option {option:?}")]
    UnknownOption {
        /// The whole address.
        text: String,
        /// The option.
        option: String,
    },
    /// Peer and bind are of different IP versions.
    #[error("link address {text:?}: peer and bind are of different IP versions")]
    MixedVersions {
        /// The whole address.
        text: String,
    },
}

impl Address {
    /// The address of a link whose two ends are named apart, each as `udp://ADDRESS:PORT`.
    ///
    /// # Errors
    /// As for the parts.
    pub fn between(local: &str, peer: &str) -> Result<Self, AddressError> {
        let text = || local.to_owned();
        let (scheme, own) = local
            .split_once("://")
            .ok_or_else(|| AddressError::NoScheme { text: text() })?;
        if scheme != "udp" {
            return Err(AddressError::UnknownScheme {
                text: text(),
                scheme: scheme.to_owned(),
            });
        }
        format!("{peer}?bind={own}").parse()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let whole = || text.to_owned();
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| AddressError::NoScheme { text: whole() })?;
        match scheme {
            "udp" => {}
            "eth" | "serial" | "unix" => {
                return Err(AddressError::NotYet {
                    text: whole(),
                    scheme: scheme.to_owned(),
                });
            }
            _ => {
                return Err(AddressError::UnknownScheme {
                    text: whole(),
                    scheme: scheme.to_owned(),
                });
            }
        }
        let endpoint = |part, got: &str| {
            got.parse::<SocketAddr>().map_err(|_| AddressError::Endpoint {
                text: whole(),
                part,
                got: got.to_owned(),
            })
        };
        let (peer, options) = rest.split_once('?').unwrap_or((rest, ""));
        let peer = endpoint("peer", peer)?;
        if peer.port() == 0 || peer.ip().is_unspecified() {
            return Err(AddressError::NoPeer { text: whole() });
        }
        let mut local = None;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("bind", own)) if local.is_none() => local = Some(endpoint("bind", own)?),
                _ => {
                    return Err(AddressError::UnknownOption {
                        text: whole(),
                        option: option.to_owned(),
                    });
                }
            }
        }
        let local = local.ok_or_else(|| AddressError::NoBind { text: whole() })?;
        if local.is_ipv4() != peer.is_ipv4() {
            return Err(AddressError::MixedVersions { text: whole() });
        }
        Ok(Self::Udp { local, peer })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Udp { local, peer } = self;
        write!(f, "udp://{peer}?bind={local}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_round_trip() {
        for text in [
            "udp://10.0.0.2:4000?bind=10.0.0.1:4001",
            "udp://[fd00::2]:4000?bind=[fd00::1]:0",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn two_ends_make_one_address() {
        let both = Address::between("udp://10.0.0.1:4001", "udp://10.0.0.2:4000").unwrap();
        assert_eq!(both.to_string(), "udp://10.0.0.2:4000?bind=10.0.0.1:4001");
        for (local, peer) in [
            ("10.0.0.1:4001", "udp://10.0.0.2:4000"),
            ("tcp://10.0.0.1:4001", "udp://10.0.0.2:4000"),
            ("udp://10.0.0.1:4001", "10.0.0.2:4000"),
            ("udp://10.0.0.1", "udp://10.0.0.2:4000"),
        ] {
            assert!(Address::between(local, peer).is_err(), "{local} {peer}");
        }
    }

    #[test]
    fn errors_name_the_culprit() {
        let cases = [
            ("10.0.0.2:4000", "expected udp://"),
            ("eth://eth0/02:00:00:00:00:01", "eth:// links are not available"),
            (
                "serial:///dev/ttyS0?baud=115200",
                "serial:// links are not available",
            ),
            ("unix:///run/weir", "unix:// links are not available"),
            ("http://10.0.0.2:4000", "unknown scheme \"http\""),
            ("udp://outer:4000?bind=10.0.0.1:4000", "peer is \"outer:4000\""),
            ("udp://10.0.0.2?bind=10.0.0.1:4000", "peer is \"10.0.0.2\""),
            ("udp://10.0.0.2:0?bind=10.0.0.1:4000", "the peer needs a port"),
            ("udp://0.0.0.0:4000?bind=10.0.0.1:4000", "the peer needs a port"),
            ("udp://10.0.0.2:4000", "bind is missing"),
            ("udp://10.0.0.2:4000?bind=me:1", "bind is \"me:1\""),
            ("udp://10.0.0.2:4000?bind=[::1]:1", "different IP versions"),
            (
                "udp://10.0.0.2:4000?bind=10.0.0.1:1&mtu=9",
                "unknown option \"mtu=9\"",
            ),
        ];
        for (text, says) in cases {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(text), "{error}");
        }
    }
}
