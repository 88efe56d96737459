//! What the opening compares, setting by setting, so that a difference is named as in the configuration files. SPEC 6.2.

use core::fmt;

use crate::error::Refusal;
use crate::parameters::{Agreement, Parameters};

/// By which rules queries are admitted and answered: the agreement's `service`, 32 bytes of numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Service {
    /// Whether answers are coded in the tokens of another model than the one that says them.
    pub retokenize: bool,
    /// Live queries of a batch, at most.
    pub slots: u8,
    /// Positions of all live queries of a batch together.
    pub kv_tokens: u64,
    /// Positions of one query.
    pub max_context: u64,
    /// What keys and values are kept as.
    pub kv: u8,
    /// Least tau of a query.
    pub least_tau: f32,
}

impl Service {
    /// As the opening says it.
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[field::FORM] = 2;
        bytes[field::RETOKENIZE] = u8::from(self.retokenize);
        bytes[field::SLOTS] = self.slots;
        bytes[field::KV] = self.kv;
        bytes[field::KV_TOKENS].copy_from_slice(&self.kv_tokens.to_be_bytes());
        bytes[field::MAX_CONTEXT].copy_from_slice(&self.max_context.to_be_bytes());
        bytes[field::LEAST_TAU].copy_from_slice(&self.least_tau.to_bits().to_be_bytes());
        bytes
    }
}

/// What one end has set, for an operator to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// A number.
    Number(u64),
    /// The bits of a binary32.
    Real(u32),
    /// One of a few that have names.
    Name(&'static str),
    /// The beginning of a hash.
    Hash([u8; 8]),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Real(bits) => write!(f, "{}", f32::from_bits(*bits)),
            Self::Name(name) => f.write_str(name),
            Self::Hash(bytes) => write!(f, "{:016x}...", u64::from_be_bytes(*bytes)),
        }
    }
}

/// The first setting in which two ends differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Which.
    pub refusal: Refusal,
    /// Inner's value.
    pub inner: Value,
    /// Outer's value.
    pub outer: Value,
}

/// The first setting that differs. SPEC 6.2 has the order.
pub(crate) fn compare(
    inner: (&Parameters, &Agreement),
    outer: (&Parameters, &Agreement),
) -> Result<(), Difference> {
    let both = all(inner.0, inner.1).into_iter().zip(all(outer.0, outer.1));
    // By what is said, not by what is shown of it.
    let differs = |((refusal, ours), (_, theirs)): ((Refusal, Setting), (Refusal, Setting))| {
        (ours.said != theirs.said).then_some(Difference {
            refusal,
            inner: ours.shown,
            outer: theirs.shown,
        })
    };
    both.filter_map(differs).next().map_or(Ok(()), Err)
}

/// This end's value of the setting that a refusal names, if it names one.
pub(crate) fn value(refusal: Refusal, parameters: &Parameters, agreement: &Agreement) -> Option<Value> {
    let mut all = all(parameters, agreement).into_iter();
    all.find_map(|(known, setting)| (known == refusal).then_some(setting.shown))
}

struct Setting {
    /// At most 32 bytes of the opening.
    said: [u8; 32],
    shown: Value,
}

/// All of them, in the order in which they are compared.
fn all(parameters: &Parameters, agreement: &Agreement) -> [(Refusal, Setting); 19] {
    // Named one by one, so that a new one cannot be forgotten here.
    let Parameters {
        format,
        window,
        batches,
        tokens_per_tick,
        tick,
        mtu,
        shape,
    } = *parameters;
    let Agreement {
        model,
        tokenizer,
        codec,
        service,
    } = agreement;
    let number = |number: u64| {
        let mut said = [0; 32];
        said[..8].copy_from_slice(&number.to_be_bytes());
        let shown = Value::Number(number);
        Setting { said, shown }
    };
    let byte = |place: usize| number(u64::from(service[place]));
    let long = |place: core::ops::Range<usize>| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&service[place]);
        number(u64::from_be_bytes(bytes))
    };
    let hash = |said: &[u8; 32]| {
        let mut begin = [0; 8];
        begin.copy_from_slice(&said[..8]);
        let (said, shown) = (*said, Value::Hash(begin));
        Setting { said, shown }
    };
    let named = |setting: Setting, name: Option<&'static str>| Setting {
        shown: name.map_or(setting.shown, Value::Name),
        ..setting
    };
    let mut tau = [0; 4];
    tau.copy_from_slice(&service[field::LEAST_TAU]);
    let tau = u32::from_be_bytes(tau);
    let real = |setting: Setting, bits: u32| Setting {
        shown: Value::Real(bits),
        ..setting
    };
    let switch = [Some("false"), Some("true")];
    let retokenize = switch.get(usize::from(service[field::RETOKENIZE]));
    let kv = match service[field::KV] {
        0 => Some("f32"),
        1 => Some("int8"),
        _ => None,
    };
    [
        (Refusal::IdWidth, number(8 * format.id.bytes() as u64)),
        (Refusal::CheckWidth, number(format.check.bytes() as u64)),
        (Refusal::Window, number(u64::from(window))),
        (Refusal::Batches, number(u64::from(batches))),
        (Refusal::TokensPerTick, number(u64::from(tokens_per_tick))),
        (
            Refusal::Tick,
            real(number(u64::from(tick)), (tick as f32 / 1000.0).to_bits()),
        ),
        (Refusal::Mtu, number(u64::from(mtu))),
        (Refusal::Shape, named(number(u64::from(shape.0)), shape.name())),
        (Refusal::Model, hash(model)),
        (Refusal::Tokenizer, hash(tokenizer)),
        (Refusal::Service, byte(field::FORM)),
        (
            Refusal::Retokenize,
            named(byte(field::RETOKENIZE), retokenize.copied().flatten()),
        ),
        (Refusal::Codec, hash(codec)),
        (Refusal::Slots, byte(field::SLOTS)),
        (Refusal::KvTokens, long(field::KV_TOKENS)),
        (Refusal::MaxContext, long(field::MAX_CONTEXT)),
        (Refusal::Kv, named(byte(field::KV), kv)),
        (Refusal::LeastTau, real(number(u64::from(tau)), tau)),
        // Whatever else it holds.
        (Refusal::Service, hash(service)),
    ]
}

mod field {
    use core::ops::Range;

    pub(super) const FORM: usize = 0;
    pub(super) const RETOKENIZE: usize = 1;
    pub(super) const SLOTS: usize = 2;
    pub(super) const KV: usize = 3;
    pub(super) const KV_TOKENS: Range<usize> = 4..12;
    pub(super) const MAX_CONTEXT: Range<usize> = 12..20;
    pub(super) const LEAST_TAU: Range<usize> = 20..24;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::agreement;
    use alloc::string::ToString;

    const SERVICE: Service = Service {
        retokenize: false,
        slots: 48,
        kv_tokens: 65_536,
        max_context: 4_096,
        kv: 0,
        least_tau: 0.01,
    };

    /// What a difference says of a service and the one that it becomes.
    fn named(change: impl Fn(&mut Service)) -> (Refusal, &'static str, [alloc::string::String; 2]) {
        let (parameters, mut theirs) = (Parameters::default(), SERVICE);
        change(&mut theirs);
        let both = [SERVICE, theirs].map(|service| Agreement {
            service: service.to_bytes(),
            ..agreement()
        });
        let differs = compare((&parameters, &both[0]), (&parameters, &both[1])).unwrap_err();
        let Difference {
            refusal,
            inner,
            outer,
        } = differs;
        assert_eq!(value(refusal, &parameters, &both[1]), Some(outer));
        (
            refusal,
            refusal.key().unwrap(),
            [inner.to_string(), outer.to_string()],
        )
    }

    #[test]
    fn a_setting_that_differs_is_named_by_its_key_with_both_values() {
        let said = |one: &str, other: &str| [one.to_string(), other.to_string()];
        let cases = [
            (
                named(|service| service.retokenize = true),
                Refusal::Retokenize,
                "session.retokenize",
                said("false", "true"),
            ),
            (
                named(|service| service.slots = 64),
                Refusal::Slots,
                "session.slots",
                said("48", "64"),
            ),
            (
                named(|service| service.kv_tokens = 1),
                Refusal::KvTokens,
                "weak.kv_tokens",
                said("65536", "1"),
            ),
            (
                named(|service| service.max_context = 9),
                Refusal::MaxContext,
                "weak.max_context",
                said("4096", "9"),
            ),
            (
                named(|service| service.kv = 1),
                Refusal::Kv,
                "weak.kv",
                said("f32", "int8"),
            ),
            (
                named(|service| service.least_tau = 1.0),
                Refusal::LeastTau,
                "session.least_tau",
                said("0.01", "1"),
            ),
        ];
        for (found, refusal, key, values) in cases {
            assert_eq!(found, (refusal, key, values));
        }
    }

    #[test]
    fn every_byte_of_the_opening_counts() {
        let parameters = Parameters::default();
        let ours = Agreement {
            service: SERVICE.to_bytes(),
            ..agreement()
        };
        assert_eq!(compare((&parameters, &ours), (&parameters, &ours)), Ok(()));
        for place in 0..32 {
            let mut theirs = ours;
            theirs.service[place] ^= 0x80;
            let differs = compare((&parameters, &ours), (&parameters, &theirs)).unwrap_err();
            let whole = place == 0 || place >= field::LEAST_TAU.end;
            assert_eq!(differs.refusal == Refusal::Service, whole, "{place}");
            for (hash, refusal) in [(0, Refusal::Model), (1, Refusal::Tokenizer), (2, Refusal::Codec)] {
                let mut theirs = ours;
                let hashes = [&mut theirs.model, &mut theirs.tokenizer, &mut theirs.codec];
                hashes[hash][place] ^= 1;
                let differs = compare((&parameters, &ours), (&parameters, &theirs)).unwrap_err();
                assert_eq!(differs.refusal, refusal);
            }
        }
    }
}
