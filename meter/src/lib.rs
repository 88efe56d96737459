//! Upload budget of Weir: permits, governor, byte counting with link headers; no_std.
#![forbid(unsafe_code)]
