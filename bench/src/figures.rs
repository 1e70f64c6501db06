//! What measurements tell: samples of named series, their medians and the ratios
//! of those that were measured in the same round.

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};

/// One thing that is measured, and the unit of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Series {
    /// Its name in reports.
    pub name: &'static str,
    /// What its values count.
    pub unit: &'static str,
}

impl Series {
    /// A series.
    pub const fn new(name: &'static str, unit: &'static str) -> Series {
        Series { name, unit }
    }
}

/// A series as it changes with something else: a curve.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// Its name.
    pub name: &'static str,
    /// What it was measured at, and the value there.
    pub points: Vec<(f64, f64)>,
}

/// The samples of all series, in the order in which they were first measured.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    series: Vec<(Series, Vec<f64>)>,
    curves: Vec<Curve>,
}

impl Samples {
    /// Adds the value of one round.
    pub fn add(&mut self, series: Series, value: f64) {
        match self.series.iter_mut().find(|(known, _)| *known == series) {
            Some((_, values)) => values.push(value),
            None => self.series.push((series, vec![value])),
        }
    }

    /// Adds a point to a curve that is measured once.
    pub fn add_point(&mut self, name: &'static str, x: f64, y: f64) {
        match self.curves.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push((x, y)),
            None => self.curves.push(Curve {
                name,
                points: vec![(x, y)],
            }),
        }
    }

    /// A curve that is measured once.
    pub fn curve(&self, name: &str) -> Option<&Curve> {
        self.curves.iter().find(|curve| curve.name == name)
    }

    /// The values of a series, a round each.
    pub fn of(&self, series: Series) -> &[f64] {
        let found = self.series.iter().find(|(known, _)| *known == series);
        found.map_or(&[], |(_, values)| values)
    }

    /// The median of a series, if it was measured.
    pub fn median(&self, series: Series) -> Option<f64> {
        median(self.of(series))
    }

    /// The median of the ratios of each round: what drifts with the machine drifts
    /// in both.
    pub fn ratio(&self, over: Series, under: Series) -> Option<f64> {
        let rounds = self.of(over).iter().zip(self.of(under));
        let ratios: Vec<f64> = rounds.map(|(over, under)| over / under).collect();
        median(&ratios)
    }

    /// Every series with its values.
    pub fn iter(&self) -> impl Iterator<Item = (Series, &[f64])> {
        self.series
            .iter()
            .map(|(series, values)| (*series, values.as_slice()))
    }
}

impl Serialize for Samples {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct One<'a> {
            #[serde(flatten)]
            series: Series,
            median: Option<f64>,
            rounds: &'a [f64],
        }
        let mut all = serializer.serialize_seq(Some(self.series.len()))?;
        for (series, rounds) in self.iter() {
            all.serialize_element(&One {
                series,
                median: median(rounds),
                rounds,
            })?;
        }
        all.end()
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied()?;
    let is_odd = sorted.len() % 2 == 1;
    Some(if is_odd {
        upper
    } else {
        f64::midpoint(sorted[middle - 1], upper)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Series = Series::new("a", "ns");
    const B: Series = Series::new("b", "ns");

    #[test]
    fn ratios_are_of_rounds_and_medians_of_those() {
        let mut samples = Samples::default();
        for (a, b) in [(2.0, 1.0), (30.0, 10.0), (8.0, 2.0)] {
            samples.add(A, a);
            samples.add(B, b);
        }
        assert_eq!(samples.median(A), Some(8.0));
        assert_eq!(samples.ratio(A, B), Some(3.0));
        samples.add(A, 10.0);
        assert_eq!(samples.median(A), Some(9.0), "between the middle two");
        assert_eq!(samples.median(Series::new("c", "ns")), None);
    }
}
