//! Colours that can be told apart, also by those who see fewer of them (Okabe and Ito).

use plotters::style::RGBColor;

const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];

pub(super) const INK: RGBColor = RGBColor(51, 51, 51);
pub(super) const GRID: RGBColor = RGBColor(221, 221, 221);
pub(super) const MARK: RGBColor = RGBColor(204, 0, 0);

pub(super) const fn color(number: usize) -> RGBColor {
    COLORS[number % COLORS.len()]
}
