//! Plots as SVG.

use std::fmt::Write;

/// A share of something, to be drawn.
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) share: f64,
    /// What it is to reach, if anything.
    pub(crate) least: Option<f64>,
}

/// A bar for each share, and a mark where it is to reach to.
pub(crate) fn bars_of(title: &str, bars: &[Bar]) -> String {
    const ROW: usize = 22;
    const LEFT: f64 = 430.0;
    /// Of a share of one.
    const WIDTH: f64 = 260.0;
    /// What is more is cut off.
    const MOST: f64 = 1.9;
    let height = (bars.len() + 1) * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>{title}</title>\n<rect width=\"960\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (index, Bar { label, share, least }) in bars.iter().enumerate() {
        let top = index * ROW + 6;
        let (text, middle, x) = (top + 12, top + ROW - 6, LEFT - 8.0);
        let (width, mark) = (share.min(MOST) * WIDTH, least.unwrap_or(0.0) * WIDTH);
        let color = match least {
            None => "#8d99ae",
            Some(least) if share >= least => "#2a9d8f",
            Some(_) => "#e76f51",
        };
        let end = LEFT + width.max(mark) + 6.0;
        let _ = write!(
            svg,
            "<text x=\"{x}\" y=\"{text}\" text-anchor=\"end\">{label}</text>\
             <rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"14\" fill=\"{color}\"/>"
        );
        if least.is_some() {
            let mark = LEFT + mark;
            let _ = write!(svg, "<path d=\"M{mark:.1} {top}V{middle}\" stroke=\"black\" stroke-width=\"2\"/>");
        }
        let _ = writeln!(svg, "<text x=\"{end:.1}\" y=\"{text}\">{share:.2}</text>");
    }
    svg + "</svg>\n"
}
