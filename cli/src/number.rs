//! Numbers as operators write them: plain or scientific, bits of a budget also in bytes or as a part of the weights.

/// A number, plain or scientific: `8e9`, `640000`, `1.5e12`; finite and not below zero.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(format!("{text:?} is no size"))
    }
}

/// A number of things that come whole.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    whole(number(text)?).ok_or_else(|| format!("{text:?} is too large, or no whole number"))
}

fn whole(number: f64) -> Option<u64> {
    // Beyond 2^53 an f64 holds no odd numbers; no budget is near.
    (number.fract() == 0.0 && number < 9e15).then_some(number as u64)
}

/// Bits of a budget.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Amount {
    /// So many.
    Bits(u64),
    /// A part of the weights' size.
    OfWeights(f64),
}

impl Amount {
    /// `5e9` (bits), `600MB`, `2GiB` (bytes), `0.1%` (of the weights' size).
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent = number(percent.trim())?;
            if percent > 100.0 {
                return Err(format!("{text:?} is more than all the weights: 100 % at most"));
            }
            return Ok(Self::OfWeights(percent / 100.0));
        }
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
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
        let bits = whole((number(digits.trim())? * unit).floor());
        bits.map(Self::Bits)
            .ok_or_else(|| format!("{text:?} is too much"))
    }

    /// In bits, for weights of so many bits.
    pub(crate) fn bits(self, weights: Option<u64>) -> anyhow::Result<u64> {
        match self {
            Self::Bits(bits) => Ok(bits),
            Self::OfWeights(part) => {
                let weights = weights.ok_or_else(|| {
                    anyhow::anyhow!("a percentage needs the size of the weights; the ledger does not know it")
                })?;
                // Rounded down: a cap is never higher than was said.
                Ok((weights as f64 * part) as u64)
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
    fn what_is_beyond_all_weights_or_no_number_is_refused_by_name() {
        for (text, words) in [
            ("101%", "\"101%\" is more than all the weights"),
            ("1e30%", "more than all the weights"),
            ("100.0000001%", "more than all the weights"),
            ("inf%", "no size"),
            ("NaN", "no unit"),
            ("-1MB", "no size"),
            ("1e300TB", "too much"),
            ("1e19", "too much"),
            ("five", "no unit"),
        ] {
            let refused = Amount::parse(text).unwrap_err();
            assert!(refused.contains(words), "{text}: {refused}");
        }
        let all = Amount::parse("100%").unwrap();
        assert_eq!(all.bits(Some(1 << 60)).unwrap(), 1 << 60);
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!(Amount::parse("5e9"), Ok(Amount::Bits(5_000_000_000)));
        assert_eq!(Amount::parse("600MB"), Ok(Amount::Bits(4_800_000_000)));
        assert_eq!(Amount::parse("1.5 KiB"), Ok(Amount::Bits(12_288)));
        assert_eq!(Amount::parse("0.1%").unwrap().bits(Some(8_000)).unwrap(), 8);
        assert!(Amount::parse("0.1%").unwrap().bits(None).is_err());
        for bad in ["", "MB", "-1", "inf", "nan", "1e300", "5 apples"] {
            assert!(Amount::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_plain_or_scientific() {
        assert_eq!(number("1e14"), Ok(1e14));
        assert_eq!(count("10000000"), Ok(10_000_000));
        assert_eq!(count("1e7"), Ok(10_000_000));
        assert!(count("0.5").is_err() && number("-1").is_err() && number("inf").is_err());
    }
}
