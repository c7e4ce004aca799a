//! The picture of `top` in the README: what [`view::draw`] draws, as SVG. Drawn by `cargo xtask pictures`, and compared with
//! what is committed whenever the tests run.
use std::fmt::Write as _;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use serde_json::json;

use super::app::MAX_RATES;
use super::*;

const COLUMNS: u16 = 96;
const ROWS: u16 = 9;
/// Of one letter, in pixels.
const WIDTH: f32 = 8.4;
const HEIGHT: u16 = 18;
const PAPER: &str = "#16181d";
const INK: &str = "#d7dae0";
/// The time in the picture, whatever the clock and its zone.
const TIME: &str = "2026-11-29 14:00:00 +00:00";

/// A peer of the picture: what it sends each second.
struct Sends {
    name: &'static str,
    asn: u32,
    state: &'static str,
    permitted: u64,
    spoofed: fn(u64) -> u64,
    dropped: bool,
}

const PEERS: [Sends; 5] = [
    Sends {
        name: "transit-a",
        asn: 64499,
        state: "enforcing",
        permitted: 182_400,
        spoofed: |second| 40 + 900 * u64::from(second % 20 > 11),
        dropped: true,
    },
    Sends {
        name: "icrc",
        asn: 57965,
        state: "enforcing",
        permitted: 9_310,
        spoofed: |second| second % 7,
        dropped: true,
    },
    Sends {
        name: "v6only",
        asn: 214_312,
        state: "observing",
        permitted: 1_204,
        spoofed: |second| 3 * u64::from(second % 5 == 0),
        dropped: false,
    },
    Sends {
        name: "new-peer",
        asn: 64501,
        state: "holding",
        permitted: 88,
        spoofed: |_| 0,
        dropped: false,
    },
    Sends {
        name: "cdn",
        asn: 64510,
        state: "enforcing",
        permitted: 640_112,
        spoofed: |_| 0,
        dropped: true,
    },
];

fn status(second: u64) -> Value {
    let peer = |sends: &Sends| {
        let spoofed: u64 = (0..=second).map(sends.spoofed).sum();
        let (passed, dropped) = if sends.dropped {
            (0, spoofed)
        } else {
            (spoofed, 0)
        };
        json!({
            "name": sends.name, "asn": sends.asn, "state": sends.state, "missing": null,
            "counters": {
                "permitted": { "passed": { "packets": sends.permitted * second }, "dropped": { "packets": 0 } },
                "source-unannounced": { "passed": { "packets": passed }, "dropped": { "packets": dropped } },
            },
        })
    };
    json!({ "peers": PEERS.iter().map(peer).collect::<Vec<_>>() })
}

fn drawn() -> Buffer {
    let mut app = App::new(Sort::Violations);
    for second in 0..=MAX_RATES as u64 {
        app.update(second as f64, &status(second), Vec::new());
    }
    let mut terminal = Terminal::new(TestBackend::new(COLUMNS, ROWS)).unwrap();
    terminal.draw(|frame| view::draw(frame, &app)).unwrap();
    terminal.backend().buffer().clone()
}

fn ink(cell: &Cell) -> (&'static str, &'static str) {
    let ink = match cell.fg {
        Color::Green => "#7fc77f",
        Color::Red => "#f07878",
        Color::Yellow => "#e5c76b",
        Color::DarkGray => "#7a808c",
        _ => INK,
    };
    if cell.modifier.contains(Modifier::REVERSED) {
        (PAPER, ink)
    } else {
        (ink, PAPER)
    }
}

/// Letters that follow each other and look alike.
struct Run {
    column: u16,
    text: String,
    ink: &'static str,
    paper: &'static str,
    is_bold: bool,
}

fn runs(buffer: &Buffer, row: u16) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for column in 0..COLUMNS {
        let cell = &buffer[(column, row)];
        let (ink, paper) = ink(cell);
        let is_bold = cell.modifier.contains(Modifier::BOLD);
        match runs.last_mut() {
            Some(last) if (last.ink, last.paper, last.is_bold) == (ink, paper, is_bold) => {
                last.text.push_str(cell.symbol());
            }
            _ => runs.push(Run {
                column,
                text: cell.symbol().to_owned(),
                ink,
                paper,
                is_bold,
            }),
        }
    }
    runs
}

fn svg(buffer: &Buffer) -> String {
    let (width, height) = (f32::from(COLUMNS) * WIDTH, ROWS * HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {}\" role=\"img\">\n\
         <title>bcp38 top: five peers, their states, packets a second and violations over time</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{PAPER}\"/>\n\
         <g font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"14\">\n",
        width + 20.0,
        height + 20,
    );
    for row in 0..ROWS {
        for run in runs(buffer, row) {
            // Browsers make one of several spaces, but not of these.
            let text = run.text.trim_end().replace(' ', "\u{a0}");
            let (x, length) = (
                10.0 + f32::from(run.column) * WIDTH,
                run.text.chars().count(),
            );
            let top = 10 + row * HEIGHT;
            if run.paper != PAPER {
                let width = length as f32 * WIDTH;
                _ = writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{HEIGHT}\" fill=\"{}\"/>",
                    run.paper
                );
            }
            if text.is_empty() {
                continue;
            }
            let weight = if run.is_bold {
                " font-weight=\"bold\""
            } else {
                ""
            };
            let width = text.chars().count() as f32 * WIDTH;
            _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" textLength=\"{width:.1}\" fill=\"{}\"{weight}>{text}</text>",
                top + 14,
                run.ink
            );
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

#[test]
fn the_picture_of_top_is_what_top_draws() {
    let now = when::local(MAX_RATES as f64).replace(' ', "\u{a0}");
    let svg = svg(&drawn());
    assert!(svg.contains(&now), "{svg}");
    let svg = svg.replace(&now, &TIME.replace(' ', "\u{a0}"));
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/pictures/top.svg");
    if std::env::var_os("BCP38_PICTURES").is_some() {
        std::fs::write(place, &svg).unwrap();
    }
    let committed = std::fs::read_to_string(place).unwrap();
    assert!(
        committed == svg,
        "docs/pictures/top.svg is another: `cargo xtask pictures` draws it"
    );
}
