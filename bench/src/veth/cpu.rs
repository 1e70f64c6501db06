//! What threads and processes have used of their cores, as the kernel counts it: in
//! hundredths of a second.

use anyhow::Context as _;

/// Ticks a second of the times in /proc; a constant of Linux's ABI.
const TICKS: f64 = 100.0;

/// Seconds that the calling thread has run.
pub(super) fn of_thread() -> anyhow::Result<f64> {
    seconds("/proc/thread-self/stat", [14, 15])
}

/// Seconds that processes have run which this one started and waited for.
pub(super) fn of_children() -> anyhow::Result<f64> {
    seconds("/proc/self/stat", [16, 17])
}

/// The sum of two fields of a stat file, counted from 1 (proc(5)).
fn seconds(path: &str, fields: [usize; 2]) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(path)?;
    // The second field is a name in parentheses, which may have spaces.
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let mut ticks = 0.0;
    for field in fields {
        let word = words.get(field - 3).context("a short stat")?;
        ticks += word.parse::<f64>()?;
    }
    Ok(ticks / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_seen() {
        let before = of_thread().unwrap();
        let start = std::time::Instant::now();
        while of_thread().unwrap() - before < 0.05 {
            assert!(start.elapsed().as_secs() < 30, "no time passes");
        }
    }
}
