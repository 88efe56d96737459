//! A witness that is a program on another machine: its datagrams, and the end that asks. SPEC 7.8.
//!
//! The other end is `weir-witness`. A writer asks for its *turn*, and goes on with it. Every request for a turn voids the turn
//! before: of two writers that do the same at the same time, because one is a copy of the other, only one gets its block.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::record::{Hash, array};
use crate::store::StoreError;
use crate::witness::{HEAD_LEN, Head, Held, Witness, WitnessError};

/// What a witness is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// What it holds.
    Look,
    /// The same, and the right to go on from there.
    Turn,
    /// To go from one head to the next, on this turn.
    Advance {
        /// The turn.
        turn: u64,
        /// What it must hold.
        from: Head,
        /// What it holds then.
        to: Head,
    },
    /// To begin a ledger of which it holds nothing, on this turn.
    Begin {
        /// The turn.
        turn: u64,
        /// What it holds then.
        head: Head,
    },
}

/// A question to a witness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Drawn at random for each question, not for each time that it is sent.
    pub nonce: [u8; 16],
    /// The ledger.
    pub ledger: Hash,
    /// The question.
    pub ask: Ask,
}

/// A witness's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// That of the request.
    pub nonce: [u8; 16],
    /// The ledger.
    pub ledger: Hash,
    /// The turn, where one was asked for; else 0.
    pub turn: u64,
    /// Whether what was asked for has been done, and survives a power loss.
    pub done: bool,
    /// What it holds now.
    pub head: Option<Head>,
}

impl Request {
    /// The datagram, under a key that only this witness and the ledger's writer have.
    pub fn seal(&self, key: &[u8; 32]) -> [u8; REQUEST_LEN] {
        let none = [0; HEAD_LEN];
        let (kind, turn, from, to) = match &self.ask {
            Ask::Look => (1, 0, none, none),
            Ask::Turn => (2, 0, none, none),
            Ask::Advance { turn, from, to } => (3, *turn, from.emit(), to.emit()),
            Ask::Begin { turn, head } => (5, *turn, none, head.emit()),
        };
        seal(
            key,
            &[
                &[kind],
                &self.nonce,
                &self.ledger,
                &turn.to_be_bytes(),
                &from,
                &to,
            ],
        )
    }

    /// `None` unless the key's owner made it.
    pub fn open(bytes: &[u8], key: &[u8; 32]) -> Option<Self> {
        let bytes: &[u8; REQUEST_LEN] = open(bytes, key)?;
        let ledger = array(bytes, field::LEDGER).ok()?;
        let head = |range| Some(Head::parse(ledger, &array(bytes, range).ok()?));
        let turn = u64::from_be_bytes(array(bytes, field::TURN).ok()?);
        let ask = match bytes[0] {
            1 => Ask::Look,
            2 => Ask::Turn,
            3 => Ask::Advance {
                turn,
                from: head(field::HEAD)?,
                to: head(field::TO)?,
            },
            // 4 was a beginning without a turn, which could be sent again to a witness whose file was begun anew.
            5 => Ask::Begin {
                turn,
                head: head(field::TO)?,
            },
            _ => return None,
        };
        let nonce = array(bytes, field::NONCE).ok()?;
        let request = Self { nonce, ledger, ask };
        // What is zero by the form must be zero.
        (request.seal(key) == *bytes).then_some(request)
    }
}

impl Reply {
    /// The datagram.
    pub fn seal(&self, key: &[u8; 32]) -> [u8; REPLY_LEN] {
        let kind = REPLY | u8::from(self.head.is_some()) << 1 | u8::from(self.done);
        let head = self.head.map_or([0; HEAD_LEN], |head| head.emit());
        seal(
            key,
            &[
                &[kind],
                &self.nonce,
                &self.ledger,
                &self.turn.to_be_bytes(),
                &head,
            ],
        )
    }

    /// `None` unless the key's owner made it.
    pub fn open(bytes: &[u8], key: &[u8; 32]) -> Option<Self> {
        let bytes: &[u8; REPLY_LEN] = open(bytes, key)?;
        let ledger = array(bytes, field::LEDGER).ok()?;
        let head = Head::parse(ledger, &array(bytes, field::HEAD).ok()?);
        let reply = Self {
            nonce: array(bytes, field::NONCE).ok()?,
            ledger,
            turn: u64::from_be_bytes(array(bytes, field::TURN).ok()?),
            done: bytes[0] & 1 != 0,
            head: (bytes[0] & 2 != 0).then_some(head),
        };
        (reply.seal(key) == *bytes).then_some(reply)
    }
}

/// Carries datagrams to a witness and back.
pub trait Carrier {
    /// Bytes that nobody can foretell.
    fn nonce(&mut self) -> Result<[u8; 16], StoreError>;

    /// Lets so many microseconds go by.
    fn pause(&mut self, micros: u64);

    /// Sends a datagram, which may be lost. From then on a try's time runs.
    fn send(&mut self, datagram: &[u8]) -> Result<(), StoreError>;

    /// The next datagram that comes, cut off behind the buffer's end; `None` once the try's time is over, however much comes meanwhile.
    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, StoreError>;
}

/// The end that asks.
pub struct RemoteWitness {
    carrier: Box<dyn Carrier + Send>,
    key: [u8; 32],
}

impl RemoteWitness {
    /// A witness at the carrier's other end, which has the same key.
    pub const fn new(carrier: Box<dyn Carrier + Send>, key: [u8; 32]) -> Self {
        Self { carrier, key }
    }

    fn ask(&mut self, ledger: Hash, ask: Ask) -> Result<Reply, StoreError> {
        let nonce = self.carrier.nonce()?;
        let request = Request { nonce, ledger, ask }.seal(&self.key);
        let mut buffer = [0; REPLY_LEN + 1];
        for _ in 0..TRIES {
            self.carrier.send(&request)?;
            // Late answers and noise are passed over; they make no try longer.
            while let Some(len) = self.carrier.recv(&mut buffer)? {
                let reply = buffer.get(..len).and_then(|bytes| Reply::open(bytes, &self.key));
                if let Some(reply) = reply.filter(|reply| reply.nonce == nonce && reply.ledger == ledger) {
                    return Ok(reply);
                }
            }
        }
        Err(StoreError {
            what: "hear the witness; see that weir-witness runs, with the same key",
            code: 0,
        })
    }

    /// Asks for a turn, and on it for the step from what must be held to `to`. What a witness holds it keeps, whoever asks: its own
    /// operator takes an old file away.
    fn rounds(
        &mut self,
        from: Option<Head>,
        to: &Head,
        step: impl Fn(u64) -> Ask,
    ) -> Result<(), WitnessError> {
        for round in 0..ROUNDS {
            if round > 0 {
                // By chance, so that two who void each other's turns do not do so in step.
                let [one, other, ..] = self.carrier.nonce()?;
                self.carrier
                    .pause(u64::from(u16::from_be_bytes([one, other])) / PAUSES);
            }
            let now = self.ask(to.id, Ask::Turn)?;
            let went = match now.head == from {
                true => self.ask(to.id, step(now.turn))?,
                false => now,
            };
            if went.done {
                return Ok(());
            }
            if went.head != from {
                return Err(WitnessError::Moved(hold(went.head)));
            }
            // The turn was void: somebody, or a copy of our own question, has asked for one since.
        }
        // The head is what it was: nobody has used the ledger, so nobody is accused of it.
        Err(WitnessError::Store(StoreError {
            what: "get a turn at the witness: somebody else asks for turns, or sends old questions again, and voids each",
            code: 0,
        }))
    }
}

impl Witness for RemoteWitness {
    fn held(&mut self, ledger: &Hash) -> Result<Held, StoreError> {
        Ok(hold(self.ask(*ledger, Ask::Look)?.head))
    }

    fn advance(&mut self, from: &Head, to: &Head) -> Result<(), WitnessError> {
        self.rounds(Some(*from), to, |turn| Ask::Advance {
            turn,
            from: *from,
            to: *to,
        })
    }

    fn begin(&mut self, head: &Head) -> Result<(), WitnessError> {
        self.rounds(None, head, |turn| Ask::Begin { turn, head: *head })
    }
}

fn hold(head: Option<Head>) -> Held {
    head.map_or(Held::Absent, Held::Whole)
}

/// The parts, and the MAC of all of them.
fn seal<const LEN: usize>(key: &[u8; 32], parts: &[&[u8]]) -> [u8; LEN] {
    let content: Vec<u8> = parts.concat();
    let mac = blake3::keyed_hash(key, &content);
    let mut bytes = [0; LEN];
    bytes[..LEN - MAC_LEN].copy_from_slice(&content);
    bytes[LEN - MAC_LEN..].copy_from_slice(mac.as_bytes());
    bytes
}

/// The datagram, if its length and MAC are right. The MAC is compared in constant time by the library.
fn open<'a, const LEN: usize>(bytes: &'a [u8], key: &[u8; 32]) -> Option<&'a [u8; LEN]> {
    let bytes: &[u8; LEN] = bytes.try_into().ok()?;
    let mac = blake3::Hash::from_bytes(array(bytes, LEN - MAC_LEN..LEN).ok()?);
    (blake3::keyed_hash(key, &bytes[..LEN - MAC_LEN]) == mac).then_some(bytes)
}

/// Where the fields are; the kind comes first.
mod field {
    use super::HEAD_LEN;
    use core::ops::Range;

    pub(super) const NONCE: Range<usize> = 1..17;
    pub(super) const LEDGER: Range<usize> = NONCE.end..49;
    pub(super) const TURN: Range<usize> = LEDGER.end..57;
    pub(super) const HEAD: Range<usize> = TURN.end..TURN.end + HEAD_LEN;
    pub(super) const TO: Range<usize> = HEAD.end..HEAD.end + HEAD_LEN;
}

const MAC_LEN: usize = 32;
/// Bytes of a request: more than of the reply, so that nobody can make a witness flood a third.
pub const REQUEST_LEN: usize = field::TO.end + MAC_LEN;
/// Bytes of a reply.
pub const REPLY_LEN: usize = field::HEAD.end + MAC_LEN;
/// Kind of a reply, besides its two flags.
const REPLY: u8 = 0x80;
/// Times that a question is sent.
const TRIES: u32 = 5;
/// Turns that are asked for.
const ROUNDS: u32 = 8;
/// Between two of them up to 16 ms go by, of the 65,536 µs of two bytes.
const PAUSES: u64 = 4;
