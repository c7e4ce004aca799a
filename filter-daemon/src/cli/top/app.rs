//! What `top` knows: each peer's rates over time, its samples, and where the reader is. Pure: answers and keys come in.
use std::collections::{BTreeMap, VecDeque};

use filter_core::Reason;
use ratatui::crossterm::event::KeyCode;
use serde_json::Value;

use super::{Sort, packets};
use crate::advise::block;
use crate::records::ViolationRecord;

/// Rates that are remembered for each peer: two minutes.
pub(super) const MAX_RATES: usize = 120;
/// Samples that are remembered for each peer.
pub(super) const MAX_SAMPLES: usize = 200;

/// What a peer sends, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) passed: f64,
    pub(super) would_drop: f64,
    pub(super) dropped: f64,
}

impl Rates {
    pub(super) fn violations(self) -> f64 {
        self.would_drop + self.dropped
    }

    fn all(self) -> f64 {
        self.passed + self.violations()
    }
}

/// One peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) asn: u64,
    pub(super) state: String,
    pub(super) missing: Option<String>,
    pub(super) rates: Rates,
    /// Violations a second, the latest last.
    pub(super) past: VecDeque<u64>,
    /// By reason: packets a second, and packets at all.
    pub(super) reasons: BTreeMap<&'static str, (f64, u64)>,
    /// The latest last.
    pub(super) samples: VecDeque<ViolationRecord>,
}

impl Row {
    /// The blocks that most of its samples came from.
    pub(super) fn top_sources(&self) -> Vec<(String, usize)> {
        let mut blocks: BTreeMap<String, usize> = BTreeMap::new();
        for source in self.samples.iter().filter_map(|it| it.source) {
            *blocks.entry(block(source)).or_default() += 1;
        }
        let mut blocks: Vec<_> = blocks.into_iter().collect();
        blocks.sort_by_key(|(_, samples)| std::cmp::Reverse(*samples));
        blocks
    }
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct App {
    rows: Vec<Row>,
    counters: BTreeMap<String, Value>,
    time: f64,
    pub(super) sort: Sort,
    pub(super) chosen: usize,
    /// The reader chose it: the choice goes along with its peer. Else it is the first.
    is_chosen: bool,
    /// The peer that is shown alone.
    pub(super) shown: Option<String>,
    /// Why the daemon does not answer.
    pub(super) away: Option<String>,
}

impl App {
    pub(super) const fn new(sort: Sort) -> Self {
        Self {
            rows: Vec::new(),
            counters: BTreeMap::new(),
            time: 0.0,
            sort,
            chosen: 0,
            is_chosen: false,
            shown: None,
            away: None,
        }
    }

    pub(super) fn set_away(&mut self, why: Option<String>) {
        self.away = why;
    }

    /// Of the last answer, seconds since 1970.
    pub(super) const fn time(&self) -> f64 {
        self.time
    }

    /// The peers, in the order that is wanted.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The peer that is shown alone.
    pub(super) fn shown(&self) -> Option<&Row> {
        let name = self.shown.as_ref()?;
        self.rows.iter().find(|row| row.name == *name)
    }

    /// An answer of the daemon.
    pub(super) fn update(&mut self, now: f64, status: &Value, samples: Vec<ViolationRecord>) {
        let mut former: BTreeMap<String, Row> = std::mem::take(&mut self.rows)
            .into_iter()
            .map(|row| (row.name.clone(), row))
            .collect();
        let seconds = now - std::mem::replace(&mut self.time, now);
        let peers = status["peers"].as_array().into_iter().flatten();
        for peer in peers {
            let name = peer["name"].as_str().unwrap_or_default();
            let mut row = former.remove(name).unwrap_or_default();
            let before = self
                .counters
                .insert(name.to_owned(), peer["counters"].clone());
            row.take(peer, before.as_ref(), seconds);
            self.rows.push(row);
        }
        for sample in samples {
            let mut rows = self.rows.iter_mut();
            if let Some(row) = rows.find(|row| Some(&row.name) == sample.peer.as_ref()) {
                if row.samples.len() >= MAX_SAMPLES {
                    row.samples.pop_front();
                }
                row.samples.push_back(sample);
            }
        }
        self.arrange();
    }

    fn arrange(&mut self) {
        let chosen = self
            .rows
            .get(self.chosen)
            .filter(|_| self.is_chosen)
            .map(|row| row.name.clone());
        let sort = self.sort;
        let by = |row: &Row| match sort {
            Sort::Violations => row.rates.violations(),
            Sort::Dropped => row.rates.dropped,
            Sort::Packets => row.rates.all(),
            Sort::Name => 0.0,
        };
        self.rows
            .sort_by(|a, b| by(b).total_cmp(&by(a)).then_with(|| a.name.cmp(&b.name)));
        let place = chosen.and_then(|name| self.rows.iter().position(|row| row.name == name));
        let last = self.rows.len().saturating_sub(1);
        self.chosen = place.unwrap_or(self.chosen).min(last);
    }

    /// A key. Is it the last one?
    pub(super) fn key(&mut self, key: KeyCode) -> bool {
        match key {
            KeyCode::Char('q') => return true,
            KeyCode::Up | KeyCode::Char('k') => {
                self.is_chosen = true;
                self.chosen = self.chosen.saturating_sub(1);
            }
            KeyCode::Down | KeyCode::Char('j') => {
                self.is_chosen = true;
                self.chosen = (self.chosen + 1).min(self.rows.len().saturating_sub(1));
            }
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.arrange();
            }
            KeyCode::Enter => {
                self.shown = self.rows.get(self.chosen).map(|row| row.name.clone());
            }
            KeyCode::Esc | KeyCode::Backspace => self.shown = None,
            _ => {}
        }
        false
    }
}

impl Row {
    fn take(&mut self, peer: &Value, before: Option<&Value>, seconds: f64) {
        let text = |key: &str| peer[key].as_str().map(str::to_owned);
        self.name = text("name").unwrap_or_default();
        self.asn = peer["asn"].as_u64().unwrap_or_default();
        self.state = text("state").unwrap_or_default();
        self.missing = text("missing");
        self.rates = Rates::default();
        self.reasons.clear();
        let counters = &peer["counters"];
        let Some(before) = before.filter(|_| seconds > 0.0) else {
            return; // rates need two looks
        };
        for reason in Reason::ALL {
            let name = reason.name();
            let since = |fate: &str| {
                let now = packets(counters, name, fate);
                // Fewer than before: the filter was loaded anew.
                let before = packets(before, name, fate);
                #[expect(clippy::cast_precision_loss, reason = "packets of a second fit")]
                let packets = if now < before { now } else { now - before } as f64;
                packets / seconds
            };
            let (passed, dropped) = (since("passed"), since("dropped"));
            if reason.is_violation() {
                self.rates.would_drop += passed;
            } else {
                self.rates.passed += passed;
            }
            self.rates.dropped += dropped;
            let all = packets(counters, name, "passed") + packets(counters, name, "dropped");
            if all > 0 {
                self.reasons.insert(name, (passed + dropped, all));
            }
        }
        if self.past.len() >= MAX_RATES {
            self.past.pop_front();
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a bar of the sparkline"
        )]
        self.past.push_back(self.rates.violations().round() as u64);
    }
}
