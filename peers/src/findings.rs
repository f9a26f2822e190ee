//! What came out, as plain data: printed, written as JSON, and plotted.

use serde::Serialize;

/// A section's results.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    pub(crate) tables: Vec<Table>,
    pub(crate) charts: Vec<Chart>,
}

/// Numbers for subjects, one row each.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    /// Names its picture.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// What has to be known to read it.
    pub(crate) notes: Vec<String>,
    #[serde(skip)]
    pub(crate) picture: Picture,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// One per column; nothing where a subject cannot do it.
    pub(crate) cells: Vec<Option<f64>>,
    /// How the library was driven, and the like.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) remark: String,
}

/// How a table is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Picture {
    #[default]
    None,
    Bars {
        /// Of the columns, the first so many.
        columns: usize,
        logarithmic: bool,
        /// A line at this value: a limit, or what everything is compared with.
        mark: Option<f64>,
    },
}

/// Lines in a plane.
#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    /// Names its picture.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
    /// A horizontal line, and what it is.
    pub(crate) mark: Option<(f64, String)>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) logarithmic: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Table {
    pub(crate) fn new<C>(name: &str, title: impl Into<String>, unit: &'static str, columns: C) -> Self
    where
        C: IntoIterator<Item: Into<String>>,
    {
        Self {
            name: name.to_owned(),
            title: title.into(),
            unit,
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
            picture: Picture::None,
        }
    }

    /// To be drawn, all of it.
    pub(crate) fn bars(self, logarithmic: bool, mark: Option<f64>) -> Self {
        let columns = self.columns.len();
        self.bars_of(columns, logarithmic, mark)
    }

    /// To be drawn, the first so many columns.
    pub(crate) fn bars_of(mut self, columns: usize, logarithmic: bool, mark: Option<f64>) -> Self {
        self.picture = Picture::Bars { columns, logarithmic, mark };
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn row(&mut self, name: impl Into<String>, cells: Vec<Option<f64>>, remark: impl Into<String>) {
        self.rows.push(Row { name: name.into(), cells, remark: remark.into() });
    }

    /// Puts a number into a cell; the row is made if it is not there.
    pub(crate) fn set(&mut self, name: &str, column: usize, value: f64) {
        if !self.rows.iter().any(|row| row.name == name) {
            self.row(name, vec![None; self.columns.len()], "");
        }
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == name) {
            row.cells[column] = Some(value);
        }
    }
}

impl Axis {
    pub(crate) fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), logarithmic: false }
    }

    pub(crate) fn logarithmic(label: impl Into<String>) -> Self {
        Self { label: label.into(), logarithmic: true }
    }
}

impl Line {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), points: Vec::new() }
    }
}

/// With about three digits.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        medium if medium < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
