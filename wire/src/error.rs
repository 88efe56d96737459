//! Errors by layer: bytes ([`Malformed`]), a datagram ([`Dropped`]), the peer ([`Misbehaviour`], [`Refusal`]),
//! the caller ([`Misuse`]).

use core::fmt;

use thiserror::Error;

/// Bytes that are not in the format, or not in its one canonical form. The only act is to drop them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("malformed bytes")]
pub struct Malformed;

/// Why a received datagram had no effect. Counted in [`Counters`]; the caller need not act.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Dropped {
    /// Not in the format.
    #[error("not in the format")]
    Malformed,
    /// In the format, but its check fails.
    #[error("its check fails")]
    Damaged,
    /// For another session, a batch that is not in use, or no session is open.
    #[error("of another session")]
    Foreign,
    /// Comes too late: the opening of a session that has been replaced, or anything in the first moments of
    /// inner (SPEC 6.2).
    #[error("too late")]
    Stale,
    /// Everything in it is known already.
    #[error("a duplicate")]
    Duplicate,
    /// Zeros, which a gate has put in the place of a frame that did not come.
    #[error("zeros in the place of a frame")]
    Absent,
    /// Over the agreed caps on outstanding or buffered messages; outer will repeat it.
    #[error("over the caps on buffered messages")]
    Overload,
    /// The peer broke the protocol; the session is closed.
    #[error("peer misbehaved: {0}")]
    Misbehaved(Misbehaviour),
    /// The two coders' states differ; the session is closed.
    #[error("the coders' states differ")]
    Diverged,
}

impl From<Malformed> for Dropped {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What the peer did that no correct peer does, whatever the link loses, repeats or reorders.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Misbehaviour {
    /// An acknowledgement of a frame that was never sent.
    #[error("acknowledged a frame that was never sent")]
    AckBeyondSent,
    /// A batch id outside the agreed range.
    #[error("batch id outside the agreed range")]
    NoSuchBatch,
    /// Two pieces of one message disagree on its length, or it is longer than the cap.
    #[error("message length over the cap or changing")]
    MessageLength,
    /// A complete message that does not parse.
    #[error("message is malformed")]
    MessageMalformed,
    /// A frame says it has taken in fewer messages than an earlier one, or more than were submitted.
    #[error("frame's count of taken-in messages is impossible")]
    TakenIn,
    /// Two valid frames with one number and different contents: inner was restarted under an open session.
    #[error("two different frames with one number")]
    TwoFrames,
}

/// Why inner refuses to open a session: the reply code on the wire. SPEC 6.2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// Protocol versions differ.
    Version = 1,
    /// Weak models differ.
    Model = 2,
    /// Tokenizers differ.
    Tokenizer = 3,
    /// Spec versions differ.
    Codec = 4,
    /// Something of the service differs that has no code of its own.
    Service = 5,
    /// Widths of the batch id differ.
    IdWidth = 6,
    /// Widths of the check differ.
    CheckWidth = 7,
    /// Send windows differ.
    Window = 8,
    /// Numbers of batches differ.
    Batches = 9,
    /// Tokens per tick differ.
    TokensPerTick = 10,
    /// Tick lengths differ.
    Tick = 11,
    /// Egress MTUs differ.
    Mtu = 12,
    /// Traffic shapes differ.
    Shape = 13,
    /// Inner is not ready; ask again. The only refusal that outer does not take as final.
    Busy = 14,
    /// One end retokenizes, the other does not.
    Retokenize = 15,
    /// Numbers of live queries differ.
    Slots = 16,
    /// Rooms for keys and values differ.
    KvTokens = 17,
    /// Lengths of contexts differ.
    MaxContext = 18,
    /// Kinds of keys and values differ.
    Kv = 19,
    /// Least taus differ.
    LeastTau = 20,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.key()) {
            (Self::Version, _) => f.write_str("protocol versions differ"),
            (Self::Busy, _) => f.write_str("inner is not ready"),
            (Self::Model, Some(key)) => write!(f, "{key} differs: weak models (model hash)"),
            (Self::Tokenizer, Some(key)) => write!(f, "{key} differs: tokenizers (tokenizer hash)"),
            (Self::Codec, _) => f.write_str("versions of the specification differ (codec hash)"),
            (Self::Service, _) => f.write_str("services differ: two versions of this program"),
            (_, Some(key)) => write!(f, "{key} differs"),
            (_, None) => f.write_str("settings differ"),
        }
    }
}

impl Refusal {
    const ALL: [Self; 20] = [
        Self::Version,
        Self::Model,
        Self::Tokenizer,
        Self::Codec,
        Self::Service,
        Self::IdWidth,
        Self::CheckWidth,
        Self::Window,
        Self::Batches,
        Self::TokensPerTick,
        Self::Tick,
        Self::Mtu,
        Self::Shape,
        Self::Busy,
        Self::Retokenize,
        Self::Slots,
        Self::KvTokens,
        Self::MaxContext,
        Self::Kv,
        Self::LeastTau,
    ];

    /// The key of the setting that differs, as both servers' configuration files have it.
    pub const fn key(self) -> Option<&'static str> {
        Some(match self {
            Self::Version | Self::Codec | Self::Service | Self::Busy => return None,
            Self::Model | Self::Tokenizer => "weak.file",
            Self::IdWidth => "session.id_bits",
            Self::CheckWidth => "session.check_bytes",
            Self::Window => "session.window",
            Self::Batches => "session.batches",
            Self::TokensPerTick => "session.tokens_per_tick",
            Self::Tick => "session.tick_ms",
            Self::Mtu => "link.mtu",
            Self::Shape => "session.shape",
            Self::Retokenize => "session.retokenize",
            Self::Slots => "session.slots",
            Self::KvTokens => "weak.kv_tokens",
            Self::MaxContext => "weak.max_context",
            Self::Kv => "weak.kv",
            Self::LeastTau => "session.least_tau",
        })
    }

    /// The byte on the wire.
    pub const fn to_code(self) -> u8 {
        self as u8
    }

    /// The refusal of a byte on the wire.
    pub fn from_code(code: u8) -> Result<Self, Malformed> {
        Self::ALL
            .into_iter()
            .find(|refusal| refusal.to_code() == code)
            .ok_or(Malformed)
    }
}

/// Why inner closed a session or knows none: the detail byte of the control frame. SPEC 5.3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
#[repr(u8)]
pub enum Closed {
    /// Inner does not know this session (it was restarted, or the session was replaced).
    #[error("inner does not know the session")]
    Unknown = 0,
    /// Outer acknowledged a frame with another coder state than inner's.
    #[error("the coders' states differ")]
    Diverged = 1,
    /// Outer broke the protocol.
    #[error("inner saw a violation of the protocol")]
    Misbehaved = 2,
}

impl Closed {
    /// The byte on the wire.
    pub const fn to_code(self) -> u8 {
        self as u8
    }

    /// The reason of a byte on the wire.
    pub fn from_code(code: u8) -> Result<Self, Malformed> {
        [Self::Unknown, Self::Diverged, Self::Misbehaved]
            .into_iter()
            .find(|closed| closed.to_code() == code)
            .ok_or(Malformed)
    }
}

/// A call that the session's state does not allow. The session is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Misuse {
    /// No session is open.
    #[error("no session is open")]
    NotOpen,
    /// The batch is not among those agreed.
    #[error("no such batch")]
    NoSuchBatch,
    /// The send window is full, or a frame of this batch already waits for its tick.
    #[error("the send window is full")]
    WindowFull,
    /// The code does not fit a frame.
    #[error("code of {len} bytes is longer than the {limit} that a frame holds")]
    CodeTooLong {
        /// Length of the code without trailing zeros.
        len: usize,
        /// Most bytes of code that a frame may carry.
        limit: usize,
    },
    /// Too many messages wait to be taken in.
    #[error("too many messages wait to be taken in")]
    Full,
    /// The message breaks one of its limits.
    #[error("message breaks a limit: {0}")]
    Message(&'static str),
    /// `accept` without a frame from `poll_frame` before it.
    #[error("no frame of this batch awaits acceptance")]
    NothingDelivered,
    /// The frame just decoded says something impossible; the session is lost.
    #[error("peer misbehaved: {0}")]
    Misbehaved(Misbehaviour),
}

/// A parameter outside its range. SPEC 6.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("parameter {name} is {value}; it must be {range}")]
pub struct ParameterError {
    /// The parameter's name.
    pub name: &'static str,
    /// What it was.
    pub value: u64,
    /// What it may be.
    pub range: &'static str,
}

/// Datagrams by fate, since the session object was made. Operators watch these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// All datagrams received.
    pub received: u64,
    /// See [`Dropped::Malformed`].
    pub malformed: u64,
    /// See [`Dropped::Damaged`].
    pub damaged: u64,
    /// See [`Dropped::Foreign`].
    pub foreign: u64,
    /// See [`Dropped::Stale`].
    pub stale: u64,
    /// See [`Dropped::Duplicate`].
    pub duplicate: u64,
    /// See [`Dropped::Absent`].
    pub absent: u64,
    /// See [`Dropped::Overload`].
    pub overload: u64,
    /// See [`Dropped::Misbehaved`].
    pub misbehaved: u64,
    /// See [`Dropped::Diverged`].
    pub diverged: u64,
    /// Datagrams sent, of any kind.
    pub sent: u64,
    /// Frames sent again on request (inner), or asked for again (outer).
    pub repeats: u64,
}

impl Counters {
    pub(crate) const fn dropped(&mut self, why: Dropped) {
        let field = match why {
            Dropped::Malformed => &mut self.malformed,
            Dropped::Damaged => &mut self.damaged,
            Dropped::Foreign => &mut self.foreign,
            Dropped::Stale => &mut self.stale,
            Dropped::Duplicate => &mut self.duplicate,
            Dropped::Absent => &mut self.absent,
            Dropped::Overload => &mut self.overload,
            Dropped::Misbehaved(_) => &mut self.misbehaved,
            Dropped::Diverged => &mut self.diverged,
        };
        *field += 1;
    }
}
