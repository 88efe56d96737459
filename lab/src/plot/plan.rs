//! `weir-lab plot plan`: time against cap, of what `weir plan --json` says.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Axis, Lines, Mark, Series, Spacing, save};

/// Draws how long it takes to carry the weights out, against the cap: `weir plan … --json | weir-lab plot plan STEM`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Draws to STEM.svg and STEM.png
    #[arg(value_name = "STEM")]
    stem: PathBuf,
    /// What `weir plan --json` said [default: standard input]
    #[arg(value_name = "PLAN")]
    plan: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let (name, text) = match &args.plan {
        Some(path) => (path.display().to_string(), fs::read_to_string(path)),
        None => ("standard input".to_owned(), {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }),
    };
    let text = text.with_context(|| format!("cannot read the plan, {name}"))?;
    let plan: Plan =
        serde_json::from_str(&text).with_context(|| format!("{name}: not what `weir plan --json` says"))?;
    for path in save(&chart(plan).svg()?, &args.stem)? {
        eprintln!("{}", path.display());
    }
    Ok(())
}

/// The part of a plan that is drawn.
#[derive(Deserialize)]
struct Plan {
    curves: Vec<Curve>,
}

#[derive(Deserialize)]
struct Curve {
    weight_compression: f64,
    /// Caps in bytes a day, and days.
    points: Vec<(f64, f64)>,
}

/// Time against cap, for weights as they are and made smaller.
fn chart(plan: Plan) -> Lines {
    let series = plan.curves.into_iter().map(|curve| Series {
        name: format!("weights made {} times smaller", curve.weight_compression),
        points: curve.points,
        mark: Mark::LineWithDots,
    });
    let axis = |label: &str| Axis {
        label: label.to_owned(),
        spacing: Spacing::Logarithmic,
    };
    Lines {
        title: "Time to carry the weights out".to_owned(),
        x: axis("cap, bytes a day"),
        y: axis("days"),
        series: series.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_shows_every_compression() {
        let curve = |weight_compression: f64| Curve {
            weight_compression,
            points: vec![(1e6, 1e6 / weight_compression), (1e12, 1.0 / weight_compression)],
        };
        let curves = [1.0, 10.0, 100.0, 7.0].map(curve).into();
        let svg = chart(Plan { curves }).svg().unwrap();
        for times in ["1", "10", "100", "7"] {
            assert!(svg.contains(&format!("weights made {times} times smaller")));
        }
    }
}
