//! Violations over time by reason as stacked bars, inline SVG: nothing is loaded, no script runs.
use std::collections::BTreeSet;

use maud::{Markup, html};

use super::Point;
use crate::when;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 30.0;
/// Told apart by those who see no red and green as well (Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000",
];

/// The chart, with a legend. Nothing if there is nothing to show.
pub(super) fn stacked(points: &[Point]) -> Markup {
    let reasons: BTreeSet<&str> = points
        .iter()
        .flat_map(|it| it.packets.keys().map(String::as_str))
        .collect();
    let reasons: Vec<&str> = reasons.into_iter().collect();
    let sums = points.iter().map(|it| it.packets.values().sum::<u64>());
    let highest = sums.max().unwrap_or(0);
    if highest == 0 {
        return html! {};
    }
    #[expect(clippy::cast_precision_loss, reason = "few points")]
    let width = (WIDTH - LEFT) / points.len() as f64;
    let begin = points.first().map_or(0.0, |it| it.from);
    let end = points.last().map_or(0.0, |it| it.to);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", HEIGHT + BOTTOM)) role="img" aria-label="packets that broke the policy, over time" {
            line x1=(LEFT) y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) stroke="#888" {} // never `;`: in SVG what is not closed holds all that follows, unseen
            text x=(LEFT - 6.0) y="12" text-anchor="end" { (highest) }
            text x=(LEFT - 6.0) y=(HEIGHT) text-anchor="end" { "0" }
            text x=(LEFT) y=(HEIGHT + 20.0) { (when::local(begin)) }
            text x=(WIDTH) y=(HEIGHT + 20.0) text-anchor="end" { (when::local(end)) }
            @for (index, point) in points.iter().enumerate() {
                @for (reason, bar) in bars(point, &reasons, highest) {
                    rect x=(number(x(index, width))) y=(number(bar.top)) width=(number(width.max(1.0) - 0.5)) height=(number(bar.height)) fill=(colour(reason)) {
                        title { (reasons[reason]) ": " (bar.packets) " packets, " (when::local(point.from)) }
                    }
                }
            }
        }
        ul.legend {
            @for (index, reason) in reasons.iter().enumerate() {
                li { span style=(format!("background:{}", colour(index))) {} " " (reason) }
            }
        }
    }
}

struct Bar {
    top: f64,
    height: f64,
    packets: u64,
}

/// The bars of one point, from the bottom up.
#[expect(clippy::cast_precision_loss, reason = "heights in a picture")]
fn bars(point: &Point, reasons: &[&str], highest: u64) -> Vec<(usize, Bar)> {
    let mut below = 0.0;
    let mut bars = Vec::new();
    for (index, reason) in reasons.iter().enumerate() {
        let packets = point.packets.get(*reason).copied().unwrap_or(0);
        if packets > 0 {
            let height = packets as f64 / highest as f64 * (HEIGHT - 10.0);
            below += height;
            bars.push((
                index,
                Bar {
                    top: HEIGHT - below,
                    height,
                    packets,
                },
            ));
        }
    }
    bars
}

#[expect(clippy::cast_precision_loss, reason = "few points")]
fn x(index: usize, width: f64) -> f64 {
    LEFT + index as f64 * width
}

fn number(value: f64) -> String {
    format!("{value:.2}")
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}
