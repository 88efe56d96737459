//! Charts: drawn once as SVG, and rasterised from that to PNG with a font of our own, so that both look alike and no
//! machine needs a font installed.

mod plan;
mod scale;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result, anyhow, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, Tree, fontdb};

pub(crate) use scale::Spacing;
use scale::{Scale, number};
use weir_setup::tool::files;

/// Draws what another command has said
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Plan(plan::Args),
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Plan(args) => plan::run(args),
    }
}

/// What an axis shows, and how its values are spaced.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) spacing: Spacing,
}

/// Values over values: lines, dots, or both.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

/// Points that belong together, joined in the order given.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) mark: Mark,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Line,
    Dots,
    LineWithDots,
}

/// Named values as horizontal bars, the first on top.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) axis: Axis,
    pub(crate) bars: Vec<(String, f64)>,
}

/// Writes a chart to `stem` with the endings .svg and .png, and gives both paths; makes the folder if it is not there. A
/// `stem` may have either ending already.
///
/// # Errors
/// A file or folder that cannot be written.
pub(crate) fn save(svg: &str, stem: &Path) -> Result<[PathBuf; 2]> {
    let has_ending = stem.extension().is_some_and(|end| end == "svg" || end == "png");
    let stem = if has_ending {
        stem.with_extension("")
    } else {
        stem.to_owned()
    };
    let with = |ending: &str| {
        let mut path = stem.clone().into_os_string();
        path.push(ending);
        PathBuf::from(path)
    };
    let paths = [with(".svg"), with(".png")];
    if let Some(folder) = stem.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    files::write(&paths[0], svg.as_bytes())?;
    files::write(&paths[1], &png(svg)?)?;
    Ok(paths)
}

impl Lines {
    /// The chart as SVG.
    ///
    /// # Errors
    /// No points, or one that an axis cannot show: not finite, or not positive on a logarithmic one.
    pub(crate) fn svg(&self) -> Result<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Scale::around(points().map(|p| p.0), self.x.spacing).with_context(|| self.x.label.clone())?;
        let y = Scale::around(points().map(|p| p.1), self.y.spacing).with_context(|| self.y.label.clone())?;
        let mut svg = String::new();
        self.draw(x, y, &mut svg)
            .map_err(|error| anyhow!("cannot draw '{}': {error}", self.title))?;
        Ok(svg)
    }

    fn draw(&self, x: Scale, y: Scale, svg: &mut String) -> Result<(), Failed> {
        let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, text(TITLE))
            .margin(16)
            // Room for half of the last number.
            .margin_right(30)
            .x_label_area_size(50)
            .y_label_area_size(94)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(text(LABEL))
            .axis_desc_style(text(LABEL))
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .draw()?;
        for (series, &color) in self.series.iter().zip(COLORS.iter().cycle()) {
            let points = || series.points.iter().copied();
            let legend = move |(x, y)| Rectangle::new([(x + 4, y - 4), (x + 18, y + 4)], color.filled());
            if series.mark != Mark::Dots {
                chart
                    .draw_series(LineSeries::new(points(), color.stroke_width(2)))?
                    .label(&series.name)
                    .legend(legend);
            }
            if series.mark != Mark::Line {
                let dots = chart.draw_series(points().map(|point| Circle::new(point, 4, color.filled())))?;
                if series.mark == Mark::Dots {
                    dots.label(&series.name).legend(legend);
                }
            }
        }
        if self.series.len() > 1 {
            chart
                .configure_series_labels()
                .label_font(text(LABEL))
                .background_style(WHITE.mix(0.85))
                .border_style(GRID)
                .position(SeriesLabelPosition::UpperRight)
                .draw()?;
        }
        root.present()
    }
}

impl Bars {
    /// The chart as SVG.
    ///
    /// # Errors
    /// No bars, or a value that the axis cannot show: not finite, negative, or zero on a logarithmic one.
    pub(crate) fn svg(&self) -> Result<String> {
        let values = || self.bars.iter().map(|(_, value)| *value);
        ensure!(
            values().all(|value| value >= 0.0),
            "a bar of '{}' is negative",
            self.title
        );
        let scale = Scale::under(values(), self.axis.spacing).with_context(|| self.axis.label.clone())?;
        let mut svg = String::new();
        self.draw(scale, &mut svg)
            .map_err(|error| anyhow!("cannot draw '{}': {error}", self.title))?;
        Ok(svg)
    }

    fn draw(&self, scale: Scale, svg: &mut String) -> Result<(), Failed> {
        let count = self.bars.len() as f64;
        let longest = self.bars.iter().map(|(name, _)| name.chars().count()).max();
        let names = longest.unwrap_or(0) as u32 * LABEL_ADVANCE + 12;
        let height = 130 + BAR * self.bars.len() as u32;
        let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let low = scale.low();
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, text(TITLE))
            .margin(16)
            // Room for the number behind the longest bar.
            .margin_right(70)
            .x_label_area_size(50)
            .y_label_area_size(names)
            .build_cartesian_2d(scale, 0.0..count)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(text(LABEL))
            .axis_desc_style(text(LABEL))
            .x_desc(&self.axis.label)
            .draw()?;
        for (row, (name, value)) in self.bars.iter().rev().enumerate() {
            let row = row as f64;
            let bar = Rectangle::new([(low, row + 0.18), (*value, row + 0.82)], COLORS[0].filled());
            chart.draw_series([bar])?;
            let beside = |x: f64, h: HPos| {
                (
                    chart.backend_coord(&(x, row + 0.5)),
                    text(LABEL).pos(Pos::new(h, VPos::Center)),
                )
            };
            let ((x, y), style) = beside(low, HPos::Right);
            root.draw(&Text::new(name.clone(), (x - 8, y), style))?;
            let ((x, y), style) = beside(*value, HPos::Left);
            root.draw(&Text::new(number(*value), (x + 6, y), style))?;
        }
        root.present()
    }
}

/// Rasterises an SVG at twice its size.
fn png(svg: &str) -> Result<Vec<u8>> {
    const ZOOM: f32 = 2.0;
    let options = usvg::Options {
        fontdb: FONTS.clone(),
        ..usvg::Options::default()
    };
    let tree = Tree::from_str(svg, &options).context("a chart is not SVG")?;
    let size = tree.size().to_int_size();
    let (width, height) = (size.width() * ZOOM as u32, size.height() * ZOOM as u32);
    let mut pixels = Pixmap::new(width, height).context("a chart has no size")?;
    resvg::render(&tree, Transform::from_scale(ZOOM, ZOOM), &mut pixels.as_mut());
    pixels.encode_png().context("a chart cannot be written as PNG")
}

/// The only font of the PNG; the SVG asks for any sans-serif.
static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    Arc::new(fonts)
});

type Failed = DrawingAreaErrorKind<std::io::Error>;

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

const WIDTH: u32 = 900;
const HEIGHT: u32 = 540;
/// Height of a bar and the gap to the next.
const BAR: u32 = 30;
const TITLE: u32 = 22;
const LABEL: u32 = 17;
/// Pixels of a character of [`LABEL`], somewhat generous.
const LABEL_ADVANCE: u32 = 8;
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
/// Of Okabe and Ito: told apart by nearly every eye.
const COLORS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x22, 0x22, 0x22),
];

#[cfg(test)]
mod tests;
