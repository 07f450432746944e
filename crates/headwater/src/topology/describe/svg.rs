//! Drawing a picture: columns of boxes from left to right, and arrows between them.
//!
//! A box stands in the column behind the last that leads to it, beside the middle of those in the order that they have;
//! sizes follow from the text, which is set in a font whose letters are equally wide.

use std::fmt::Write;

use super::picture::{Part, Picture, Shape};

const LETTER: usize = 7;
const LINE: usize = 17;
const PADDING: usize = 12;
const BETWEEN_COLUMNS: usize = 56;
const BETWEEN_BOXES: usize = 18;
const MARGIN: usize = 8;

/// A box at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Placed {
    fn middle(&self) -> usize {
        self.y + self.height / 2
    }
}

/// The picture as an SVG document.
pub(super) fn drawn(picture: &Picture) -> String {
    let boxes = placed(picture);
    let extent = |end: fn(&Placed) -> usize| boxes.iter().map(end).max().unwrap_or(0) + MARGIN;
    let (width, height) = (extent(|b| b.x + b.width), extent(|b| b.y + b.height));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" font-family=\"ui-monospace, monospace\" font-size=\"12\" \
         color=\"#333\" fill=\"none\" stroke=\"currentColor\">\n<title>Topologies of {}</title>\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"currentColor\" stroke=\"none\"/></marker></defs>\n",
        escaped(&picture.app)
    );
    for (from, to) in &picture.arrows {
        draw_arrow(&mut svg, boxes[*from], boxes[*to]);
    }
    for (part, place) in picture.parts.iter().zip(&boxes) {
        draw_part(&mut svg, part, *place);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The places of the boxes, by their indices. No two overlap.
pub(super) fn placed(picture: &Picture) -> Vec<Placed> {
    let columns = picture.columns();
    let size = |part: &Part| {
        let letters = part.lines.iter().chain([&part.title]).map(|line| line.chars().count()).max();
        let width = letters.unwrap_or(0) * LETTER + 2 * PADDING;
        Placed { x: 0, y: 0, width, height: (part.lines.len() + 1) * LINE + PADDING }
    };
    let mut boxes: Vec<Placed> = picture.parts.iter().map(size).collect();
    let mut x = MARGIN;
    for column in 0..=columns.iter().copied().max().unwrap_or(0) {
        let mut members: Vec<usize> = (0..boxes.len()).filter(|part| columns[*part] == column).collect();
        members.sort_by_key(|part| (middle_of_inputs(picture, &boxes, *part), *part));
        let mut y = MARGIN;
        for part in &members {
            (boxes[*part].x, boxes[*part].y) = (x, y);
            y += boxes[*part].height + BETWEEN_BOXES;
        }
        let widest = members.iter().map(|part| boxes[*part].width).max();
        x += widest.map_or(0, |width| width + BETWEEN_COLUMNS);
    }
    boxes
}

fn middle_of_inputs(picture: &Picture, boxes: &[Placed], part: usize) -> usize {
    let inputs = picture.arrows.iter().filter(|(_, to)| *to == part);
    let middles: Vec<usize> = inputs.map(|(from, _)| boxes[*from].middle()).collect();
    middles.iter().sum::<usize>().checked_div(middles.len()).unwrap_or(0)
}

fn draw_arrow(svg: &mut String, from: Placed, to: Placed) {
    let (x, y) = (from.x + from.width, from.middle());
    let (to_x, to_y) = (to.x, to.middle());
    let bend = BETWEEN_COLUMNS / 2;
    let _ = writeln!(
        svg,
        "<path d=\"M{x} {y}C{} {y} {} {to_y} {to_x} {to_y}\" opacity=\"0.6\" marker-end=\"url(#arrow)\"/>",
        x + bend,
        to_x.saturating_sub(bend),
    );
}

fn draw_part(svg: &mut String, part: &Part, Placed { x, y, width, height }: Placed) {
    let (radius, dashes, fill) = match part.shape {
        Shape::Aggregate => (height / 2, "", "#4c8dd622"),
        Shape::Topic => (0, " stroke-dasharray=\"4 3\"", "none"),
        Shape::Emitter => (4, "", "#8a6fd622"),
        Shape::View => (10, "", "#4fae7a22"),
        Shape::Observer => (4, "", "#c98a2b22"),
    };
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{radius}\" fill=\"{fill}\"{dashes}/>"
    );
    let _ = write!(svg, "<text x=\"{}\" fill=\"currentColor\" stroke=\"none\">", x + PADDING);
    for (index, line) in std::iter::once(&part.title).chain(&part.lines).enumerate() {
        let weight = if index == 0 { " font-weight=\"bold\"" } else { "" };
        let (x, y) = (x + PADDING, y + PADDING / 2 + LINE * (index + 1) - 5);
        let _ = write!(svg, "<tspan x=\"{x}\" y=\"{y}\"{weight}>{}</tspan>", escaped(line));
    }
    svg.push_str("</text>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
