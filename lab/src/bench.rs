//! `weir-lab bench`: what things cost, measured by doing them.

mod ablation;
pub(crate) mod codec;
mod curve;
mod floor;
mod jobs;
mod model;
mod paired;
mod peers;
mod replay;
mod retokenize;
mod scorer;

use anyhow::Result;
use clap::Subcommand;

/// Measures what things cost, by doing them
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Codec(codec::Args),
    Ablation(ablation::Args),
    Floor(floor::Args),
    Peers(peers::Args),
    Curve(curve::Args),
    Model(model::Args),
    Retokenize(retokenize::Args),
    #[command(hide = true)]
    CodecDecoder(codec::DecoderArgs),
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Codec(args) => codec::run(args),
        Command::Ablation(args) => ablation::run(args),
        Command::Floor(args) => floor::run(args),
        Command::Peers(args) => peers::run(args),
        Command::Curve(args) => curve::run(args),
        Command::Model(args) => model::run(args),
        Command::Retokenize(args) => retokenize::run(args),
        Command::CodecDecoder(args) => codec::decode(args),
    }
}
