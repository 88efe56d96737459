use super::*;

fn axis(label: &str, spacing: Spacing) -> Axis {
    Axis {
        label: label.to_owned(),
        spacing,
    }
}

fn lines() -> Lines {
    let curve = (1..20)
        .map(|i| (f64::from(i) / 50.0, 2.0 / f64::from(i)))
        .collect();
    Lines {
        title: "A trade of <two> & more".to_owned(),
        x: axis("nats/token lost", Spacing::Linear),
        y: axis("bits/token", Spacing::Logarithmic),
        series: vec![
            Series {
                name: "lossy".to_owned(),
                points: curve,
                mark: Mark::LineWithDots,
            },
            Series {
                name: "lossless".to_owned(),
                points: vec![(0.0, 3.0)],
                mark: Mark::Dots,
            },
        ],
    }
}

fn bars() -> Bars {
    Bars {
        title: "Bits per token".to_owned(),
        axis: axis("bits/token", Spacing::Logarithmic),
        bars: vec![
            ("server-sent events".to_owned(), 1807.0),
            ("zstd -19".to_owned(), 21.6),
            ("ours".to_owned(), 1.49),
        ],
    }
}

#[test]
fn numbers_are_written_for_readers() {
    let cases = [
        (0.0, "0"),
        (0.25, "0.25"),
        (1.0 / 3.0, "0.333"),
        (1807.0, "1,807"),
        (123_456.0, "123,456"),
        (-2000.0, "-2,000"),
        (1e14, "1e14"),
        (2.5e14, "2.5e14"),
        (3e-7, "3e-7"),
        (0.1 + 0.2, "0.3"),
    ];
    for (value, text) in cases {
        assert_eq!(number(value), text);
    }
}

#[test]
fn axes_end_at_round_numbers_and_show_everything() {
    use plotters::coord::ranged1d::{BoldPoints, Ranged as _};
    for spacing in [Spacing::Linear, Spacing::Logarithmic] {
        for values in [
            vec![1.0],
            vec![0.3, 0.31],
            vec![7e-9, 3e14],
            vec![0.04, 0.9],
            vec![3.0, 40.0],
        ] {
            let scale = Scale::around(values.iter().copied(), spacing).unwrap();
            let range = scale.range();
            assert!(
                values
                    .iter()
                    .all(|v| *v >= range.start * 0.999 && *v <= range.end * 1.001),
                "{values:?} {range:?}"
            );
            let marks = scale.key_points(BoldPoints(10));
            assert!(
                (2..=11).contains(&marks.len()),
                "{values:?} {spacing:?} {marks:?}"
            );
            assert!(marks.is_sorted());
            assert_eq!(scale.map(&range.start, (10, 500)), 10);
            assert_eq!(scale.map(&range.end, (10, 500)), 500);
        }
    }
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let mut chart = lines();
    chart.series[1].points[0].1 = 0.0;
    let said = format!("{:#}", chart.svg().unwrap_err());
    assert!(
        said.contains("bits/token") && said.contains("logarithmic"),
        "{said}"
    );
    chart.series[1].points[0].1 = f64::NAN;
    assert!(chart.svg().is_err());
    chart.series.clear();
    assert!(chart.svg().is_err());
    let mut chart = bars();
    chart.bars[1].1 = -1.0;
    assert!(chart.svg().is_err());
}

/// The texts of an SVG, in order.
fn texts(svg: &str) -> Vec<String> {
    let document = usvg::roxmltree::Document::parse(svg).unwrap();
    let nodes = document.descendants().filter(|node| node.has_tag_name("text"));
    nodes
        .filter_map(|node| Some(node.text()?.trim().to_owned()))
        .collect()
}

#[test]
fn a_chart_says_what_it_shows() {
    let said = texts(&lines().svg().unwrap());
    for text in [
        "A trade of <two> & more",
        "nats/token lost",
        "bits/token",
        "lossy",
        "lossless",
    ] {
        assert!(said.iter().any(|one| one == text), "{text}: {said:?}");
    }
    let said = texts(&bars().svg().unwrap());
    for text in [
        "Bits per token",
        "server-sent events",
        "1,807",
        "zstd -19",
        "21.6",
        "ours",
        "1.49",
    ] {
        assert!(said.iter().any(|one| one == text), "{text}: {said:?}");
    }
}

/// Without its texts a chart has other pixels: the font that is linked in is found.
#[test]
fn letters_reach_the_pixels() {
    let svg = bars().svg().unwrap();
    let silent = svg.replace("<text", "<g").replace("</text", "</g");
    let ink = |svg: &str| {
        let pixels = Pixmap::decode_png(&png(svg).unwrap()).unwrap();
        pixels.pixels().iter().filter(|pixel| pixel.red() < 0x80).count()
    };
    let (with, without) = (ink(&svg), ink(&silent));
    assert!(
        with > without + 2000,
        "{with} dark pixels with text, {without} without"
    );
}

#[test]
fn both_files_are_written() {
    let folder = tempfile::TempDir::new().unwrap();
    for name in ["trade.v1", "trade.v1.png", "trade.v1.svg"] {
        let [svg, png] = save(&lines().svg().unwrap(), &folder.path().join("charts").join(name)).unwrap();
        assert_eq!(svg.file_name().unwrap(), "trade.v1.svg");
        assert_eq!(png.file_name().unwrap(), "trade.v1.png");
        assert!(fs::read(&svg).unwrap().starts_with(b"<svg"));
        assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"));
    }
}
