//! Contrasts of the style sheet's colours, which a test of pages sees only where a page has each of them.

use std::collections::BTreeMap;

const STYLE: &str = include_str!("style.css");

/// The contrast that WCAG 2.2 AA asks of text, and of graphics and the borders of controls.
const TEXT: f64 = 4.5;
const GRAPHICS: f64 = 3.0;

/// Returns the colours of the light and of the dark scheme.
fn schemes() -> [BTreeMap<&'static str, [u8; 3]>; 2] {
    let (light, rest) = STYLE.split_once("@media (prefers-color-scheme: dark)").unwrap();
    [light, rest.split_once("\n}\n").unwrap().0].map(|scheme| {
        let lines =
            scheme.lines().filter_map(|line| line.trim().strip_prefix("--")?.strip_suffix(';')?.split_once(": #"));
        lines.map(|(name, digits)| (name, rgb(digits))).collect()
    })
}

fn rgb(digits: &str) -> [u8; 3] {
    let full: String =
        if digits.len() == 3 { digits.chars().flat_map(|digit| [digit, digit]).collect() } else { digits.to_owned() };
    [0, 2, 4].map(|start| u8::from_str_radix(&full[start..start + 2], 16).unwrap())
}

/// Returns the contrast of two colours, as WCAG 2.2 defines it.
fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let linear = |part: u8| match f64::from(part) / 255.0 {
        part if part <= 0.04045 => part / 12.92,
        part => ((part + 0.055) / 1.055).powf(2.4),
    };
    let luminance = |[red, green, blue]: [u8; 3]| 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    (one / other).max(other / one)
}

#[test]
fn black_on_white_has_the_contrast_that_the_standard_gives_it() {
    assert!((contrast(rgb("000"), rgb("fff")) - 21.0).abs() < 1e-9);
    assert!((contrast(rgb("767676"), rgb("ffffff")) - 4.54).abs() < 0.01);
}

#[test]
fn text_and_graphics_stand_out_from_their_grounds_in_both_schemes() {
    let texts = ["text", "muted", "accent", "alarm"].map(|text| (text, ["ground", "panel"], TEXT));
    let graphics = ["control", "accent", "running", "sleeping", "upgrading", "not-ready"];
    let series = ["series-1", "series-2", "series-3", "series-4", "series-5", "series-6", "series-older"];
    let edge = ["edge-1", "edge-2", "edge-3", "edge-4", "unordered"];
    let marks = graphics.into_iter().chain(series).chain(edge).map(|mark| (mark, ["panel"; 2], GRAPHICS));
    let on_shade = ["text", "muted"].map(|text| (text, ["shade"; 2], TEXT));
    let buttons = [("on-accent", ["accent"; 2], TEXT)];
    let cells = ["heat-1", "heat-2", "heat-3", "heat-4"].map(|heat| ("on-heat", [heat; 2], TEXT));
    let hot = ["heat-5", "heat-6"].map(|heat| ("on-hot", [heat; 2], TEXT));
    let all = texts.into_iter().chain(marks).chain(on_shade).chain(buttons).chain(cells).chain(hot);
    let pairs: Vec<_> = all.flat_map(|(mark, grounds, least)| grounds.map(|ground| (mark, ground, least))).collect();
    for (scheme, colours) in ["light", "dark"].into_iter().zip(schemes()) {
        for (mark, ground, least) in &pairs {
            let found = contrast(colours[mark], colours[ground]);
            assert!(found >= *least, "{scheme}: --{mark} on --{ground} has {found:.2}, expected {least}");
        }
    }
}
