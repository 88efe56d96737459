//! The host's side of the gate: configuration, links, timer, control socket, the loop around the valve. Linux.

mod alarm;
mod cables;
mod clock;
mod config;
mod control;
mod protect;
mod report;
mod run;
mod state;
mod traffic;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use weir_ledger::Exit;

pub use cables::{Cable, Cables};
pub use config::Config;

/// The gate's commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lets frames through until SIGTERM or SIGINT
    Run(RunArgs),
    /// Says what came, what left, and whether the gate is cut, one `name value` a line
    Status(ConfigArgs),
    /// Cuts: nothing leaves until `resume`
    Cut(ConfigArgs),
    /// Lets frames out again, once the reason of a cut is understood
    Resume(ConfigArgs),
}

/// What a gate is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Starts though the machine around the gate may let packets of inner's pass beside it: for tests
    #[arg(long)]
    unprotected: bool,
}

/// Where the settings are.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML); docs/gate.toml shows every key and its default
    #[arg(short, long, value_name = "FILE", default_value = "/etc/weir/gate.toml")]
    pub config: PathBuf,
}

/// Carries a command out.
///
/// # Errors
/// A bad configuration, a link that cannot be opened, no gate that answers.
pub fn command(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => run::run(&Config::load(&args.config.config)?, !args.unprotected),
        Command::Status(args) => ask(&args.config, "status"),
        Command::Cut(args) => ask(&args.config, "cut"),
        Command::Resume(args) => ask(&args.config, "resume"),
    }
}

/// What a program that ends with this error exits with: docs/operations.md.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let unprotected = error
        .is::<protect::Unprotected>()
        .then(|| Exit::Unprotected.code());
    unprotected.unwrap_or_else(|| weir_ledger::exit_code(error.chain()))
}

fn ask(config: &Path, order: &str) -> anyhow::Result<()> {
    let path = Config::load(config)?.control;
    let said = weir_link::ask(&path, order);
    let said = said.with_context(|| format!("no gate answers at {}", path.display()))?;
    ensure!(!said.starts_with("not "), "{}", said.trim_end());
    // It is done, whether anybody reads that or not.
    let _ = std::io::stdout().write_all(said.as_bytes());
    Ok(())
}
