//! How long frames are on the wire, and what is left for their lengths to say. SPEC 5.5, 7.2.

use crate::parameters::Parameters;

/// How a frame's length follows its code's. Unknown values survive parsing, so that they can be refused by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shape(pub u8);

impl Shape {
    /// A frame is as long as its code.
    pub const SEALED: Self = Self(0);
    /// A frame is as long as the class that its code fits.
    pub const BUCKETED: Self = Self(1);
    /// Every tick has one frame, as long as all others.
    pub const CONSTANT: Self = Self(2);

    /// The shape of this name: `sealed`, `bucketed` or `constant`.
    pub fn named(name: &str) -> Option<Self> {
        NAMES
            .into_iter()
            .find_map(|(known, shape)| (known == name).then_some(shape))
    }

    /// Its name, if it has one.
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .into_iter()
            .find_map(|(name, shape)| (shape == self).then_some(name))
    }

    /// Length on the wire of a frame that has `len` bytes without trailing zeros; at most `parameters.mtu`.
    pub fn padded(self, parameters: &Parameters, len: usize) -> usize {
        match self {
            Self::SEALED => len,
            Self::BUCKETED => classes(parameters.mtu)
                .take_while(|&class| class >= len)
                .last()
                .unwrap_or(len),
            _ => usize::from(parameters.mtu),
        }
    }

    /// May a frame have this length?
    pub fn allows(self, parameters: &Parameters, len: usize) -> bool {
        match self {
            Self::SEALED => (parameters.format.header_len()..=usize::from(parameters.mtu)).contains(&len),
            Self::BUCKETED => classes(parameters.mtu).any(|class| class == len),
            _ => len == usize::from(parameters.mtu),
        }
    }

    /// Number of lengths that `allows` allows.
    pub fn lengths(self, parameters: &Parameters) -> u64 {
        match self {
            Self::SEALED => parameters.code_limit() as u64 + 1,
            Self::BUCKETED => classes(parameters.mtu).count() as u64,
            _ => 1,
        }
    }

    /// Bits that a frame can say on its tick by being there: whose it is, and which of the lengths it has. What it can say by
    /// its tick is the meter's to charge, unless every tick has one.
    pub fn side_bits(self, parameters: &Parameters) -> u64 {
        if self == Self::CONSTANT {
            return 0;
        }
        // The control id is one more.
        let ids = u64::from(parameters.batches) + 1;
        ceil_log2(ids) + ceil_log2(self.lengths(parameters))
    }
}

/// Lengths of bucketed frames, descending: each three quarters of the one before.
fn classes(mtu: u16) -> impl Iterator<Item = usize> {
    core::iter::successors(Some(usize::from(mtu)), |class| Some((class * 3).div_ceil(4)))
        .take(CLASSES)
        .take_while(|&class| class >= CLASS_MIN)
}

/// `log2(n)` rounded up, for n >= 1.
fn ceil_log2(n: u64) -> u64 {
    u64::from((n - 1).checked_ilog2().map_or(0, |log| log + 1))
}

/// So that a class takes four bits.
const CLASSES: usize = 16;
/// A UDP datagram of 18 bytes fills the smallest Ethernet frame, and any control frame has fewer.
const CLASS_MIN: usize = 18;

const NAMES: [(&str, Shape); 3] = [
    ("sealed", Shape::SEALED),
    ("bucketed", Shape::BUCKETED),
    ("constant", Shape::CONSTANT),
];

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn parameters(shape: Shape, mtu: u16, batches: u16) -> Parameters {
        Parameters {
            shape,
            mtu,
            batches,
            ..Parameters::default()
        }
    }

    #[test]
    fn what_is_padded_is_allowed_and_no_longer_than_needed() {
        for mtu in [32, 33, 100, 1472, 65_507] {
            for shape in [Shape::SEALED, Shape::BUCKETED, Shape::CONSTANT] {
                let parameters = parameters(shape, mtu, 1);
                let all: Vec<usize> = (0..=usize::from(mtu))
                    .filter(|&len| shape.allows(&parameters, len))
                    .collect();
                assert_eq!(all.len() as u64, shape.lengths(&parameters), "{shape:?} {mtu}");
                for len in parameters.format.header_len()..=usize::from(mtu) {
                    let least = all.iter().copied().find(|&allowed| allowed >= len);
                    assert_eq!(
                        Some(shape.padded(&parameters, len)),
                        least,
                        "{shape:?} {mtu} {len}"
                    );
                }
                assert!(!shape.allows(&parameters, usize::from(mtu) + 1));
            }
        }
    }

    #[test]
    fn shapes_have_names() {
        assert_eq!(Shape::named("bucketed"), Some(Shape::BUCKETED));
        assert_eq!(Shape::named("round"), None);
    }

    #[test]
    fn classes_are_those_of_the_specification() {
        let all: Vec<usize> = classes(1472).collect();
        assert_eq!(
            all,
            [
                1472, 1104, 828, 621, 466, 350, 263, 198, 149, 112, 84, 63, 48, 36, 27, 21
            ]
        );
        assert_eq!(classes(32).collect::<Vec<_>>(), [32, 24, 18]);
    }

    #[test]
    fn side_bits_are_a_prefix_code() {
        for (shape, mtu, batches, bits) in [
            (Shape::SEALED, 1472, 1, 1 + 11),
            (Shape::BUCKETED, 1472, 1, 1 + 4),
            (Shape::SEALED, 1472, 255, 8 + 11),
            (Shape::CONSTANT, 1472, 255, 0),
        ] {
            assert_eq!(
                shape.side_bits(&parameters(shape, mtu, batches)),
                bits,
                "{shape:?}"
            );
        }
        // Kraft's sum over ids and lengths.
        for (shape, mtu, batches) in [
            (Shape::SEALED, 32, 1),
            (Shape::SEALED, 64, 7),
            (Shape::BUCKETED, 1472, 4),
        ] {
            let parameters = parameters(shape, mtu, batches);
            let choices = (u64::from(batches) + 1) * shape.lengths(&parameters);
            assert!(choices <= 1 << shape.side_bits(&parameters), "{shape:?}");
        }
    }
}
