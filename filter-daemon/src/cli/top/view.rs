//! Draws what `top` knows: a table of peers, or one peer with its reasons, sources and samples; or the table as text.
use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{
    Block, Cell, List, Paragraph, Row as TableRow, Sparkline, Table, TableState,
};

use super::app::{App, Row};
use crate::cli::violations;
use crate::when;

/// Of a peer's violations over time, so much is shown in the table.
const SPARK: usize = 20;
/// Bars of one letter each.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(app)), head);
    match app.shown() {
        Some(row) => draw_peer(frame, body, row),
        None => draw_table(frame, body, app),
    }
    let keys = "up/down choose  enter show  esc back  s sort  q end";
    frame.render_widget(
        Paragraph::new(Line::styled(keys, Style::new().fg(Color::DarkGray))),
        foot,
    );
}

fn headline(app: &App) -> Line<'static> {
    match &app.away {
        Some(why) => Line::styled(format!("no answer: {why}"), Style::new().fg(Color::Red)),
        None => Line::from(format!(
            "bcp38 top  {}  {} peers, by {}",
            when::local(app.time()),
            app.rows().len(),
            app.sort.name()
        )),
    }
}

const HEADS: [&str; 7] = [
    "peer",
    "as",
    "state",
    "passed/s",
    "would drop/s",
    "dropped/s",
    "violations over time",
];

fn draw_table(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let rows = app.rows().iter().map(|row| {
        let [name, asn, state, passed, would_drop, dropped] = cells(row);
        TableRow::new([
            Cell::from(name),
            Cell::from(asn),
            Cell::from(state).style(state_style(row)),
            Cell::from(passed),
            Cell::from(would_drop).style(loud(row.rates.would_drop, Color::Yellow)),
            Cell::from(dropped).style(loud(row.rates.dropped, Color::Red)),
            Cell::from(spark(row)),
        ])
    });
    let widths = [
        Constraint::Min(8),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Length(SPARK as u16),
    ];
    let table = Table::new(rows, widths)
        .header(TableRow::new(HEADS).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(Some(app.chosen));
    frame.render_stateful_widget(table, area, &mut state);
}

fn cells(row: &Row) -> [String; 6] {
    let rates = row.rates;
    [
        row.name.clone(),
        row.asn.to_string(),
        row.state.clone(),
        format!("{:.1}", rates.passed),
        format!("{:.1}", rates.would_drop),
        format!("{:.1}", rates.dropped),
    ]
}

fn state_style(row: &Row) -> Style {
    Style::new().fg(match row.state.as_str() {
        "enforcing" | "observing" => Color::Green,
        "degraded" => Color::Red,
        _ => Color::Yellow,
    })
}

fn loud(rate: f64, colour: Color) -> Style {
    if rate > 0.0 {
        Style::new().fg(colour)
    } else {
        Style::new()
    }
}

/// The latest violations a second as letters.
fn spark(row: &Row) -> String {
    let skip = row.past.len().saturating_sub(SPARK);
    let shown: Vec<u64> = row.past.iter().skip(skip).copied().collect();
    let highest = shown.iter().max().copied().unwrap_or(0);
    let bar = |&value: &u64| match (value, highest) {
        (0, _) | (_, 0) => ' ',
        (value, highest) => {
            let index = (value * 8).div_ceil(highest).clamp(1, 8) - 1;
            BARS[usize::try_from(index).unwrap_or(0)]
        }
    };
    shown.iter().map(bar).collect()
}

fn draw_peer(frame: &mut Frame<'_>, area: Rect, row: &Row) {
    let reasons = u16::try_from(row.reasons.len()).unwrap_or(8).clamp(1, 12);
    let [head, past, middle, samples] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(5),
        Constraint::Length(reasons + 2),
        Constraint::Min(3),
    ])
    .areas(area);
    let missing = row.missing.as_deref().unwrap_or_default();
    let title = format!("{} (AS{}): {}", row.name, row.asn, row.state);
    frame.render_widget(
        Paragraph::new(vec![Line::from(title), Line::from(missing.to_owned())]),
        head,
    );
    let bars: Vec<u64> = row.past.iter().copied().collect();
    let sparkline = Sparkline::default()
        .block(Block::bordered().title("violations a second"))
        .data(&bars)
        .style(Style::new().fg(Color::Red));
    frame.render_widget(sparkline, past);
    let [left, right] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(middle);
    let lines = row
        .reasons
        .iter()
        .map(|(reason, (rate, all))| format!("{reason:<24} {rate:>10.1}/s {all:>12}"));
    frame.render_widget(
        List::new(lines).block(Block::bordered().title("reasons")),
        left,
    );
    let sources = row
        .top_sources()
        .into_iter()
        .map(|(block, samples)| format!("{block:<24} {samples:>6} samples"));
    frame.render_widget(
        List::new(sources).block(Block::bordered().title("sources of samples")),
        right,
    );
    let latest = row
        .samples
        .iter()
        .rev()
        .map(|it| format!("{}  {}", when::clock(it.time), violations::detail(it)));
    frame.render_widget(
        List::new(latest).block(Block::bordered().title("latest samples")),
        samples,
    );
}

/// The table for who has no terminal.
pub(super) fn text(app: &App) -> String {
    let names = app.rows().iter().map(|row| row.name.chars().count());
    let width = names.max().unwrap_or(0).max(4);
    let mut text = String::new();
    let mut line = |cells: [&str; 6]| {
        let [name, asn, state, passed, would_drop, dropped] = cells;
        _ = writeln!(
            text,
            "{name:width$}  {asn:>10}  {state:<9}  {passed:>10}  {would_drop:>12}  {dropped:>10}"
        ); // a String takes everything
    };
    let [name, asn, state, passed, would_drop, dropped, _] = HEADS;
    line([name, asn, state, passed, would_drop, dropped]);
    for row in app.rows() {
        let cells = cells(row);
        line([
            &cells[0], &cells[1], &cells[2], &cells[3], &cells[4], &cells[5],
        ]);
    }
    text
}
