//! Curves as a picture: SVG, which a page shows as it is.

use crate::figures::{Curve, Samples};
use crate::veth::held;
use crate::{churn, exchange};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::ops::Range;
use std::path::Path;

const SIZE: (u32, u32) = (960, 330);
const COLORS: [RGBColor; 2] = [RGBColor(0x1b, 0x6c, 0xa8), RGBColor(0xc8, 0x55, 0x3d)];

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the curves of a run.
///
/// # Errors
/// When the file can't be written.
pub fn draw(samples: &Samples, path: &Path) -> anyhow::Result<()> {
    panels(samples, path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

fn panels(samples: &Samples, path: &Path) -> Drawn {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.split_evenly((1, 3));
    let [segments, records, opening] = &areas[..] else {
        return Ok(());
    };
    logarithmic(
        segments,
        "ns a segment, by connections",
        &[
            exchange_curve(samples, "ringmill", &exchange::RINGMILL),
            exchange_curve(samples, "smoltcp", &exchange::SMOLTCP),
        ],
    )?;
    let scaled = |name, y: f64| {
        let curve = samples.curve(name);
        let points = curve.map_or(&[][..], |curve| &curve.points);
        points.iter().map(|&(x, value)| (x, value / y)).collect()
    };
    let churn: Vec<_> = scaled(churn::CURVE, 1e3);
    let churn = churn.into_iter().map(|(x, y)| (x / 1e6, y)).collect();
    linear(records, "k connections/s, by M TIME-WAIT records", churn)?;
    let open = scaled(held::CURVE, 1e6);
    linear(opening, "M connections open over veth, by s", open)?;
    root.present()?;
    Ok(())
}

fn exchange_curve(samples: &Samples, name: &'static str, sizes: &[exchange::Size]) -> Curve {
    let points = sizes
        .iter()
        .filter_map(|&(connections, series)| Some((connections as f64, samples.median(series)?)));
    Curve {
        name,
        points: points.collect(),
    }
}

/// From 0 to a little more than the largest.
fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    0.0..values.fold(0.0, f64::max).max(1e-9) * 1.1
}

fn linear(area: &Area, title: &str, points: Vec<(f64, f64)>) -> Drawn {
    let x = span(points.iter().map(|point| point.0));
    let y = span(points.iter().map(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(25)
        .y_label_area_size(45)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart.draw_series(LineSeries::new(points, COLORS[0].stroke_width(2)))?;
    Ok(())
}

fn logarithmic(area: &Area, title: &str, curves: &[Curve]) -> Drawn {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(10.0, f64::max) * 3.0;
    let x = most(&mut points().map(|point| point.0));
    let y = most(&mut points().map(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(25)
        .y_label_area_size(60)
        .build_cartesian_2d((1.0..x).log_scale(), (10.0..y).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| short(*value))
        .draw()?;
    for (curve, color) in curves.iter().zip(COLORS) {
        let line = LineSeries::new(curve.points.clone(), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(TRANSPARENT)
        .draw()?;
    Ok(())
}

fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_few_figures_is_drawn() {
        let path = std::env::temp_dir().join(format!("ringmill-{}.svg", std::process::id()));
        let mut samples = Samples::default();
        samples.add(exchange::RINGMILL[0].1, 100.0);
        samples.add(exchange::RINGMILL[1].1, 120.0);
        samples.add_point(churn::CURVE, 1e6, 400e3);
        draw(&samples, &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.starts_with("<svg") && text.contains("ringmill"));
    }
}
