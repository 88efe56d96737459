//! `weir bench`: what things cost, measured by doing them.

pub(crate) mod codec;
mod model;
mod retokenize;

use anyhow::Result;
use clap::Subcommand;

/// Measures what things cost, by doing them
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Codec(codec::Args),
    Model(model::Args),
    Retokenize(retokenize::Args),
    #[command(hide = true)]
    CodecDecoder(codec::DecoderArgs),
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Codec(args) => codec::run(args),
        Command::Model(args) => model::run(args),
        Command::Retokenize(args) => retokenize::run(args),
        Command::CodecDecoder(args) => codec::decode(args),
    }
}
