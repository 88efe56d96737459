//! A network with its names: what several instances of a model share.

use crate::Error;
use crate::file::gguf::Gguf;
use crate::net::config::Config;
use crate::net::digest;
use crate::net::network::Network;

/// What several instances may share.
pub(crate) struct Weights {
    pub(crate) network: Network,
    pub(crate) hash: [u8; 32],
    pub(crate) architecture: String,
}

impl Weights {
    /// Repacks a GGUF file.
    pub(crate) fn from_gguf(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let mut gguf = Gguf::parse(name, bytes)?;
        let config = Config::read(&gguf.metadata)?;
        let architecture = gguf
            .metadata
            .str("general.architecture")?
            .unwrap_or_default()
            .to_owned();
        let network = Network::read(config, &mut gguf)?;
        let hash = digest::model_hash(&network, &digest::part_hashes(&network));
        Ok(Self {
            network,
            hash,
            architecture,
        })
    }

    pub(crate) fn new(network: Network, hash: [u8; 32], architecture: String) -> Self {
        Self {
            network,
            hash,
            architecture,
        }
    }
}
