//! What is printed, and written beside where cargo builds.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    arguments::Arguments,
    findings::{Chart, Findings, Table, number},
    machine, plot,
};

/// Sections by name.
pub(crate) type Results = BTreeMap<&'static str, Findings>;

pub(crate) fn print(findings: &Findings) {
    findings.tables.iter().for_each(print_table);
    findings.charts.iter().for_each(print_chart);
}

fn print_table(table: &Table) {
    let unit = if table.unit.is_empty() { String::new() } else { format!(" ({})", table.unit) };
    println!("\n{}{unit}", table.title);
    let name = table.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    print!("  {:<name$}", "");
    table.columns.iter().for_each(|column| print!("  {column:>10}"));
    println!();
    for row in &table.rows {
        print!("  {:<name$}", row.name);
        for (cell, column) in row.cells.iter().zip(&table.columns) {
            let width = column.chars().count().max(10);
            print!("  {:>width$}", cell.map_or_else(|| "-".to_owned(), number));
        }
        println!("  {}", row.remark);
    }
    table.notes.iter().for_each(|note| println!("  * {note}"));
}

fn print_chart(chart: &Chart) {
    println!("\n{}: {} by {}", chart.title, chart.y.label, chart.x.label);
    for line in &chart.lines {
        // Long lines are for the picture.
        let every = line.points.len().div_ceil(12).max(1);
        let points = line.points.iter().step_by(every).map(|(x, y)| format!("{x}: {}", number(*y)));
        println!("  {:<36} {}", line.name, points.collect::<Vec<_>>().join(", "));
    }
}

/// Writes the numbers and the pictures, and says where.
pub(crate) fn write(results: &Results, arguments: &Arguments) -> Result<PathBuf, String> {
    let target = PathBuf::from(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let directory = target.join("peers");
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", directory.display());
    fs::create_dir_all(&directory).map_err(|error| fail(&error))?;
    let numbers = json!({ "machine": machine::describe(), "quick": arguments.effort.is_quick, "sections": results });
    fs::write(directory.join("results.json"), format!("{numbers:#}\n")).map_err(|error| fail(&error))?;
    results.values().try_for_each(|findings| draw(findings, &directory)).map_err(|error| fail(&error))?;
    Ok(directory)
}

fn draw(findings: &Findings, directory: &Path) -> Result<(), String> {
    findings.tables.iter().try_for_each(|table| plot::bars(table, directory))?;
    findings.charts.iter().try_for_each(|chart| plot::lines(chart, directory))
}
