//! Bar charts, as SVG.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (1080, 420);
const FONT: &str = "sans-serif";
/// The share of a group's width that its bars fill.
const FILLED: f64 = 0.84;
/// The height of the vertical axis, as a multiple of the highest bar.
const HEADROOM: f64 = 1.1;
/// The free space beside the bars for the legend, as a share of their width.
const LEGEND: f64 = 0.14;
/// The colors of the series. Color-blind readers can tell them apart: <https://jfly.uni-koeln.de/color/>
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];

/// Groups of bars, one bar per series.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    /// The unit of the numbers, which labels the vertical axis.
    pub(crate) unit: &'static str,
    pub(crate) groups: Vec<String>,
    pub(crate) series: Vec<Series>,
    pub(crate) layout: Layout,
}

/// The layout of the bars in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Side by side.
    Beside,
    /// On top of each other.
    Stacked,
}

/// A named series: one bar in each group.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) bars: Vec<Bar>,
}

/// A bar, with a line from the lowest to the highest measured value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bar {
    pub(crate) value: f64,
    pub(crate) range: (f64, f64),
}

/// The coordinate system of the bars.
type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;

/// A bar with its position.
struct PositionedBar {
    left: f64,
    right: f64,
    bottom: f64,
    top: f64,
    range: Option<(f64, f64)>,
}

impl Chart {
    /// Renders the chart as an SVG document. Returns the cause as a text if that fails.
    pub(crate) fn svg(&self) -> Result<String, String> {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw(&root).map_err(|error| error.to_string())?;
        }
        Ok(svg)
    }

    fn draw<Backend: DrawingBackend>(
        &self,
        root: &DrawingArea<Backend, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<Backend::ErrorType>> {
        root.fill(&WHITE)?;
        let positioned: Vec<Vec<PositionedBar>> = (0..self.series.len()).map(|number| self.positions(number)).collect();
        let tops = positioned.iter().flatten().map(|bar| bar.range.map_or(bar.top, |(_, most)| most.max(bar.top)));
        let highest = tops.fold(f64::MIN_POSITIVE, f64::max);
        let width = axis(self.groups.len());
        let mut chart = ChartBuilder::on(root)
            .caption(self.title, (FONT, 24))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..width * (1.0 + LEGEND), 0.0..highest * HEADROOM)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().x_labels(0).y_desc(self.unit).label_style((FONT, 15)).max_light_lines(1).draw()?;
        for ((bars, series), color) in positioned.iter().zip(&self.series).zip(COLORS.iter().cycle()) {
            let rectangles =
                bars.iter().map(|bar| Rectangle::new([(bar.left, bar.bottom), (bar.right, bar.top)], color.filled()));
            let legend = move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled());
            chart.draw_series(rectangles)?.label(&series.name).legend(legend);
        }
        for bar in positioned.iter().flatten() {
            annotate(bar, chart.plotting_area())?;
        }
        let below = TextStyle::from((FONT, 14).into_font()).pos(Pos::new(HPos::Center, VPos::Top));
        for (number, group) in self.groups.iter().enumerate() {
            let (x, y) = chart.plotting_area().map_coordinate(&(axis(number) + 0.5, 0.0));
            root.draw(&Text::new(group.clone(), (x, y + 8), below.clone()))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .label_font((FONT, 15))
            .draw()?;
        root.present()
    }

    fn positions(&self, number: usize) -> Vec<PositionedBar> {
        let Some(series) = self.series.get(number) else { return Vec::new() };
        let bars = series.bars.iter().enumerate();
        bars.map(|(group, bar)| match self.layout {
            Layout::Beside => {
                let width = FILLED / axis(self.series.len());
                let left = axis(group) + (1.0 - FILLED) / 2.0 + axis(number) * width;
                PositionedBar { left, right: left + width, bottom: 0.0, top: bar.value, range: Some(bar.range) }
            }
            Layout::Stacked => {
                let below = self.series.iter().take(number).filter_map(|series| series.bars.get(group));
                let bottom: f64 = below.map(|bar| bar.value).sum();
                let left = axis(group) + (1.0 - FILLED) / 2.0;
                // The last series carries the sum of the stack.
                let top = bottom + bar.value;
                let range = (number + 1 == self.series.len()).then_some((top, top));
                PositionedBar { left, right: left + FILLED, bottom, top, range }
            }
        })
        .collect()
    }
}

/// Draws the range of a bar as a line, and its value above the line.
fn annotate<Backend: DrawingBackend>(
    bar: &PositionedBar,
    area: &DrawingArea<Backend, Plane>,
) -> Result<(), DrawingAreaErrorKind<Backend::ErrorType>> {
    let middle = f64::midpoint(bar.left, bar.right);
    let Some((least, most)) = bar.range else { return Ok(()) };
    area.draw(&PathElement::new(vec![(middle, least), (middle, most)], BLACK.stroke_width(1)))?;
    let above = TextStyle::from((FONT, 14).into_font()).pos(Pos::new(HPos::Center, VPos::Bottom));
    let (x, y) = (middle, most.max(bar.top));
    area.draw(&(EmptyElement::at((x, y)) + Text::new(short(bar.top), (0, -3), above)))
}

/// Formats a number with about three digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 99.95 => format!("{value:.0}"),
        middle if middle >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are a few groups and series")]
fn axis(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(layout: Layout) -> Chart {
        let bar = |value: f64| Bar { value, range: (value, value + 1.0) };
        let series = |name: &str, low: f64| Series { name: name.to_owned(), bars: vec![bar(low), bar(low * 2.0)] };
        let groups = vec!["steady".to_owned(), "spiky".to_owned()];
        Chart { title: "A title", unit: "ms", groups, series: vec![series("one", 1.25), series("two", 3.5)], layout }
    }

    #[test]
    fn a_chart_names_its_groups_series_and_numbers() {
        let svg = chart(Layout::Beside).svg().unwrap();
        for text in ["A title", "ms", "steady", "spiky", "one", "two", "1.25", "2.50", "3.50", "7.00"] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
    }

    #[test]
    fn a_stack_shows_the_sum_of_each_group() {
        let svg = chart(Layout::Stacked).svg().unwrap();
        assert!(svg.contains("4.75") && svg.contains("9.50") && !svg.contains("3.50"), "{svg}");
    }

    #[test]
    fn bars_of_a_stack_stand_on_each_other() {
        let chart = chart(Layout::Stacked);
        let (lower, upper) = (&chart.positions(0)[1], &chart.positions(1)[1]);
        assert_eq!((lower.bottom, lower.top, upper.bottom, upper.top), (0.0, 2.5, 2.5, 9.5));
    }

    #[test]
    fn a_number_has_about_three_digits() {
        assert_eq!([0.0, 1.234, 12.34, 123.4].map(short), ["0.00", "1.23", "12.3", "123"]);
    }
}
