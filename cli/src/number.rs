//! Numbers as operators write them: plain or scientific, bits of a budget also in bytes or as a part of the weights.

/// A number, plain or scientific: `8e9`, `640000`, `1.5e12`; finite and not below zero.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| no_number(text))?;
    if number.is_nan() {
        Err(no_number(text))
    } else if number.is_sign_negative() {
        Err(format!("{text:?} is below zero: leave the sign out"))
    } else if number.is_infinite() {
        Err(format!(
            "{text:?} is too large to be counted: write a finite number"
        ))
    } else if number == 0.0 && has_digits(text) {
        Err(format!("{text:?} is too small to be counted: write 0, or more"))
    } else {
        Ok(number)
    }
}

/// A number that is not zero.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if number == 0.0 {
        return Err(format!("{text:?} is zero, which makes no sense here: write more"));
    }
    Ok(number)
}

/// A part of a whole: 0 to 1.
pub(crate) fn part(text: &str) -> Result<f64, String> {
    let part = number(text)?;
    if part > 1.0 {
        return Err(format!("{text:?} is more than the whole: a part is 0 to 1"));
    }
    Ok(part)
}

/// A number of things that come whole.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    // Plain digits are exact; what is scientific, or too long, is judged as a number.
    if let Ok(count) = text.parse::<u64>()
        && count < MOST
    {
        return Ok(count);
    }
    let number = number(text)?;
    if number.fract() != 0.0 {
        return Err(format!(
            "{text:?} is no whole number: leave out what is behind the point"
        ));
    }
    whole(number).ok_or_else(|| too_much(text))
}

/// Rounded down, if it can be counted exactly.
fn whole(number: f64) -> Option<u64> {
    (number < MOST as f64).then_some(number as u64)
}

/// Whether a number is written with a digit that is not zero, so that it is zero only because it is too small.
fn has_digits(text: &str) -> bool {
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    digits.contains(|digit: char| ('1'..='9').contains(&digit))
}

fn no_number(text: &str) -> String {
    format!("{text:?} is no number: write it plain (640000) or scientific (6.4e5)")
}

fn too_much(text: &str) -> String {
    format!("{text:?} is too much: at most {MOST} bits, or things, can be counted")
}

/// Beyond 2^53 an f64 holds no odd numbers; no budget is near.
const MOST: u64 = 9_000_000_000_000_000;

/// Bits of a budget.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Amount {
    /// So many.
    Bits(u64),
    /// A part of the weights' size.
    OfWeights(f64),
}

impl Amount {
    /// `5e9` (bits), `600MB`, `2GiB` (bytes), `0.1%` (of the weights' size, at most 100 %). 0 is a cap: nothing leaves.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent = number(percent.trim())?;
            if percent > 100.0 {
                return Err(format!(
                    "{text:?} is more than the weights: a cap is 0 % to 100 %, or bits or bytes"
                ));
            }
            return Ok(Self::OfWeights(percent / 100.0));
        }
        // What is a number as a whole has no unit: the letters of inf and NaN are none.
        let digits = match text.parse::<f64>() {
            Ok(_) => text,
            Err(_) => text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()),
        };
        if digits.is_empty() {
            return Err(no_number(text));
        }
        let unit = match &text[digits.len()..] {
            "" | "bit" => 1.0,
            "B" => 8.0,
            "kB" => 8e3,
            "MB" => 8e6,
            "GB" => 8e9,
            "TB" => 8e12,
            "KiB" => 8192.0,
            "MiB" => 8.0 * 1_048_576.0,
            "GiB" => 8.0 * 1_073_741_824.0,
            "TiB" => 8.0 * 1_099_511_627_776.0,
            other => {
                return Err(format!(
                    "{other:?} is no unit: bits (none), B, kB, MB, GB, TB, KiB, … or %"
                ));
            }
        };
        let bits = whole(number(digits.trim())? * unit);
        bits.map(Self::Bits).ok_or_else(|| too_much(text))
    }

    /// In bits, for weights of so many bits.
    pub(crate) fn bits(self, weights: Option<u64>) -> anyhow::Result<u64> {
        match self {
            Self::Bits(bits) => Ok(bits),
            Self::OfWeights(part) => {
                let weights = weights.ok_or_else(|| {
                    anyhow::anyhow!("a percentage needs the size of the weights; the ledger does not know it")
                })?;
                // Rounded down: a cap is never higher than was said. An f64 may round the weights up, but no part of them is more.
                Ok(((weights as f64 * part) as u64).min(weights))
            }
        }
    }
}

/// Bits as bytes with a unit, for people.
pub(crate) fn bytes(bits: u64) -> String {
    format!("{}", indicatif::DecimalBytes(bits / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        assert_eq!(Amount::parse("5e9"), Ok(Amount::Bits(5_000_000_000)));
        assert_eq!(Amount::parse("600MB"), Ok(Amount::Bits(4_800_000_000)));
        assert_eq!(Amount::parse("1.5 KiB"), Ok(Amount::Bits(12_288)));
        assert_eq!(Amount::parse("0.1%").unwrap().bits(Some(8_000)).unwrap(), 8);
        assert!(Amount::parse("0.1%").unwrap().bits(None).is_err());
        assert_eq!(Amount::parse("0"), Ok(Amount::Bits(0)));
        for bad in ["", "MB", "5 apples", "%"] {
            assert!(Amount::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_that_cannot_be_meant_are_refused_by_name() {
        for (bad, says) in [
            ("1e30%", "0 % to 100 %"),
            ("101%", "0 % to 100 %"),
            ("100.0000001%", "0 % to 100 %"),
            ("inf%", "finite"),
            ("1e400%", "finite"),
            ("nan%", "no number"),
            ("-1%", "below zero"),
            ("-0%", "below zero"),
            ("-1", "below zero"),
            ("inf", "finite"),
            ("NaN", "no number"),
            ("1e400", "finite"),
            ("1e-400", "too small"),
            ("1e300", "too much"),
            ("9e15", "too much"),
            ("1200TB", "too much"),
            ("1e308TiB", "too much"),
            ("-1MB", "below zero"),
            ("1e19", "too much"),
            ("five", "no number"),
            ("infMB", "no number"),
        ] {
            let error = Amount::parse(bad).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let all = Amount::parse("100%").unwrap();
        assert_eq!(all.bits(Some(8_000)).unwrap(), 8_000);
        for weights in [1 << 60, (1 << 60) - 1, u64::MAX] {
            assert_eq!(all.bits(Some(weights)).unwrap(), weights);
        }
    }

    #[test]
    fn numbers_are_plain_or_scientific() {
        assert_eq!(number("1e14"), Ok(1e14));
        assert_eq!(count("10000000"), Ok(10_000_000));
        assert_eq!(count("1e7"), Ok(10_000_000));
        assert_eq!(count("8999999999999999"), Ok(MOST - 1));
        for (bad, says) in [
            ("0.5", "whole"),
            ("-1", "below zero"),
            ("9e15", "too much"),
            ("18446744073709551616", "too much"),
            ("inf", "finite"),
            ("nan", "no number"),
            ("1e400", "finite"),
            ("ten", "no number"),
        ] {
            let error = count(bad).unwrap_err();
            assert!(error.contains(bad) && error.contains(says), "{error}");
        }
        assert!(number("0").is_ok() && number("0e9").is_ok() && number("0.0").is_ok());
        assert!(positive("0").unwrap_err().contains("zero") && positive("1e-9").is_ok());
        assert!(part("1").is_ok() && part("1.01").unwrap_err().contains("0 to 1"));
    }
}
