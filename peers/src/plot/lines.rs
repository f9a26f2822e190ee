//! A chart as lines in a plane.

use std::{ops::Range, path::Path};

use plotters::{
    coord::ranged1d::{AsRangedCoord, ValueFormatter},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::colors::{GRID, INK, MARK, color};
use crate::findings::Chart;

const SIZE: (u32, u32) = (960, 480);

/// Draws `<name>.svg`.
pub(crate) fn lines(chart: &Chart, directory: &Path) -> Result<(), String> {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let first = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let last = points().map(|(x, _)| *x).fold(0.0, f64::max);
    let path = directory.join(format!("{}.svg", chart.name));
    if chart.x.logarithmic { draw(chart, (first..last).log_scale(), &path) } else { draw(chart, first..last, &path) }
}

fn draw<X>(chart: &Chart, x: X, path: &Path) -> Result<(), String>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let failed = |error: DrawingAreaErrorKind<_>| error.to_string();
    area.fill(&WHITE).map_err(failed)?;
    let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let mut plane = ChartBuilder::on(&area)
        .margin(16)
        .caption(&chart.title, font(19))
        .x_label_area_size(46)
        .y_label_area_size(62)
        .build_cartesian_2d(x, height(chart))
        .map_err(failed)?;
    plane
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(13))
        .x_desc(&chart.x.label)
        .y_desc(&chart.y.label)
        .x_label_formatter(&|x| thousands(*x))
        .y_label_formatter(&|y| thousands(*y))
        .draw()
        .map_err(failed)?;
    if let Some((value, name)) = &chart.mark {
        let ends = chart.lines.iter().flat_map(|line| &line.points).map(|(x, _)| (*x, *value));
        plane.draw_series(LineSeries::new(ends.clone(), MARK)).map_err(failed)?;
        let style = ("sans-serif", 13).into_font().color(&MARK).pos(Pos::new(HPos::Left, VPos::Bottom));
        let label = ends.take(1).map(|end| Text::new(name.clone(), end, style.clone()));
        plane.draw_series(label).map_err(failed)?;
    }
    for (number, line) in chart.lines.iter().enumerate() {
        let style = color(number).stroke_width(2);
        let drawn = plane.draw_series(LineSeries::new(line.points.iter().copied(), style)).map_err(failed)?;
        drawn.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        if line.points.len() < 20 {
            let dots = line.points.iter().map(|point| Circle::new(*point, 3, color(number).filled()));
            plane.draw_series(dots).map_err(failed)?;
        }
    }
    let mut legend = plane.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.85)).border_style(GRID);
    legend.label_font(font(14)).draw().map_err(failed)?;
    area.present().map_err(failed)
}

/// From zero, with room for the legend.
fn height(chart: &Chart) -> Range<f64> {
    let points = chart.lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    0.0..points.fold(0.0, f64::max) * 1.35
}

/// As in 1,000,000.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let places = digits.len();
    let separated = digits.chars().enumerate().flat_map(|(at, digit)| {
        let comma = at > 0 && (places - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    });
    separated.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_stands_before_every_third_digit_from_the_right() {
        assert_eq!([7.0, 1000.0, 65_536.0, 1e6].map(thousands), ["7", "1,000", "65,536", "1,000,000"]);
    }
}
