//! The XDP program that steers frames to the engine, as an embedded object.
//!
//! The program is `steer.bpf.c`, compiled when this crate is built. Here are the
//! object and the names and layouts that whoever loads it has to know; loading
//! is the business of the `ringmill` crate.
//!
//! ```text
//! frame -> steer -- in OWNED? -- no --------------------------> kernel
//!                      | yes
//!                      +-- socket in SOCKETS[queue]? -- no ---> kernel
//!                              | yes
//!                              +-> AF_XDP socket of the queue
//! ```
//!
//! Keys of [`OWNED`] are 16 bytes: an IPv6 address, or an IPv4 address mapped
//! into IPv6. Values are [`OwnedPorts`].

/// Gives `Bytes` the alignment that readers of ELF structures ask for.
#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/steer.bpf.o")));

/// The object file, aligned to 8 bytes.
pub static STEER: &[u8] = &OBJECT.0;

/// Name of the program in the object.
pub const PROGRAM: &str = "steer";
/// The same program for kernels that have frames of several buffers (Linux 5.18): it
/// can be attached where the MTU is larger than a buffer.
pub const PROGRAM_FRAGS: &str = "steer_frags";
/// Hash map of what the engine owns, by address.
pub const OWNED: &str = "OWNED";
/// AF_XDP sockets by receive queue (XSKMAP).
pub const SOCKETS: &str = "SOCKETS";
/// Frames by verdict and CPU, in the order of [`Verdict`].
pub const VERDICT_COUNTS: &str = "VERDICT_COUNTS";

/// The variable that names the VLAN of all that is owned, a `u16`, to be set before
/// the program is loaded; 0 is none.
pub const VLAN: &str = "VLAN";

/// Port ranges that one address may have.
pub const RANGES: usize = 4;

/// What became of a frame: an index into [`VERDICT_COUNTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// Went to a socket of the engine.
    Taken = 0,
    /// Is not the engine's; went to the kernel.
    Passed = 1,
    /// Is the engine's, but its queue has no socket; went to the kernel.
    Undeliverable = 2,
}

/// A value of [`OWNED`]: port ranges as `[first, last]`, both included.
pub type OwnedPorts = [[u16; 2]; RANGES];
/// The first range of an address that is owned as a whole, with ARP, ND and ICMP.
pub const WHOLE_ADDRESS: [u16; 2] = [0, u16::MAX];
/// A range of no ports.
pub const NO_PORTS: [u16; 2] = [1, 0];
