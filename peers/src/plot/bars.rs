//! A table as groups of lying bars: a group per row, a bar per column.

use std::path::Path;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::colors::{GRID, INK, MARK, color};
use crate::{
    findings::number,
    findings::{Picture, Table},
};

const WIDTH: i32 = 960;
const LEFT: i32 = 290;
const RIGHT: i32 = 80;
const TOP: i32 = 84;
const BOTTOM: i32 = 46;
const BAR: i32 = 12;
const BETWEEN: i32 = 10;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), String>;

/// From values to pixels.
struct Scale {
    least: f64,
    most: f64,
    logarithmic: bool,
}

/// Draws `<name>.svg` if the table wants to be drawn.
pub(crate) fn bars(table: &Table, directory: &Path) -> Drawn {
    let Picture::Bars { columns, logarithmic, mark } = table.picture else { return Ok(()) };
    let path = directory.join(format!("{}.svg", table.name));
    let group = BAR * columns as i32 + BETWEEN;
    let bottom = TOP + group * table.rows.len() as i32;
    let area = SVGBackend::new(&path, (WIDTH as u32, (bottom + BOTTOM) as u32)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| error.to_string())?;
    let scale = Scale::of(table, columns, logarithmic, mark);
    text(&area, &table.title, (WIDTH / 2, 22), 19, HPos::Center)?;
    legend(&area, &table.columns[..columns])?;
    axis(&area, table, &scale, bottom)?;
    for (at, row) in table.rows.iter().enumerate() {
        let top = TOP + group * at as i32 + BETWEEN / 2;
        text(&area, &row.name, (LEFT - 8, top + (group - BETWEEN) / 2), 13, HPos::Right)?;
        for (column, cell) in row.cells.iter().take(columns).enumerate() {
            bar(&area, &scale, *cell, (column, top + BAR * column as i32))?;
        }
    }
    if let Some(mark) = mark {
        line(&area, [(scale.x(mark), TOP - 4), (scale.x(mark), bottom)], MARK)?;
    }
    area.present().map_err(|error| error.to_string())
}

fn bar(area: &Area<'_>, scale: &Scale, value: Option<f64>, (column, top): (usize, i32)) -> Drawn {
    let Some(value) = value else { return text(area, "-", (LEFT + 4, top + BAR / 2), 11, HPos::Left) };
    let end = scale.x(value).max(LEFT + 1);
    let bar = Rectangle::new([(LEFT, top), (end, top + BAR - 1)], color(column).filled());
    area.draw(&bar).map_err(|error| error.to_string())?;
    text(area, &number(value), (end + 4, top + BAR / 2), 11, HPos::Left)
}

fn legend(area: &Area<'_>, columns: &[String]) -> Drawn {
    let mut x = LEFT;
    for (column, name) in columns.iter().enumerate() {
        let square = Rectangle::new([(x, 44), (x + 12, 56)], color(column).filled());
        area.draw(&square).map_err(|error| error.to_string())?;
        text(area, name, (x + 17, 50), 13, HPos::Left)?;
        x += 36 + 7 * name.chars().count() as i32;
    }
    Ok(())
}

fn axis(area: &Area<'_>, table: &Table, scale: &Scale, bottom: i32) -> Drawn {
    for tick in scale.ticks() {
        line(area, [(scale.x(tick), TOP - 4), (scale.x(tick), bottom)], GRID)?;
        let label = if tick >= 1000.0 || tick.fract() == 0.0 { format!("{tick}") } else { number(tick) };
        text(area, &label, (scale.x(tick), bottom + 12), 12, HPos::Center)?;
    }
    let unit = match (table.unit, scale.logarithmic) {
        ("x", true) => "times one governor check (logarithmic)".to_owned(),
        (unit, true) => format!("{unit} (logarithmic)"),
        (unit, false) => unit.to_owned(),
    };
    text(area, &unit, ((LEFT + WIDTH - RIGHT) / 2, bottom + 32), 13, HPos::Center)
}

fn line(area: &Area<'_>, ends: [(i32, i32); 2], color: RGBColor) -> Drawn {
    area.draw(&PathElement::new(ends, color)).map_err(|error| error.to_string())
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, side: HPos) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&INK).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(|error| error.to_string())
}

impl Scale {
    fn of(table: &Table, columns: usize, logarithmic: bool, mark: Option<f64>) -> Self {
        let values = || table.rows.iter().flat_map(|row| row.cells.iter().take(columns)).copied().flatten().chain(mark);
        let most = values().fold(0.0, f64::max);
        let least = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        if logarithmic {
            Self { least: 10f64.powf(least.log10().floor()), most: most * 1.2, logarithmic }
        } else {
            Self { least: 0.0, most: most * 1.02, logarithmic }
        }
    }

    fn x(&self, value: f64) -> i32 {
        let share = if self.logarithmic {
            (value / self.least).log10() / (self.most / self.least).log10()
        } else {
            value / self.most
        };
        LEFT + (share.clamp(0.0, 1.0) * f64::from(WIDTH - LEFT - RIGHT)) as i32
    }

    /// Powers of ten, or about five round numbers.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let (first, last) = (self.least.log10().round() as i32, self.most.log10().floor() as i32);
            return (first..=last).map(|power| 10f64.powi(power)).collect();
        }
        let rough = self.most / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=(self.most / step) as i32).map(|number| f64::from(number) * step).collect()
    }
}
