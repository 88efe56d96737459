//! The links that lead over network interfaces, as the kernel's rules know them.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context as _, bail, ensure};
use rustix::process::geteuid;
use weir_link::{Address, index_of};

use super::config::{Config, LinkConfig};

/// A link over UDP, and the network interface that it has for itself.
#[derive(Clone, Debug)]
pub struct Cable {
    /// The interface's name.
    pub device: String,
    /// Its index, which no other gets while the machine runs.
    pub index: u32,
    /// The gate's address.
    pub local: SocketAddr,
    /// Inner's or outer's.
    pub peer: SocketAddr,
}

/// The links of a gate that lead over UDP.
#[derive(Clone, Debug, Default)]
pub struct Cables {
    /// To inner.
    pub inside: Option<Cable>,
    /// To outer.
    pub outside: Option<Cable>,
    /// The number of the gate's user: nobody else's packets are the links'.
    pub user: u32,
}

impl Cables {
    /// The links of this configuration, over the interfaces that have their names now, and for the user that this program runs as.
    ///
    /// # Errors
    /// All that is wrong, or no link over UDP.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let (cables, faults) = Self::find(config);
        ensure!(faults.is_empty(), "{}", faults.join("\n  "));
        ensure!(
            cables.inside.is_some() || cables.outside.is_some(),
            "nftables sees no unix:// link; let it count where that leads"
        );
        Ok(cables)
    }

    /// The same, and what is wrong with others.
    pub(super) fn find(config: &Config) -> (Self, Vec<String>) {
        let mut faults = vec![];
        let mut find = |side, link: &LinkConfig| {
            let found = Cable::find(link).map_err(|error| faults.push(format!("{side}.{error:#}")));
            found.ok().flatten()
        };
        let (inside, outside) = (find("inside", &config.inside), find("outside", &config.outside));
        if let (Some(one), Some(two)) = (&inside, &outside)
            && one.index == two.index
        {
            faults.push(format!(
                "outside.device: {} is inside's; each link needs one of its own",
                two.device
            ));
        }
        let user = geteuid().as_raw();
        (
            Self {
                inside,
                outside,
                user,
            },
            faults,
        )
    }

    /// Inside's and outside's, where there is one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Cable> {
        [&self.inside, &self.outside].into_iter().flatten()
    }

    /// An address on the loopback interface to which nothing can be sent while the rules for just these links, interfaces and user are loaded: to
    /// this port the table inet lets nothing pass, to the one above the table netdev. So a program without any rights sees that they are there.
    pub fn mark(&self) -> SocketAddrV4 {
        let hash = blake3::hash(format!("{RULES} {self:?}").as_bytes());
        let [a, b, c, d, e, ..] = *hash.as_bytes();
        // Not 127.0.0.0/9, where others may listen, and no address for all.
        let address = Ipv4Addr::new(127, a | 0x80, b, c & 0x7f);
        SocketAddrV4::new(address, u16::from_be_bytes([d | 0x80, e & !1]))
    }
}

impl Cable {
    /// The interface of a link, if it is one over UDP.
    fn find(link: &LinkConfig) -> anyhow::Result<Option<Self>> {
        let Address::Udp { local, peer } = Address::between(&link.local, &link.peer)? else {
            return Ok(None);
        };
        let Some(device) = link.device.clone() else {
            bail!("device: missing; name the network interface that this link has for itself");
        };
        if local.ip().is_unspecified() || local.port() == 0 {
            bail!("local: {local}, but the kernel's rules need the address and port that packets have");
        }
        let found = index_of(&device);
        let index = found.with_context(|| format!("device: no interface is called {device}"))?;
        Ok(Some(Self {
            device,
            index,
            local,
            peer,
        }))
    }
}

/// Which rules `weir gate nft` makes: another number whenever they change, so that those of before do not pass for them.
const RULES: u32 = 2;
