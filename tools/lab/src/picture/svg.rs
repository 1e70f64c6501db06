//! Shapes and words of a drawing, in the language of SVG.

use std::fmt::Write as _;

/// A drawing that grows downwards.
pub(crate) struct Svg {
    width: f64,
    body: String,
}

type Point = (f64, f64);

/// Where words are, and which end of them is there.
pub(crate) struct TextAt {
    x: f64,
    y: f64,
    anchor: &'static str,
}

impl TextAt {
    pub(crate) fn start(x: f64, y: f64) -> TextAt {
        TextAt {
            x,
            y,
            anchor: "start",
        }
    }

    pub(crate) fn middle(x: f64, y: f64) -> TextAt {
        TextAt {
            x,
            y,
            anchor: "middle",
        }
    }

    pub(crate) fn end(x: f64, y: f64) -> TextAt {
        TextAt {
            x,
            y,
            anchor: "end",
        }
    }
}

const STYLE: &str = "
text { font: 12px 'DejaVu Sans Mono', 'Liberation Mono', monospace; fill: #1e293b; }
.title { font: bold 20px 'DejaVu Sans', 'Liberation Sans', sans-serif; }
.subtitle { font: 14px 'DejaVu Sans', 'Liberation Sans', sans-serif; fill: #475569; }
.host { font: bold 13px 'DejaVu Sans', 'Liberation Sans', sans-serif; }
.time { fill: #94a3b8; font-size: 11px; }
.state { font-weight: bold; font-size: 11px; }
.call { font-weight: bold; }
.faint { fill: #64748b; font-size: 11px; }
.why { fill: #dc2626; font-size: 11px; }
.note { fill: #475569; font: italic 12px 'DejaVu Sans', 'Liberation Sans', sans-serif; }
.claim { font: 12px 'DejaVu Sans', 'Liberation Sans', sans-serif; }
.holds { fill: #15803d; font-weight: bold; }
.fails { fill: #b91c1c; font-weight: bold; }
.lifeline { stroke: #cbd5e1; stroke-width: 2; }
.ar-plain { stroke: #334155; } .ar-data { stroke: #0369a1; } .ar-again { stroke: #b45309; }
.ar-rst { stroke: #dc2626; } .ar-lost { stroke: #dc2626; stroke-dasharray: 5 4; }
.ar-stray { stroke: #c026d3; stroke-dasharray: 2 3; }
.la-plain { fill: #334155; } .la-data { fill: #0369a1; } .la-again { fill: #b45309; }
.la-rst { fill: #dc2626; } .la-lost { fill: #dc2626; } .la-stray { fill: #c026d3; }
.edge { stroke: #94a3b8; fill: none; }
.path { stroke: #dc2626; fill: none; stroke-width: 3; }
";

impl Svg {
    pub(crate) fn new(width: f64) -> Svg {
        Svg {
            width,
            body: String::new(),
        }
    }

    /// The whole document.
    pub(crate) fn finish(self, height: f64) -> String {
        let Svg { width, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\">\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
        )
    }

    pub(crate) fn title(&mut self, title: &str, subtitle: &str) {
        self.text(TextAt::start(24.0, 34.0), "title", title);
        self.text(TextAt::start(24.0, 56.0), "subtitle", subtitle);
    }

    pub(crate) fn text(&mut self, at: TextAt, class: &str, words: &str) {
        self.words(at, &format!("class=\"{class}\""), words);
    }

    /// Words whose spaces count.
    pub(crate) fn preformatted(&mut self, at: TextAt, words: &str) {
        self.words(at, "xml:space=\"preserve\"", words);
    }

    pub(crate) fn coloured(&mut self, at: TextAt, class: &str, colour: &str, words: &str) {
        let attributes = format!("class=\"{class}\" style=\"fill:{colour}\"");
        self.words(at, &attributes, words);
    }

    fn words(&mut self, at: TextAt, attributes: &str, words: &str) {
        let TextAt { x, y, anchor } = at;
        let words = escaped(words);
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {attributes}>{words}</text>"
        );
    }

    pub(crate) fn line(&mut self, from: Point, to: Point, class: &str) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    /// A line with a head at its end, if it arrives.
    pub(crate) fn arrow(&mut self, (from, to): (Point, Point), class: &str, arrives: bool) {
        let _ = writeln!(
            self.body,
            "<line class=\"ar-{class}\" stroke-width=\"1.6\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
        if arrives {
            self.head(from, to, &format!("class=\"la-{class}\""));
        }
    }

    /// The head of an arrow.
    pub(crate) fn head(&mut self, from: Point, to: Point, attributes: &str) {
        let angle = degrees(from, to);
        let _ = writeln!(
            self.body,
            "<path {attributes} d=\"M0,0 L-10,-4.5 L-10,4.5 Z\" transform=\"translate({:.1},{:.1}) rotate({angle:.2})\"/>",
            to.0, to.1
        );
    }

    /// Words along a line, above it, nearer to where it begins.
    pub(crate) fn along(&mut self, (from, to): (Point, Point), class: &str, words: &str) {
        let is_rightwards = to.0 >= from.0;
        let angle = if is_rightwards {
            degrees(from, to)
        } else {
            degrees(to, from)
        };
        let share = if (to.1 - from.1).abs() > 40.0 {
            0.3
        } else {
            0.5
        };
        let (x, y) = (
            from.0 + (to.0 - from.0) * share,
            from.1 + (to.1 - from.1) * share,
        );
        let words = escaped(words);
        let _ = writeln!(
            self.body,
            "<text class=\"la-{class}\" text-anchor=\"middle\" transform=\"translate({x:.1},{y:.1}) rotate({angle:.2})\" dy=\"-5\">{words}</text>"
        );
    }

    pub(crate) fn bar(&mut self, x: f64, top: f64, bottom: f64, colour: &str) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"8\" height=\"{:.1}\" rx=\"2\" fill=\"{colour}\"/>",
            x - 4.0,
            (bottom - top).max(1.0)
        );
    }

    pub(crate) fn band(&mut self, y: f64, height: f64, x: f64, width: f64) {
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"#f1f5f9\"/>"
        );
    }

    pub(crate) fn dot(&mut self, at: Point) {
        let _ = writeln!(
            self.body,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"white\" stroke=\"#1e293b\" stroke-width=\"1.6\"/>",
            at.0, at.1
        );
    }

    pub(crate) fn cross(&mut self, (x, y): Point) {
        let _ = writeln!(
            self.body,
            "<path d=\"M{:.1},{:.1} l12,12 m0,-12 l-12,12\" stroke=\"#dc2626\" stroke-width=\"2.4\"/>",
            x - 6.0,
            y - 6.0
        );
    }

    /// Anything else.
    pub(crate) fn raw(&mut self, shape: &str) {
        self.body.push_str(shape);
        self.body.push('\n');
    }
}

fn degrees(from: Point, to: Point) -> f64 {
    (to.1 - from.1).atan2(to.0 - from.0).to_degrees()
}

/// Words that mean themselves.
pub(crate) fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
