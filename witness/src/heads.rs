//! The head of each ledger, and what is answered to whoever asks to go on from it. SPEC 7.8.

use std::collections::BTreeMap;

use weir_ledger::{Ask, Hash, Head, REPLY_LEN, Reply, Request};

/// What a witness holds.
#[derive(Debug)]
pub struct Heads {
    key: [u8; 32],
    /// Where turns begin.
    start: u64,
    /// The turn that was given out last for a ledger of which nothing is held, whichever it was.
    fresh: u64,
    ledgers: BTreeMap<Hash, Holding>,
}

/// Of one ledger.
#[derive(Clone, Copy, Debug)]
struct Holding {
    head: Head,
    /// The turn on which it went there.
    taken: u64,
    /// The turn that was given out last: the only one that is good.
    turn: u64,
}

/// What is to be done about a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The datagram that goes back.
    pub reply: [u8; REPLY_LEN],
    /// What must survive a power loss before it goes: a head, and the turn on which it was taken.
    pub keep: Option<(Head, u64)>,
}

impl Heads {
    /// A witness that holds nothing; `key` is what it shares with the writers of its ledgers. Turns count from `start`, which is drawn
    /// at random for each start of the program, so that no turn of an earlier one is good.
    pub const fn new(key: [u8; 32], start: u64) -> Self {
        let ledgers = BTreeMap::new();
        let fresh = start;
        Self {
            key,
            start,
            fresh,
            ledgers,
        }
    }

    /// Takes a head from an earlier start of the program.
    pub fn restore(&mut self, head: Head, taken: u64) {
        let turn = self.start;
        self.ledgers.insert(head.id, Holding { head, taken, turn });
    }

    /// What is held of each ledger.
    pub fn heads(&self) -> impl Iterator<Item = Head> {
        self.ledgers.values().map(|holding| holding.head)
    }

    /// Answers a datagram. `None`: it is nobody's who has the key, and nothing is said.
    pub fn answer(&mut self, datagram: &[u8]) -> Option<Answer> {
        let Request { nonce, ledger, ask } = Request::open(datagram, &self.key)?;
        let room = self.ledgers.len() < LEDGERS_MAX;
        let (mut turn, mut done, mut keep) = (0, false, None);
        match (ask, self.ledgers.get_mut(&ledger)) {
            (Ask::Turn, Some(holding)) => {
                holding.turn = holding.turn.wrapping_add(1);
                turn = holding.turn;
            }
            // The answer was lost, and the question comes again.
            (Ask::Advance { turn, to: head, .. } | Ask::Begin { turn, head }, Some(holding))
                if (holding.head, holding.taken) == (head, turn) =>
            {
                done = true;
            }
            (Ask::Advance { turn, from, to }, Some(holding)) => {
                if (holding.head, holding.turn) == (from, turn) && to.seq > from.seq {
                    (holding.head, holding.taken, holding.turn) = (to, turn, turn.wrapping_add(1));
                    (done, keep) = (true, Some((to, turn)));
                }
            }
            // Ledgers of which nothing is held have one turn together, so that they take no memory.
            (Ask::Turn, None) => {
                self.fresh = self.fresh.wrapping_add(1);
                turn = self.fresh;
            }
            (Ask::Begin { turn, head }, None) if room && turn == self.fresh && turn != self.start => {
                self.restore(head, turn);
                self.fresh = turn.wrapping_add(1);
                (done, keep) = (true, Some((head, turn)));
            }
            (Ask::Look | Ask::Advance { .. } | Ask::Begin { .. }, _) => {}
        }
        let head = self.ledgers.get(&ledger).map(|holding| holding.head);
        let reply = Reply {
            nonce,
            ledger,
            turn,
            done,
            head,
        }
        .seal(&self.key);
        Some(Answer { reply, keep })
    }
}

/// Ledgers of a witness, at most: each takes memory for ever.
const LEDGERS_MAX: usize = 1024;
