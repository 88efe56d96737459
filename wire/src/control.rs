//! Control frames: what inner may say outside a batch. SPEC 5.3.

use alloc::vec::Vec;

use crate::error::{Closed, Malformed, Refusal};
use crate::frame::{self, Frame, Sealed};
use crate::held::Held;
use crate::parameters::Format;

/// A control frame's meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Answer to an opening (or to a ping of the open session): welcome, or the part that differs.
    Reply(Result<(), Refusal>),
    /// There is no such session; open a new one.
    Closed(Closed),
    /// Nothing leaves for now, or ever: the session is closed, and none is opened.
    Held(Held),
    /// There is nothing to say, but this is a tick of the constant shape (SPEC 5.5).
    Idle,
}

/// A control frame: `all-ones id | check | kind, detail, session echo`, trailing zeros implied like any code's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control {
    /// What it says.
    pub kind: Kind,
    /// The session it speaks of: an echo of the id in the datagram that it answers. Idle: the open one, or 0.
    pub session: u64,
}

impl Control {
    /// Appends the frame.
    pub fn emit(&self, format: Format, out: &mut Vec<u8>) {
        let (kind, detail) = match self.kind {
            Kind::Reply(reply) => (
                field::REPLY,
                reply.map_or_else(Refusal::to_code, |()| field::WELCOME),
            ),
            Kind::Closed(closed) => (field::CLOSED, closed.to_code()),
            Kind::Idle => (field::IDLE, 0),
            Kind::Held(held) => (field::HELD, held.to_code()),
        };
        let mut body = [0; field::LEN];
        body[field::KIND] = kind;
        body[field::DETAIL] = detail;
        body[field::ECHO].copy_from_slice(&self.session.to_be_bytes());
        let check = frame::check(format, &self.sealed(format), &body);
        frame::Repr {
            batch: format.id.control(),
            check,
            code: &body,
        }
        .emit(format, out);
    }

    /// Judges a frame whose id is the control id: its body, its echo and its check.
    pub fn parse<T: AsRef<[u8]>>(format: Format, frame: &Frame<T>) -> Result<Self, Malformed> {
        let code = frame.code();
        let mut body = [0; field::LEN];
        body.get_mut(..code.len()).ok_or(Malformed)?.copy_from_slice(code);
        let kind = match (body[field::KIND], body[field::DETAIL]) {
            (field::REPLY, field::WELCOME) => Kind::Reply(Ok(())),
            (field::REPLY, code) => Kind::Reply(Err(Refusal::from_code(code)?)),
            (field::CLOSED, code) => Kind::Closed(Closed::from_code(code)?),
            (field::IDLE, 0) => Kind::Idle,
            (field::HELD, code) => Kind::Held(Held::from_code(code)?),
            _ => return Err(Malformed),
        };
        let mut echo = [0; 8];
        echo.copy_from_slice(&body[field::ECHO]);
        let control = Self {
            kind,
            session: u64::from_be_bytes(echo),
        };
        let good = frame.batch() == format.id.control()
            && frame.check() == frame::check(format, &control.sealed(format), &body);
        if good { Ok(control) } else { Err(Malformed) }
    }

    /// Control frames are not numbered and have no coder behind them.
    const fn sealed(&self, format: Format) -> Sealed {
        Sealed {
            session: self.session,
            batch: format.id.control(),
            number: 0,
            digest: 0,
        }
    }
}

mod field {
    use core::ops::Range;

    pub(super) const KIND: usize = 0;
    pub(super) const DETAIL: usize = 1;
    pub(super) const ECHO: Range<usize> = 2..10;
    pub(super) const LEN: usize = ECHO.end;

    pub(super) const REPLY: u8 = 1;
    pub(super) const CLOSED: u8 = 2;
    pub(super) const IDLE: u8 = 3;
    pub(super) const HELD: u8 = 4;
    pub(super) const WELCOME: u8 = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::Budget;
    use crate::parameters::{CheckWidth, IdWidth};
    use alloc::vec;
    use core::time::Duration;

    #[test]
    fn round_trip_in_every_format_fits_ethernet_padding() {
        for id in [IdWidth::One, IdWidth::Two] {
            for check in [CheckWidth::Two, CheckWidth::Four] {
                let format = Format { id, check };
                for kind in [
                    Kind::Reply(Ok(())),
                    Kind::Reply(Err(Refusal::Model)),
                    Kind::Closed(Closed::Unknown),
                    Kind::Closed(Closed::Diverged),
                    Kind::Idle,
                    Kind::Held(Held::new(Budget::Window, Duration::from_secs(1200))),
                    Kind::Held(Held::new(Budget::Ledger, Duration::ZERO)),
                ] {
                    for session in [0, 1, 0x1100, u64::MAX] {
                        let control = Control { kind, session };
                        let mut out = vec![];
                        control.emit(format, &mut out);
                        // 46 bytes of Ethernet payload less IPv4 and UDP headers: a longer frame would cost more.
                        assert!(out.len() <= 18);
                        let bare = out.clone();
                        out.resize(18, 0);
                        for bytes in [bare, out] {
                            let frame = Frame::new_checked(format, &bytes).unwrap();
                            assert_eq!(Control::parse(format, &frame), Ok(control));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_single_bit_error_is_seen() {
        let format = Format {
            id: IdWidth::One,
            check: CheckWidth::Four,
        };
        let mut out = vec![];
        Control {
            kind: Kind::Reply(Ok(())),
            session: 0x0123_4567_89ab_cdef,
        }
        .emit(format, &mut out);
        for bit in 0..out.len() * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let frame = Frame::new_checked(format, &bad).unwrap();
            assert_eq!(Control::parse(format, &frame), Err(Malformed), "bit {bit}");
        }
    }
}
