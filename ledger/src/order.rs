//! Orders: what operators must sign before a limit rises or a witness is replaced. SPEC 7.7.

use alloc::vec::Vec;
use thiserror::Error;

use crate::record::{Cap, Hash, Limit, OrderId, array};
use crate::replay::Chain;
use crate::signature;

/// What is to be done, and when it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// What is to be done.
    pub action: Action,
    /// Above that of the last order that was applied.
    pub number: u64,
    /// Seconds since 1970 after which it is void.
    pub expires: u64,
    /// The ledger that it is for.
    pub ledger: Hash,
    /// Hash of a record of that ledger since the last order: what the operators had seen.
    pub head: Hash,
}

/// What an order does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Sets a limit, higher or lower.
    Cap(Cap),
    /// Begins a witness anew, from the highest count that is known.
    Witness(u16),
}

/// An order and the operators' signatures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedOrder {
    /// The order.
    pub order: Order,
    /// Place of the operator's key in the ledger, and signature; by place, each once.
    signatures: Vec<(u8, [u8; 64])>,
}

/// Why an order is not obeyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OrderError {
    /// Not an order.
    #[error("not an order")]
    Malformed,
    /// The ledger knows no operators.
    #[error("the ledger was begun without operators' keys: nothing in it can be raised")]
    NoOperators,
    /// For another ledger.
    #[error("the order is for another ledger")]
    Ledger,
    /// Obeyed already, or overtaken.
    #[error("the order has number {number}, but order {last} was applied already")]
    Number {
        /// Its number.
        number: u64,
        /// The last one.
        last: u64,
    },
    /// Too old.
    #[error("the order has expired")]
    Expired,
    /// The head is not one since the last order.
    #[error(
        "the order was not made for this state of the ledger: the head that it names is not there, or before the last order"
    )]
    Head,
    /// A signature that is not the operator's.
    #[error("the signature of operator {operator} is wrong")]
    Signature {
        /// Its place.
        operator: u8,
    },
    /// This program is built without feature `orders`, and obeys none.
    #[error("this program cannot check signatures")]
    Unable,
    /// Too few operators.
    #[error("{signed} operators have signed, {threshold} must")]
    TooFew {
        /// How many.
        signed: u16,
        /// How many must.
        threshold: u16,
    },
    /// The key is none of the ledger's.
    #[error("this key is none of the operators'")]
    Stranger,
    /// There is no such limit or witness.
    #[error("the order is about a limit or witness that cannot be")]
    Subject,
}

impl Order {
    /// The order without signatures, to be signed by [`SignedOrder::sign`].
    pub const fn unsigned(self) -> SignedOrder {
        SignedOrder {
            order: self,
            signatures: Vec::new(),
        }
    }

    /// How a ledger names it.
    pub fn id(&self) -> OrderId {
        let hash = blake3::hash(&self.emit());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        id
    }

    fn parse(bytes: &[u8; ORDER_LEN]) -> Option<Self> {
        let cap: [u8; 16] = array(bytes, 84..100).ok()?;
        let action = match (bytes[1], u16::from_be_bytes([bytes[2], bytes[3]])) {
            (1, 0) => Action::Cap(Cap::parse(cap).ok()?),
            (2, index) => Action::Witness(index),
            _ => return None,
        };
        let order = Self {
            action,
            number: u64::from_be_bytes(array(bytes, 4..12).ok()?),
            expires: u64::from_be_bytes(array(bytes, 12..20).ok()?),
            ledger: array(bytes, 20..52).ok()?,
            head: array(bytes, 52..84).ok()?,
        };
        // Version, and zeros in place of a cap that is not there.
        (order.emit() == *bytes).then_some(order)
    }

    fn emit(&self) -> [u8; ORDER_LEN] {
        let mut bytes = [0; ORDER_LEN];
        bytes[0] = VERSION;
        match self.action {
            Action::Cap(cap) => {
                bytes[1] = 1;
                bytes[84..].copy_from_slice(&cap.emit());
            }
            Action::Witness(index) => {
                bytes[1] = 2;
                bytes[2..4].copy_from_slice(&index.to_be_bytes());
            }
        }
        bytes[4..12].copy_from_slice(&self.number.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.expires.to_be_bytes());
        bytes[20..52].copy_from_slice(&self.ledger);
        bytes[52..84].copy_from_slice(&self.head);
        bytes
    }

    /// What is signed: never anything else that these keys may sign.
    fn message(&self) -> Vec<u8> {
        [b"weir order\0".as_slice(), &self.emit()].concat()
    }
}

impl SignedOrder {
    /// Reads an order.
    ///
    /// # Errors
    /// [`OrderError::Malformed`]: anything that [`SignedOrder::emit`] does not write.
    pub fn parse(bytes: &[u8]) -> Result<Self, OrderError> {
        let parse = || {
            let (content, rest) = bytes.split_first_chunk()?;
            let order = Order::parse(content)?;
            let (&count, mut rest) = rest.split_first()?;
            let mut signatures: Vec<(u8, [u8; 64])> = Vec::new();
            for _ in 0..count {
                let (&operator, after) = rest.split_first()?;
                let (&signature, after) = after.split_first_chunk()?;
                if signatures.last().is_some_and(|&(last, _)| operator <= last) {
                    return None;
                }
                signatures.push((operator, signature));
                rest = after;
            }
            rest.is_empty().then_some(Self { order, signatures })
        };
        parse().ok_or(OrderError::Malformed)
    }

    /// The order, the number of signatures (1 byte), and by operator: place (1) and signature (64).
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = self.order.emit().to_vec();
        // Places are bytes and each is there once; place 255 is beyond the most operators.
        bytes.push(self.signatures.len() as u8);
        for (operator, signature) in &self.signatures {
            bytes.push(*operator);
            bytes.extend_from_slice(signature);
        }
        bytes
    }

    /// Signs as one of `operators`, the keys of the ledger in their order; again replaces.
    ///
    /// # Errors
    /// [`OrderError::Stranger`].
    #[cfg(feature = "orders")]
    pub fn sign(&mut self, secret: &[u8; 32], operators: &[[u8; 32]]) -> Result<(), OrderError> {
        let public = signature::public_key(secret);
        let operator = operators.iter().position(|operator| *operator == public);
        let operator = operator.and_then(|place| u8::try_from(place).ok());
        let operator = operator
            .filter(|&place| place < u8::MAX)
            .ok_or(OrderError::Stranger)?;
        let signature = signature::sign(secret, &self.order.message());
        self.signatures.retain(|&(other, _)| other != operator);
        self.signatures.push((operator, signature));
        self.signatures.sort_unstable();
        Ok(())
    }

    /// Whether it is to be obeyed by this ledger, at `wall` seconds since 1970. SPEC 7.7.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify(&self, ledger: &Chain, wall: u64) -> Result<(), OrderError> {
        let order = &self.order;
        if ledger.keys.is_empty() {
            return Err(OrderError::NoOperators);
        }
        if order.ledger != ledger.id {
            return Err(OrderError::Ledger);
        }
        let last = ledger.state.order;
        if order.number <= last {
            return Err(OrderError::Number {
                number: order.number,
                last,
            });
        }
        if order.expires < wall {
            return Err(OrderError::Expired);
        }
        let since = ledger.records.iter().rev();
        let mut since = since.scan(false, |past_order, (hash, entry)| {
            let seen = *past_order;
            *past_order |= entry.order().is_some();
            (!seen).then_some(hash)
        });
        if !since.any(|hash| *hash == order.head) {
            return Err(OrderError::Head);
        }
        if let Action::Cap(cap) = order.action
            && (cap.limit == Limit::Weights || ledger.cap(cap.limit).is_none())
        {
            return Err(OrderError::Subject);
        }
        let message = order.message();
        for &(operator, signature) in &self.signatures {
            let key = ledger
                .keys
                .get(usize::from(operator))
                .ok_or(OrderError::Stranger)?;
            match signature::is_good(key, &message, &signature) {
                Some(true) => {}
                Some(false) => return Err(OrderError::Signature { operator }),
                None => return Err(OrderError::Unable),
            }
        }
        let signed = self.signatures.len() as u16;
        if signed < ledger.threshold {
            return Err(OrderError::TooFew {
                signed,
                threshold: ledger.threshold,
            });
        }
        Ok(())
    }
}

/// The public key of an operator's secret.
#[cfg(feature = "orders")]
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    signature::public_key(secret)
}

const VERSION: u8 = 1;
const ORDER_LEN: usize = 100;

#[cfg(test)]
mod tests;
