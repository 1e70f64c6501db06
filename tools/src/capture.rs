//! `--pcap`: every frame of every shard, a file for each.

use crate::job::Seat;
use crate::port::create;
use anyhow::Context as _;
use ringmill::clock::Clock;
use ringmill_core::driver::Driver;
use ringmill_core::driver::capture::Capture;
use ringmill_core::frame::FramePool;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

type Captured<D> = Capture<D, BufWriter<File>>;

/// Puts a capture in front of each driver.
pub(crate) fn start<D: Driver>(
    seats: Vec<Seat<D>>,
    path: &Path,
    clock: Clock,
) -> anyhow::Result<Vec<Seat<Captured<D>>>> {
    let count = seats.len();
    let start = |(number, seat): (usize, Seat<D>)| {
        let path = path_of(path, number, count);
        let file = BufWriter::new(create(&path)?);
        let driver = Capture::new(seat.driver, file, clock.wall_clock_offset())
            .with_context(|| format!("can't write {}", path.display()))?;
        Ok(Seat {
            config: seat.config,
            driver,
            pool: seat.pool,
        })
    };
    seats.into_iter().enumerate().map(start).collect()
}

/// Takes the drivers back out, once all has been written.
pub(crate) fn finish<D: Driver>(
    captures: Vec<(Captured<D>, FramePool)>,
    path: &Path,
) -> anyhow::Result<Vec<(D, FramePool)>> {
    let count = captures.len();
    let finish = |(number, (capture, pool)): (usize, (Captured<D>, FramePool))| {
        let (driver, written) = capture.finish();
        written
            .map_err(anyhow::Error::from)
            .and_then(|writer| Ok(writer.into_inner().map_err(|error| error.into_error())?))
            .with_context(|| {
                let path = path_of(path, number, count);
                format!("the capture in {} is not whole", path.display())
            })?;
        Ok((driver, pool))
    };
    captures.into_iter().enumerate().map(finish).collect()
}

/// The file itself for a single shard, else `name.0.pcapng` and so on.
fn path_of(path: &Path, number: usize, count: usize) -> PathBuf {
    if count == 1 {
        return path.to_owned();
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_extension(format!("{number}.{extension}").trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_shards_has_a_file_of_its_own() {
        let path = |name, number, count| path_of(Path::new(name), number, count);
        assert_eq!(path("a/b.pcapng", 0, 1), Path::new("a/b.pcapng"));
        assert_eq!(path("a/b.pcapng", 1, 2), Path::new("a/b.1.pcapng"));
        assert_eq!(path("b", 0, 2), Path::new("b.0"));
    }
}
