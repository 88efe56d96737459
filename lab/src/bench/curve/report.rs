//! What `weir-lab bench curve` found: table, CSV, JSON and chart.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::point::{Answer, Point};
use crate::bench::paired::error_of_sum;
use crate::plot::{self, Axis, Lines, Mark, Series, Spacing};
use weir_setup::tool::{files, table};

/// The keys of `--json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    strong: String,
    weak: String,
    prompts: usize,
    points: Vec<Row>,
}

/// One point; all but the last two columns are per token.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    temperature: f32,
    tau: f32,
    bits: f64,
    bits_stderr: f64,
    /// Frame tails and framing included.
    frame_bits: f64,
    /// The same tokens under the weak model alone.
    plain_bits: f64,
    nats_lost: f64,
    nats_stderr: f64,
    /// KL divergence of what is drawn from; none where nothing is.
    divergence: Option<f64>,
    tokens: usize,
    answers: usize,
}

impl Row {
    fn new(point: &Point) -> Self {
        let tokens: usize = point.answers.iter().map(|answer| answer.tokens.len()).sum();
        let (bits, bits_stderr) = per_token(&point.answers, |answer| answer.coded_bits);
        let (nats_lost, nats_stderr) = per_token(&point.answers, |answer| answer.nats);
        let (divergence, _) = per_token(&point.answers, |answer| answer.divergence);
        Self {
            temperature: point.temperature,
            tau: point.tau,
            bits,
            bits_stderr,
            frame_bits: point.frame_bits as f64 / tokens as f64,
            plain_bits: per_token(&point.answers, |answer| answer.plain_bits).0,
            nats_lost,
            nats_stderr,
            divergence: (point.temperature > 0.0).then_some(divergence),
            tokens,
            answers: point.answers.len(),
        }
    }
}

/// A sum over the number of tokens, and its standard error with answers as clusters (`paired.rs`).
fn per_token(answers: &[Answer], of: impl Fn(&Answer) -> f64) -> (f64, f64) {
    let tokens: f64 = answers.iter().map(|answer| answer.tokens.len() as f64).sum();
    let ratio = answers.iter().map(&of).sum::<f64>() / tokens;
    let residuals = answers
        .iter()
        .map(|answer| of(answer) - ratio * answer.tokens.len() as f64);
    (ratio, error_of_sum(residuals) / tokens)
}

impl Report {
    pub(super) fn new([strong, weak]: [&str; 2], prompts: usize, points: &[Point]) -> Self {
        Self {
            strong: strong.to_owned(),
            weak: weak.to_owned(),
            prompts,
            points: points.iter().map(Row::new).collect(),
        }
    }

    pub(super) fn print(&self) {
        println!(
            "{} under {}, {} prompts, bits and nats per token",
            self.strong, self.weak, self.prompts
        );
        let head = [
            "T",
            "tau",
            "bits",
            "+-",
            "frame",
            "plain",
            "nats lost",
            "+-",
            "KL",
            "tokens",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec(), Vec::new()];
        for row in &self.points {
            let mark = if row.tau == 1.0 {
                "1 (lossless)".to_owned()
            } else {
                row.tau.to_string()
            };
            rows.push(vec![
                row.temperature.to_string(),
                mark,
                format!("{:.3}", row.bits),
                format!("{:.3}", row.bits_stderr),
                format!("{:.3}", row.frame_bits),
                format!("{:.3}", row.plain_bits),
                format!("{:.4}", row.nats_lost),
                format!("{:.4}", row.nats_stderr),
                row.divergence
                    .map_or_else(|| "-".to_owned(), |kl| format!("{kl:.4}")),
                row.tokens.to_string(),
            ]);
        }
        table::print(&rows);
    }

    /// Writes curve.csv, curve.svg and curve.png into a folder.
    pub(super) fn save(&self, out: &Path) -> Result<()> {
        files::write(&out.join("curve.csv"), self.csv().as_bytes())?;
        plot::save(&self.chart().svg()?, &out.join("curve"))?;
        Ok(())
    }

    fn csv(&self) -> String {
        let mut text = "temperature,tau,bits,bits_stderr,frame_bits,plain_bits,nats_lost,nats_stderr,divergence,tokens,answers\n"
            .to_owned();
        for row in &self.points {
            let Row {
                temperature,
                tau,
                bits,
                bits_stderr,
                frame_bits,
                plain_bits,
                nats_lost,
                nats_stderr,
                divergence,
                tokens,
                answers,
            } = row;
            let divergence = divergence.map_or(String::new(), |kl| format!("{kl:.6}"));
            let _ = writeln!(
                text,
                "{temperature},{tau},{bits:.6},{bits_stderr:.6},{frame_bits:.6},{plain_bits:.6},{nats_lost:.6},\
                 {nats_stderr:.6},{divergence},{tokens},{answers}"
            );
        }
        text
    }

    fn chart(&self) -> Lines {
        let place = |row: &Row| (row.nats_lost, row.bits);
        let mut temperatures: Vec<f32> = self.points.iter().map(|row| row.temperature).collect();
        temperatures.dedup();
        let mut series: Vec<Series> = Vec::new();
        for temperature in temperatures {
            let rows = self.points.iter().filter(|row| row.temperature == temperature);
            series.push(Series {
                name: format!("T = {temperature}"),
                points: rows.map(place).collect(),
                mark: Mark::LineWithDots,
            });
        }
        let lossless = self.points.iter().filter(|row| row.tau == 1.0);
        series.push(Series {
            name: "lossless".to_owned(),
            points: lossless.map(place).collect(),
            mark: Mark::Dots,
        });
        let axis = |label: &str| Axis {
            label: label.to_owned(),
            spacing: Spacing::Linear,
        };
        Lines {
            title: "Lossy by choice".to_owned(),
            x: axis("nats per token lost under the strong model"),
            y: axis("bits per token"),
            series,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(tau: f32, sums: &[(usize, f64, f64)]) -> Point {
        let answer = |&(tokens, coded_bits, nats): &(usize, f64, f64)| Answer {
            tokens: vec![1; tokens],
            coded_bits,
            plain_bits: 2.0 * coded_bits,
            nats,
            divergence: nats,
        };
        Point {
            key: String::new(),
            codec: String::new(),
            temperature: 0.0,
            tau,
            frame_bits: 80,
            answers: sums.iter().map(answer).collect(),
        }
    }

    /// With answers of one length the error is the standard error of a mean that every textbook has.
    #[test]
    fn a_row_has_means_and_errors() {
        let row = Row::new(&point(0.3, &[(10, 10.0, 1.0), (10, 14.0, 1.0), (10, 12.0, 4.0)]));
        assert_eq!(
            (row.bits, row.frame_bits, row.plain_bits),
            (1.2, 80.0 / 30.0, 2.4)
        );
        assert!((row.bits_stderr - (4.0f64 / 3.0).sqrt() / 10.0).abs() < 1e-12);
        assert!((row.nats_lost - 0.2).abs() < 1e-12);
        assert_eq!((row.divergence, row.tokens, row.answers), (None, 30, 3));
    }

    #[test]
    fn tables_and_charts_have_every_point() {
        let points = [
            point(1.0, &[(10, 12.0, 0.0), (10, 11.0, 0.0)]),
            point(0.3, &[(10, 8.0, 1.0), (10, 7.0, 2.0)]),
        ];
        let report = Report::new(["s", "w"], 2, &points);
        assert_eq!(report.csv().lines().count(), 3);
        assert!(report.csv().lines().nth(1).unwrap().starts_with("0,1,1.15"));
        let chart = report.chart();
        assert_eq!(chart.series[0].points, [(0.0, 1.15), (0.15, 0.75)]);
        assert_eq!(chart.series[1].points, [(0.0, 1.15)]);
        assert!(chart.svg().unwrap().contains("lossless"));
    }

    #[test]
    fn a_point_survives_being_written() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("point.json");
        assert_eq!(Point::read(&path).unwrap(), None);
        let point = point(0.3, &[(2, 1.0 / 3.0, 0.1)]);
        point.write(&path).unwrap();
        assert_eq!(Point::read(&path).unwrap(), Some(point));
        std::fs::write(&path, "{}").unwrap();
        assert!(Point::read(&path).unwrap_err().to_string().contains("point.json"));
    }
}
