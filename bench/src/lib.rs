//! Measurements of Ringmill, each a function, so that benches and reports share it.

pub mod raw;
