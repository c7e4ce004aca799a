//! The former sessions of one source, whose routes were not received again since: how long each of them still counts.
//! Every hold runs from the end of its session, however often another one comes and goes since. Knows no routes, only
//! by which transfers of the table they came.
use std::time::Duration;

/// No route of a former session counts longer than this after its end, while its feed is there; and none comes back.
pub const REVIVAL: Duration = Duration::from_secs(24 * 3600);
/// Former sessions that are remembered one by one; of more, those that ended soonest after each other are taken together.
pub const MAX_FORMER: usize = 256;

/// The former sessions of one source, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Formers(Vec<Former>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Former {
    /// Its last transfer; its first is the one after the session before.
    up_to: u32,
    ended_at: Duration,
    hold_until: Duration,
    /// Since when a session is back, and has not completed its table.
    returned_at: Option<Duration>,
    /// For how long such sessions have been up before: all together they keep a former session's routes no longer than
    /// `settle_max`.
    waited: Duration,
    /// Its routes are remembered, and do not count.
    muted: bool,
}

/// The routes of the transfers after one, up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfers {
    pub after: u32,
    pub up_to: u32,
}

impl Transfers {
    pub(super) const fn contain(self, transfer: u32) -> bool {
        self.after < transfer && transfer <= self.up_to
    }
}

/// What becomes of a former session's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lapse {
    pub routes: Transfers,
    /// They counted until now.
    pub counted: bool,
    /// They are not remembered any longer.
    pub forgotten: bool,
}

impl Former {
    /// Until when its routes count. While its feed is lost, nothing is reported, so nothing that waits for it goes.
    fn until(&self, settle_max: Duration, is_lost: bool) -> Duration {
        let left = settle_max.saturating_sub(self.waited);
        let returned = self.returned_at.map_or(Duration::ZERO, |at| at + left);
        match (is_lost, self.returned_at) {
            (true, Some(_)) => Duration::MAX,
            (true, None) => self.hold_until,
            (false, _) => self
                .hold_until
                .max(returned)
                .min(self.ended_at.saturating_add(REVIVAL)),
        }
    }

    fn may_return(&self, now: Duration, settle_max: Duration) -> bool {
        self.returned_at.is_none() && self.waited < settle_max && now < self.ended_at + REVIVAL
    }
}

impl Formers {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn of(&self, transfer: u32) -> Option<&Former> {
        self.0
            .get(self.0.partition_point(|each| each.up_to < transfer))
    }

    /// Do routes of this transfer not count?
    pub(super) fn is_muted(&self, transfer: u32) -> bool {
        self.of(transfer).is_some_and(|former| former.muted)
    }

    /// The hold of routes of this transfer, if their session has ended.
    pub(super) fn hold_of(&self, transfer: u32) -> Option<Duration> {
        self.of(transfer).map(|former| former.hold_until)
    }

    /// A session ended: its last transfer was `up_to`. That lengthens the holds of those before it, each counted from its
    /// own end.
    pub(super) fn end(&mut self, now: Duration, up_to: u32, hold: Duration) {
        for former in &mut self.0 {
            if let Some(at) = former.returned_at.take() {
                former.waited += now.saturating_sub(at);
            }
        }
        self.lengthen(hold);
        if self.0.last().is_none_or(|last| last.up_to < up_to) {
            self.0.push(Former {
                up_to,
                ended_at: now,
                hold_until: now.saturating_add(hold),
                returned_at: None,
                waited: Duration::ZERO,
                muted: false,
            });
        }
        self.limit();
    }

    /// What comes in this transfer is of the session that ended last: it is received late.
    pub(super) fn cover(&mut self, transfer: u32) {
        if let Some(last) = self.0.last_mut() {
            last.up_to = transfer;
        }
    }

    /// Every hold is at least so long, from the end of its session.
    pub(super) fn lengthen(&mut self, hold: Duration) {
        for former in self.0.iter_mut().filter(|former| !former.muted) {
            let until = former.ended_at.saturating_add(hold);
            former.hold_until = former.hold_until.max(until);
        }
    }

    /// The session that ended last is held until then.
    pub(super) fn hold_last(&mut self, until: Duration) {
        if let Some(last) = self.0.last_mut().filter(|last| !last.muted) {
            last.hold_until = until;
        }
    }

    /// The session that ended last ended right before its feed was lost: the feed is back, and that counts as now.
    pub(super) fn renew_last(&mut self, now: Duration, until: Duration) {
        if let Some(last) = self.0.last_mut().filter(|last| !last.muted) {
            (last.ended_at, last.hold_until) = (now, until);
        }
    }

    /// The session is back: what it held when it ended counts until its table is complete again. Returns the routes that
    /// did not count.
    pub(super) fn returned(&mut self, now: Duration, settle_max: Duration) -> Vec<Transfers> {
        let mut revived = Vec::new();
        let mut after = 0;
        for former in &mut self.0 {
            let routes = Transfers {
                after: std::mem::replace(&mut after, former.up_to),
                up_to: former.up_to,
            };
            if former.may_return(now, settle_max) {
                former.returned_at = Some(now);
                if std::mem::take(&mut former.muted) {
                    revived.push(routes);
                }
            }
        }
        revived
    }

    /// The feed is back, and reports everything again: what waited for it waits anew, for the time without it was our own.
    pub(super) fn feed_back(&mut self, now: Duration) {
        for former in &mut self.0 {
            if former.returned_at.is_some() {
                (former.returned_at, former.waited) = (Some(now), Duration::ZERO);
                former.ended_at = now;
            }
        }
    }

    /// Time has passed.
    pub(super) fn lapse(
        &mut self,
        now: Duration,
        settle_max: Duration,
        is_lost: bool,
    ) -> Vec<Lapse> {
        let mut lapses = Vec::new();
        let mut after = 0;
        self.0.retain_mut(|former| {
            let routes = Transfers {
                after: std::mem::replace(&mut after, former.up_to),
                up_to: former.up_to,
            };
            let may_return = former.may_return(now, settle_max);
            let is_over = now >= former.until(settle_max, is_lost);
            let counted = is_over && !former.muted;
            if counted || !may_return && former.muted {
                lapses.push(Lapse {
                    routes,
                    counted,
                    forgotten: !may_return,
                });
            }
            former.muted |= is_over;
            !former.muted || may_return
        });
        lapses
    }

    /// Takes neighbours that count alike together: of both the longer hold, and no more time to return than the older
    /// has. Those for whom that changes least, so that however many there are, none stays for much longer than its own hold.
    fn limit(&mut self) {
        while self.0.len() > MAX_FORMER {
            let pairs = self.0.windows(2).enumerate();
            let span = |pair: &[Former]| pair[1].hold_until.saturating_sub(pair[0].ended_at);
            let alike = pairs
                .clone()
                .filter(|(_, pair)| pair[0].muted == pair[1].muted);
            if let Some((index, _)) = alike.min_by_key(|(_, pair)| span(pair)) {
                self.join(index);
            } else if let Some((index, _)) = pairs.min_by_key(|(_, pair)| span(pair)) {
                // Taken together they would count, and one's hold is over: so the other's ends now, and they are alike.
                self.end_holds(index);
                return;
            }
        }
    }

    fn join(&mut self, index: usize) {
        let older = self.0.remove(index);
        let younger = &mut self.0[index];
        younger.ended_at = older.ended_at;
        younger.hold_until = younger.hold_until.max(older.hold_until);
        younger.waited = younger.waited.max(older.waited);
    }

    fn end_holds(&mut self, index: usize) {
        for former in self.0.iter_mut().skip(index).take(2) {
            former.hold_until = former.ended_at;
            former.returned_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SETTLE_MAX: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn transfers(after: u32, up_to: u32) -> Transfers {
        Transfers { after, up_to }
    }

    fn lapse(after: u32, up_to: u32, counted: bool, forgotten: bool) -> Lapse {
        Lapse {
            routes: transfers(after, up_to),
            counted,
            forgotten,
        }
    }

    #[test]
    fn a_hold_runs_from_the_end_of_its_own_session() {
        let mut formers = Formers::default();
        formers.end(at(100), 1, at(120));
        formers.end(at(150), 2, at(120));
        formers.end(at(160), 3, at(60));
        assert_eq!(formers.hold_of(1), Some(at(220)));
        assert_eq!(formers.hold_of(2), Some(at(270)));
        assert_eq!(formers.hold_of(3), Some(at(220)));
        assert_eq!(formers.hold_of(4), None);
        formers.lengthen(at(200));
        assert_eq!(
            [1, 2, 3].map(|transfer| formers.hold_of(transfer)),
            [300, 350, 360].map(|seconds| Some(at(seconds)))
        );
    }

    #[test]
    fn returned_sessions_keep_it_no_longer_than_settle_max_in_all() {
        let mut formers = Formers::default();
        formers.end(at(0), 1, at(30));
        for round in 0..30 {
            let start = at(1000 * round + 100);
            let before = formers.lapse(start, SETTLE_MAX, false);
            let counted_before = (round == 0).then_some(lapse(0, 1, true, false));
            assert_eq!(before, Vec::from_iter(counted_before), "{round}");
            assert_eq!(formers.returned(start, SETTLE_MAX), [transfers(0, 1)]);
            let end = start + at(10);
            assert_eq!(formers.lapse(end - at(1), SETTLE_MAX, false), [], "{round}");
            formers.end(end, 1, at(30));
            let counted = lapse(0, 1, true, round == 29);
            assert_eq!(formers.lapse(end, SETTLE_MAX, false), [counted], "{round}");
        }
        assert!(formers.is_empty());
    }

    #[test]
    fn nothing_comes_back_after_a_day() {
        let mut formers = Formers::default();
        formers.end(at(0), 1, at(120));
        assert_eq!(formers.lapse(at(119), SETTLE_MAX, false), []);
        assert_eq!(
            formers.lapse(at(120), SETTLE_MAX, false),
            [lapse(0, 1, true, false)]
        );
        assert!(formers.is_muted(1) && !formers.is_muted(2));
        assert_eq!(formers.lapse(REVIVAL - at(1), SETTLE_MAX, false), []);
        assert_eq!(
            formers.lapse(REVIVAL, SETTLE_MAX, false),
            [lapse(0, 1, false, true)]
        );
        assert!(formers.is_empty());

        formers.end(at(0), 1, Duration::MAX);
        assert_eq!(formers.lapse(REVIVAL, SETTLE_MAX, true), []);
        assert_eq!(
            formers.lapse(REVIVAL, SETTLE_MAX, false),
            [lapse(0, 1, true, true)]
        );
    }

    /// Neighbours that never count alike, as their holds differ: nothing whose hold is over counts again.
    #[test]
    fn those_that_do_not_count_alike_are_not_taken_together() {
        let former = |number: u32| Former {
            up_to: number,
            ended_at: at(u64::from(number)),
            hold_until: at(if number.is_multiple_of(2) { 1000 } else { 5000 }),
            returned_at: None,
            waited: Duration::ZERO,
            muted: number.is_multiple_of(2),
        };
        let mut formers = Formers((1..=MAX_FORMER as u32).map(former).collect());
        formers.end(at(2000), MAX_FORMER as u32 + 1, at(0));
        assert_eq!(formers.0.len(), MAX_FORMER + 1);
        let lapses = formers.lapse(at(2000), SETTLE_MAX, false);
        let counted = lapses.iter().filter(|lapse| lapse.counted).count();
        assert_eq!(counted, 2, "the one whose hold was ended, and the last");
        formers.end(at(2001), MAX_FORMER as u32 + 2, at(100));
        assert_eq!(formers.0.len(), MAX_FORMER);
        for number in (1..=MAX_FORMER as u32).filter(|number| number.is_multiple_of(2)) {
            assert!(formers.is_muted(number), "{number}");
        }
    }

    /// A session that ends every second for half an hour: the hold of each is its own, or a little longer.
    #[test]
    fn many_are_taken_together() {
        let (ends, hold, slack) = (2000, 600, 16);
        let mut formers = Formers::default();
        let mut over = HashMap::new();
        for second in 1..=ends + hold + slack {
            for lapse in formers.lapse(at(second), SETTLE_MAX, false) {
                let Transfers { after, up_to } = lapse.routes;
                over.extend((after + 1..=up_to).map(|transfer| (u64::from(transfer), second)));
            }
            if second <= ends {
                formers.end(at(second), second as u32, at(hold));
            }
            assert!(formers.0.len() <= MAX_FORMER);
        }
        for end in 1..=ends {
            let held = over.get(&end).map(|over| over - end);
            let expected = hold..hold + slack;
            assert!(
                held.is_some_and(|held| expected.contains(&held)),
                "{end}: {held:?}"
            );
        }
    }
}
