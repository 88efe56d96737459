//! Links under mio: UDP, a faulty in-memory link for tests, and the metered way out.
#![forbid(unsafe_code)]
