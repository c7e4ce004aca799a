//! Was an address valid at some time? From the journal of routes, and what is valid now. Pure. Where a record is missing, or a
//! table was received at once, the answer is that it is not known: never one that the journal does not show.
use filter_core::{Address, Prefix};
use filter_lifecycle::How;

use crate::records::{ENDED, RouteRecord};

/// What is known of one side of one peer.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// Its records, oldest first.
    pub records: &'a [RouteRecord],
    /// When the running daemon began to follow its configuration, microseconds since 1970.
    pub began: u64,
    /// How many changes of the side it has counted since.
    pub changes: u64,
    /// The valid prefixes that cover the address now.
    pub valid_now: &'a [Prefix],
}

/// What was then.
#[derive(Clone, Debug, PartialEq)]
pub struct Then {
    /// Was the address valid? None if that is not known.
    pub valid: Option<bool>,
    /// The longest prefix that made it valid.
    pub prefix: Option<Prefix>,
    /// What happened to the prefixes that cover it until then, the latest last: at most [`MAX_SHOWN`].
    pub before: Vec<RouteRecord>,
    /// What happened next.
    pub after: Option<RouteRecord>,
    /// Why it is not known.
    pub why: Option<String>,
}

/// Records that are shown.
pub const MAX_SHOWN: usize = 8;

/// The records of one run of the daemon, or of one configuration of it.
struct Run<'a> {
    began: f64,
    records: Vec<&'a RouteRecord>,
    /// Times in which something happened that is not recorded.
    gaps: Vec<(f64, f64)>,
    is_current: bool,
}

/// Was the address valid at this time?
#[must_use]
pub fn at(material: Material<'_>, time: f64, address: Address) -> Then {
    let Some(run) = Run::of(material, time) else {
        return Then {
            valid: None,
            prefix: None,
            before: Vec::new(),
            after: None,
            why: Some("the journal does not reach back so far".to_owned()),
        };
    };
    let covers = |record: &&RouteRecord| prefix(record).is_some_and(|it| it.contains(address));
    let its: Vec<&RouteRecord> = run.records.iter().copied().filter(covers).collect();
    let mut prefixes: Vec<Prefix> = its.iter().filter_map(|it| prefix(it)).collect();
    if run.is_current {
        prefixes.extend(material.valid_now);
    }
    prefixes.sort_unstable_by_key(|it| std::cmp::Reverse(it.len()));
    prefixes.dedup();
    let each: Vec<(Prefix, Option<bool>)> = prefixes
        .into_iter()
        .map(|each| (each, run.was_valid(material, time, each)))
        .collect();
    let found = each.iter().find(|(_, was)| *was == Some(true));
    // A prefix that is nowhere to be seen was not valid, if all that happened since, or before, is.
    let is_whole = run.is_whole(run.began, time) || run.is_whole_until_now(time);
    let is_known = is_whole && each.iter().all(|(_, was)| was.is_some());
    let valid = match found {
        Some(_) => Some(true),
        None => is_known.then_some(false),
    };
    let mut before: Vec<RouteRecord> = its
        .iter()
        .filter(|it| it.time <= time)
        .rev()
        .take(MAX_SHOWN)
        .map(|&it| it.clone())
        .collect();
    before.reverse();
    Then {
        valid,
        prefix: found.map(|(prefix, _)| *prefix),
        before,
        after: its.iter().find(|it| it.time > time).map(|&it| it.clone()),
        why: valid.is_none().then(|| run.why(time)),
    }
}

fn prefix(record: &RouteRecord) -> Option<Prefix> {
    record.prefix.as_ref()?.parse().ok()
}

fn how(record: &RouteRecord) -> Option<How> {
    How::ALL.into_iter().find(|it| it.name() == record.how)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of this era fit")]
fn seconds(began: u64) -> f64 {
    began as f64 / 1e6
}

impl<'a> Run<'a> {
    /// The one that the time lies in.
    fn of(material: Material<'a>, time: f64) -> Option<Self> {
        let known = material
            .records
            .iter()
            .map(|it| it.began)
            .chain([material.began]);
        let began = known.filter(|&it| seconds(it) <= time).max()?;
        let records = material.records.iter().filter(|it| it.began == began);
        let is_current = began == material.began;
        let mut run = Self {
            began: seconds(began),
            records: records.collect(),
            gaps: Vec::new(),
            is_current,
        };
        run.gaps = run.gaps(is_current.then_some(material.changes));
        Some(run)
    }

    fn gaps(&self, changes: Option<u64>) -> Vec<(f64, f64)> {
        let (mut last, mut number, mut gaps) = (self.began, 0, Vec::new());
        let mut ended = None;
        for record in &self.records {
            if record.how == ENDED {
                // It goes on where a configuration was refused after all.
                ended = (record.change == number).then_some(record.time);
                continue;
            }
            ended = None;
            if record.change != number + 1 {
                gaps.push((last, record.time));
            }
            if let Some(since) = record.since {
                gaps.push((since, record.time));
            }
            (last, number) = (record.time, record.change);
        }
        match (changes, ended) {
            (Some(changes), _) if changes == number => {}
            // Of an earlier run nobody knows how many there were, but for what it recorded when it ended.
            (None, Some(ended)) => gaps.push((ended, f64::INFINITY)),
            _ => gaps.push((last, f64::INFINITY)),
        }
        gaps
    }

    /// Is everything recorded that happened between these times?
    fn is_whole(&self, from: f64, to: f64) -> bool {
        self.gaps
            .iter()
            .all(|&(begin, end)| end <= from || begin > to)
    }

    fn is_whole_until_now(&self, time: f64) -> bool {
        self.is_current && self.is_whole(time, f64::MAX)
    }

    fn was_valid(&self, material: Material<'_>, time: f64, asked: Prefix) -> Option<bool> {
        let its = || self.records.iter().filter(|it| prefix(it) == Some(asked));
        let before = its().rfind(|it| it.time <= time);
        let after = its().find(|it| it.time > time);
        match (before, after) {
            (Some(before), _) if self.is_whole(before.time, time) => Some(how(before)?.is_valid()),
            (_, Some(after)) if self.is_whole(time, after.time) => Some(how(after)?.was_valid()),
            (_, None) if self.is_whole_until_now(time) => Some(material.valid_now.contains(&asked)),
            // It began without a route.
            (None, _) if self.is_whole(self.began, time) => Some(false),
            _ => None,
        }
    }

    fn why(&self, time: f64) -> String {
        let around = self
            .gaps
            .iter()
            .find(|(begin, end)| *begin <= time && time < *end);
        match around {
            Some(_) => "more changed then than the journal names, or a record of it was lost".to_owned(),
            None => "the journal has no change of what covers it in that run of the daemon, and names not all that changed in it".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
