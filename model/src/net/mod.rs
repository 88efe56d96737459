//! The network: its shape, its parts, and how tokens go through it.

mod attention;
pub(crate) mod config;
pub(crate) mod digest;
pub(crate) mod forward;
pub(crate) mod network;
pub(crate) mod ops;
pub(crate) mod rope;
pub(crate) mod weights;
