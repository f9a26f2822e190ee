//! A chart as lines in a plane.

use std::{error::Error, ops::Range, path::Path};

use plotters::{
    coord::{
        ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::colors::{GRID, INK, MARK, color};
use crate::findings::Chart;

const SIZE: (u32, u32) = (960, 480);
/// With more points a line shows itself where they are.
const DOTTED: usize = 20;

type Plane<'a, 'b, X> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn Error>>;

/// Draws `<name>.svg`.
pub(crate) fn lines(chart: &Chart, directory: &Path) -> Result<(), String> {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let first = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let last = points().map(|(x, _)| *x).fold(0.0, f64::max);
    let path = directory.join(format!("{}.svg", chart.name));
    let drawn = match chart.x.logarithmic {
        true => draw(chart, (first..last).log_scale(), &path),
        false => draw(chart, first..last, &path),
    };
    drawn.map_err(|error| error.to_string())
}

fn draw<X>(chart: &Chart, x: X, path: &Path) -> Drawn
where
    X: AsRangedCoord<Value = f64, CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>>,
{
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(&area);
    builder.margin(16).margin_right(44).caption(&chart.title, font(19)).x_label_area_size(46).y_label_area_size(62);
    let mut plane = builder.build_cartesian_2d(x, height(chart))?;
    mesh(&mut plane, chart)?;
    mark(&mut plane, chart)?;
    series(&mut plane, chart)?;
    let mut legend = plane.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.85)).border_style(GRID);
    legend.label_font(font(14)).draw()?;
    Ok(area.present()?)
}

fn mesh<X>(plane: &mut Plane<'_, '_, X>, chart: &Chart) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut mesh = plane.configure_mesh();
    mesh.light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(INK).label_style(font(13));
    mesh.x_desc(&chart.x.label).y_desc(&chart.y.label);
    mesh.x_label_formatter(&|x| thousands(*x)).y_label_formatter(&|y| thousands(*y)).draw()?;
    Ok(())
}

/// Below the lines, which may lie on it.
fn mark<X>(plane: &mut Plane<'_, '_, X>, chart: &Chart) -> Drawn
where
    X: Ranged<ValueType = f64>,
{
    let Some((value, name)) = &chart.mark else { return Ok(()) };
    let ends = chart.lines.iter().flat_map(|line| &line.points).map(|(x, _)| (*x, *value));
    plane.draw_series(LineSeries::new(ends.clone(), MARK))?;
    let style = ("sans-serif", 13).into_font().color(&MARK).pos(Pos::new(HPos::Left, VPos::Bottom));
    plane.draw_series(ends.take(1).map(|end| Text::new(name.clone(), end, style.clone())))?;
    Ok(())
}

fn series<X>(plane: &mut Plane<'_, '_, X>, chart: &Chart) -> Drawn
where
    X: Ranged<ValueType = f64>,
{
    for (number, line) in chart.lines.iter().enumerate() {
        let style = color(number).stroke_width(2);
        let drawn = plane.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        drawn.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        if line.points.len() < DOTTED {
            let dots = line.points.iter().map(|point| Circle::new(*point, 3, color(number).filled()));
            plane.draw_series(dots)?;
        }
    }
    Ok(())
}

fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
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
