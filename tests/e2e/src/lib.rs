//! The tests of this crate run the real binary against the lab; see `tests/`.
