//! Axes: from values to places, and where the marks with numbers stand.

use std::ops::Range;

use anyhow::{Result, ensure};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// How the values of an axis are spaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spacing {
    /// Evenly, from zero if no value is below.
    Linear,
    /// By their logarithms.
    Logarithmic,
}

/// One axis with its ends.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    spacing: Spacing,
}

impl Scale {
    /// An axis that shows all values, its ends at round numbers.
    pub(super) fn around(values: impl Iterator<Item = f64>, spacing: Spacing) -> Result<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            ensure!(value.is_finite(), "a value to be drawn is {value}");
            low = low.min(value);
            high = high.max(value);
        }
        ensure!(low <= high, "there are no values to be drawn");
        match spacing {
            Spacing::Linear => {
                low = low.min(0.0);
                let step = step((high - low).max(f64::MIN_POSITIVE));
                (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
                high = high.max(low + step);
            }
            Spacing::Logarithmic => {
                ensure!(low > 0.0, "{low} cannot be drawn on a logarithmic axis");
                (low, high) = (round_down(low), round_up(high));
                if low == high {
                    (low, high) = (low / 10.0, high * 10.0);
                }
            }
        }
        Ok(Self { low, high, spacing })
    }

    /// The same for bars, each of which is to have some length.
    pub(super) fn under(values: impl Iterator<Item = f64>, spacing: Spacing) -> Result<Self> {
        let mut scale = Self::around(values, spacing)?;
        if spacing == Spacing::Logarithmic {
            scale.low = round_down(scale.low / 2.0);
        }
        Ok(scale)
    }

    pub(super) fn low(&self) -> f64 {
        self.low
    }

    /// Numbers to be written along the axis, at most about `most`.
    fn marks(&self, most: usize) -> Vec<f64> {
        match self.spacing {
            Spacing::Linear => {
                let step = step(self.high - self.low);
                let count = ((self.high - self.low) / step).round() as usize;
                let stride = (count + 1).div_ceil(most.max(2));
                let marks = (0..=count).step_by(stride);
                marks.map(|i| self.low + i as f64 * step).collect()
            }
            Spacing::Logarithmic => {
                let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
                let count = decades.clone().count();
                let within: &[f64] = if 3 * count <= most.max(2) { &ROUND } else { &[1.0] };
                let stride = if within.len() == 1 {
                    count.div_ceil(most.max(2))
                } else {
                    1
                };
                let all = decades
                    .step_by(stride)
                    .flat_map(|k| within.iter().map(move |m| m * 10f64.powi(k)));
                // A hair of room, for powers of ten are not exact.
                all.filter(|v| *v > self.low * 0.999 && *v < self.high * 1.001)
                    .collect()
            }
        }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let part = match self.spacing {
            Spacing::Linear => (value - self.low) / (self.high - self.low),
            Spacing::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        from + (f64::from(to - from) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.marks(hint.bold_points())
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        number(*value)
    }
}

/// A number of at most three digits that count, as a reader likes it: 0.25, 1,807, 2.5e14.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor() as i32;
    if !(-4..6).contains(&exponent) {
        // The mantissa is rounded; zeros at its end say nothing.
        let text = format!("{value:.2e}");
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", trim(mantissa));
    }
    let digits = usize::try_from(2 - exponent).unwrap_or(0);
    let text = format!("{value:.digits$}");
    let text = trim(&text);
    match text.strip_prefix('-') {
        Some(rest) => format!("-{}", grouped(rest)),
        None => grouped(text),
    }
}

fn trim(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// With a comma before every third digit of the whole part.
fn grouped(text: &str) -> String {
    let whole = text.find('.').unwrap_or(text.len());
    let mut out = String::new();
    for (i, digit) in text.chars().enumerate() {
        if i > 0 && i < whole && (whole - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A round distance of marks, of which a `span` has 4 to 10.
fn step(span: f64) -> f64 {
    round_down(span / 4.0)
}

/// The largest of 1, 2, 5 times a power of ten that is not above.
fn round_down(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    // A hair above, so that a round number is its own.
    let fits = ROUND.iter().rev().find(|m| *m * power <= value * (1.0 + 1e-9));
    fits.map_or(power, |m| m * power)
}

/// The smallest of them that is not below.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    let fits = ROUND.iter().find(|m| *m * power >= value * (1.0 - 1e-9));
    fits.map_or(10.0 * power, |m| m * power)
}

const ROUND: [f64; 3] = [1.0, 2.0, 5.0];
