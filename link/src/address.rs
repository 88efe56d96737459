//! Link addresses as they stand in configuration files: `udp://PEER:PORT?bind=OWN:PORT`, `unix:///PEER?bind=/OWN`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Where a link leads. IP addresses only: a name would have to be looked up, and the look-up would leave unmetered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// A UDP socket, bound and connected.
    Udp {
        /// Own address.
        local: SocketAddr,
        /// The only address that is sent to and received from.
        peer: SocketAddr,
    },
    /// A datagram socket in the file system.
    Unix {
        /// Own path.
        local: PathBuf,
        /// The only path that is sent to and received from.
        peer: PathBuf,
    },
}

/// Why an address is not one.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AddressError {
    /// No `scheme://`.
    #[error("link address {text:?}: expected udp:// and an IP address and port, or unix:// and a path")]
    NoScheme {
        /// The whole address.
        text: String,
    },
    /// A scheme that is planned.
    #[error(
        "link address {text:?}: {scheme}:// links are not available in this version; use udp:// or unix://"
    )]
    NotYet {
        /// The whole address.
        text: String,
        /// Its scheme.
        scheme: String,
    },
    /// A scheme that means nothing.
    #[error("link address {text:?}: unknown scheme {scheme:?}; use udp:// or unix://")]
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
    /// A path that is none.
    #[error(
        "link address {text:?}: {part} is {got:?}; expected a path that begins with / and has no ? in it, at most 107 bytes"
    )]
    Path {
        /// The whole address.
        text: String,
        /// Which path.
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
    #[error("link address {text:?}: bind is missing; add ?bind=OWN:PORT, or ?bind=/PATH")]
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
    /// The two ends are links of different kinds.
    #[error("link address {text:?}: the peer {peer:?} is of another kind")]
    MixedSchemes {
        /// The own end.
        text: String,
        /// The other one.
        peer: String,
    },
    /// Peer and bind are of different IP versions.
    #[error("link address {text:?}: peer and bind are of different IP versions")]
    MixedVersions {
        /// The whole address.
        text: String,
    },
}

impl Address {
    /// The address of a link whose two ends are named apart, each as `udp://ADDRESS:PORT` or `unix:///PATH`.
    ///
    /// # Errors
    /// As for the parts.
    pub fn between(local: &str, peer: &str) -> Result<Self, AddressError> {
        let text = || local.to_owned();
        let (scheme, own) = local
            .split_once("://")
            .ok_or_else(|| AddressError::NoScheme { text: text() })?;
        if !matches!(scheme, "udp" | "unix") {
            return Err(AddressError::UnknownScheme {
                text: text(),
                scheme: scheme.to_owned(),
            });
        }
        if peer.split_once("://").is_some_and(|(other, _)| other != scheme) {
            return Err(AddressError::MixedSchemes {
                text: text(),
                peer: peer.to_owned(),
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
            "udp" | "unix" => {}
            "eth" | "serial" => {
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
        let (peer, options) = rest.split_once('?').unwrap_or((rest, ""));
        let mut local = None;
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("bind", own)) if local.is_none() => local = Some(own),
                _ => {
                    return Err(AddressError::UnknownOption {
                        text: whole(),
                        option: option.to_owned(),
                    });
                }
            }
        }
        let local = local.ok_or_else(|| AddressError::NoBind { text: whole() })?;
        if scheme == "unix" {
            let path = |part, got: &str| {
                if got.starts_with('/') && got.len() <= PATH_MAX && !got.contains(['?', '\0']) {
                    return Ok(PathBuf::from(got));
                }
                Err(AddressError::Path {
                    text: whole(),
                    part,
                    got: got.to_owned(),
                })
            };
            return Ok(Self::Unix {
                local: path("bind", local)?,
                peer: path("peer", peer)?,
            });
        }
        let endpoint = |part, got: &str| {
            got.parse::<SocketAddr>().map_err(|_| AddressError::Endpoint {
                text: whole(),
                part,
                got: got.to_owned(),
            })
        };
        let (local, peer) = (endpoint("bind", local)?, endpoint("peer", peer)?);
        if peer.port() == 0 || peer.ip().is_unspecified() {
            return Err(AddressError::NoPeer { text: whole() });
        }
        if local.is_ipv4() != peer.is_ipv4() {
            return Err(AddressError::MixedVersions { text: whole() });
        }
        Ok(Self::Udp { local, peer })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp { local, peer } => write!(f, "udp://{peer}?bind={local}"),
            Self::Unix { local, peer } => write!(f, "unix://{}?bind={}", peer.display(), local.display()),
        }
    }
}

/// Bytes of a path in the system's address of a socket, less the zero behind it.
const PATH_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_round_trip() {
        for text in [
            "udp://10.0.0.2:4000?bind=10.0.0.1:4001",
            "udp://[fd00::2]:4000?bind=[fd00::1]:0",
            "unix:///run/weir/outer?bind=/run/weir/gate",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn two_ends_make_one_address() {
        let both = Address::between("udp://10.0.0.1:4001", "udp://10.0.0.2:4000").unwrap();
        assert_eq!(both.to_string(), "udp://10.0.0.2:4000?bind=10.0.0.1:4001");
        let both = Address::between("unix:///run/a", "unix:///run/b").unwrap();
        assert_eq!(both.to_string(), "unix:///run/b?bind=/run/a");
        for (local, peer) in [
            ("unix:///run/a", "udp://10.0.0.2:4000"),
            ("udp://10.0.0.1:4001", "unix:///run/b"),
            ("unix:///run/a", "unix:///run/b?bind=/run/c"),
            ("10.0.0.1:4001", "udp://10.0.0.2:4000"),
            ("tcp://10.0.0.1:4001", "udp://10.0.0.2:4000"),
            ("udp://10.0.0.1:4001", "10.0.0.2:4000"),
            ("udp://10.0.0.1", "udp://10.0.0.2:4000"),
        ] {
            assert!(Address::between(local, peer).is_err(), "{local} {peer}");
        }
        let mixed = Address::between("unix:///run/a", "udp://10.0.0.2:4000").unwrap_err();
        assert!(mixed.to_string().contains("of another kind"), "{mixed}");
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
            ("unix:///run/weir", "bind is missing"),
            ("unix://weir?bind=/run/weir", "peer is \"weir\""),
            ("unix:///run/weir?bind=weir", "bind is \"weir\""),
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
