//! Measurements of Ringmill, each a function, so that benches and reports share it.
//!
//! ```text
//! reach       all of it, in rounds        figures     samples, medians, ratios
//! memory      two engines back to back    apps        the smallest applications
//! exchange    requests, beside smoltcp    churn       connections, beside TIME-WAIT
//! resident    memory for each record      parallel    two shards over one
//! veth        over real wires             flood       SYNs from nobody
//! chart       curves, as a picture
//! ```

pub mod apps;
pub mod chart;
pub mod churn;
pub mod exchange;
pub mod figures;
pub mod flood;
pub mod memory;
pub mod parallel;
pub mod reach;
pub mod resident;
pub mod veth;
