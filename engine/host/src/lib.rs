//! Ringmill on a real machine.
