//! The plot of one quota: demand and limit over time, and refusals below.

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
};

use crate::{
    log::Moment,
    replay::Series,
    report::{QuotaReport, RuleReport},
};

const WIDTH: u32 = 620;
const HEIGHT: u32 = 340;
/// Of this, the plot of demand has so much.
const DEMAND_HEIGHT: u32 = 240;
const FONT: &str = "sans-serif";
/// A point of the line stands for at least this part of the window.
const PARTS_OF_WINDOW: i64 = 6;
const DEMAND: RGBColor = RGBColor(31, 87, 153);
const REFUSED: RGBColor = RGBColor(190, 48, 36);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// A plot, and where its limit is: a script moves that line.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    pub(crate) svg: String,
    /// The pixels of a demand of nothing, and of `most`.
    pub(crate) bottom: i32,
    pub(crate) top: i32,
    pub(crate) most: f64,
}

/// The edges of a plot in pixels, and the demand at its upper one.
struct Frame {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    most: f64,
}

type DrawingError = Box<dyn std::error::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the plot of a quota, which is number `at` of its rule.
pub(crate) fn plot(rule: &RuleReport, at: usize) -> Option<Plot> {
    let quota = rule.quotas.get(at)?;
    let start = rule.series().start?;
    let mut svg = String::new();
    let Frame { left, right, top, bottom, most } = {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let (upper, lower) = root.split_vertically(DEMAND_HEIGHT);
        let drawn = demand(&upper, rule, (at, quota)).ok()?;
        refusals(&lower, rule, start).ok()?;
        root.present().ok()?;
        drawn
    };
    let y = f64::from(bottom) - (f64::from(bottom - top) * quota.limit as f64 / most);
    let line = format!(
        "<line class=\"limit\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#111\" stroke-width=\"2\" \
         stroke-dasharray=\"7 4\"/></svg>"
    );
    let svg = svg.replace("</svg>", &line).replacen(&format!("width=\"{WIDTH}\" height=\"{HEIGHT}\""), "", 1);
    Some(Plot { svg, bottom, top, most })
}

/// Draws the largest demand of a key.
fn demand(area: &Area<'_>, rule: &RuleReport, (at, quota): (usize, &QuotaReport)) -> Result<Frame, DrawingError> {
    let end = end(rule);
    let highest =
        quota.candidates.iter().map(|candidate| candidate.limit).filter(|limit| *limit <= quota.peak.max(quota.limit));
    let most = highest.max().unwrap_or(1).max(1) as f64 * 1.08;
    let caption = format!("most {} of one key per {}", rule.unit().unwrap_or("requests"), quota.window);
    let mut chart = ChartBuilder::on(area)
        .margin_right(14)
        .margin_top(8)
        .x_label_area_size(8)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end, 0.0..most)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .x_labels(6)
        .x_label_formatter(&|_| String::new())
        .y_labels(5)
        .label_style((FONT, 15))
        .y_label_formatter(&|value| crate::report::grouped(value.round() as u64))
        .draw()?;
    chart.draw_series(LineSeries::new(points(rule.series(), at, quota.window_millis), DEMAND.stroke_width(2)))?;
    area.draw_text(&caption, &(FONT, 15).into_text_style(area).color(&DEMAND), (80, 6))?;
    let corner = |point: (f64, f64)| chart.backend_coord(&point);
    let ((left, bottom), (right, top)) = (corner((0.0, 0.0)), corner((end, most)));
    Ok(Frame { left, right, top, bottom, most })
}

/// Returns the points of the line of demand.
///
/// A key that asks for nothing for a moment still has its requests in the window, so the line goes on until that has passed.
fn points(series: &Series, at: usize, window: i64) -> Vec<(f64, f64)> {
    let together =
        usize::try_from(window / PARTS_OF_WINDOW / series.width).unwrap_or(1).clamp(1, 1 + series.buckets.len() / 40);
    let window = (window / series.width) as f64;
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (number, buckets) in series.buckets.chunks(together).enumerate() {
        let peak = buckets.iter().filter_map(|bucket| bucket.peaks.get(at)).max().copied().unwrap_or_default();
        let x = number as f64 * together as f64 + buckets.len() as f64 / 2.0;
        if peak == 0 {
            continue;
        }
        if let Some((before, _)) = points.last().copied().filter(|(before, _)| x - before > window + together as f64) {
            points.extend([(before + window, 0.0), (x, 0.0)]);
        }
        points.push((x, peak as f64));
    }
    points
}

/// Draws the refusals, with the times below.
fn refusals(area: &Area<'_>, rule: &RuleReport, start: i64) -> Result<(), DrawingError> {
    let series = rule.series();
    let most = series.buckets.iter().map(|bucket| bucket.refused).max().unwrap_or_default().max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .margin_right(14)
        .x_label_area_size(28)
        .y_label_area_size(70)
        .build_cartesian_2d::<std::ops::Range<f64>, std::ops::Range<f64>>(0.0..end(rule), 0.0..most)?;
    let time =
        |number: &f64| label(start + (number * series.width as f64) as i64, series.width * series.buckets.len() as i64);
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(6)
        .x_label_formatter(&time)
        .y_labels(2)
        .label_style((FONT, 15))
        .y_label_formatter(&|value: &f64| crate::report::grouped(value.round() as u64))
        .draw()?;
    bars(&mut chart, rule)?;
    let caption = format!("refused per {}", crate::report::duration(series.width));
    area.draw_text(&caption, &(FONT, 15).into_text_style(area).color(&REFUSED), (80, 0))?;
    Ok(())
}

fn bars(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
    rule: &RuleReport,
) -> Result<(), DrawingError> {
    let buckets = rule.series().buckets.iter().enumerate().filter(|(_, bucket)| bucket.refused > 0);
    chart.draw_series(buckets.map(|(number, bucket)| {
        let (left, right) = (number as f64, number as f64 + 1.0);
        Rectangle::new([(left, 0.0), (right, bucket.refused as f64)], REFUSED.filled())
    }))?;
    Ok(())
}

fn end(rule: &RuleReport) -> f64 {
    rule.series().buckets.len().max(1) as f64
}

/// Returns a time as short as the span of the plot allows.
fn label(millis: i64, span: i64) -> String {
    let text = Moment::display(millis);
    let (day, time) = (text.get(5..10).unwrap_or_default(), text.get(11..16).unwrap_or_default());
    match span {
        ..600_000 => text.get(11..19).unwrap_or_default().to_owned(),
        600_000..172_800_000 => time.to_owned(),
        _ => format!("{day} {time}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_goes_on_for_a_window_and_then_falls() {
        let mut series = Series::default();
        for second in [0, 1, 3, 100] {
            series.at(second * 1000, 1).peaks[0] = 5;
        }
        let expected = [(0.5, 5.0), (1.5, 5.0), (3.5, 5.0), (8.5, 0.0), (100.5, 0.0), (100.5, 5.0)];
        assert_eq!(points(&series, 0, 5_000), expected);
    }

    #[test]
    fn times_are_as_short_as_the_span_allows() {
        let at = 1_709_164_801_000;
        assert_eq!([60_000, 3_600_000, 864_000_000].map(|span| label(at, span)), ["00:00:01", "00:00", "02-29 00:00"]);
    }
}
