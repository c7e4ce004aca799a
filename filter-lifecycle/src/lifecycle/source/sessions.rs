//! What becomes of a source when its session or its feed comes and goes. Never looks at what is in its table.
use std::time::Duration;

use super::super::former::REVIVAL;
use super::super::received::Received;
use super::super::routes::{Gone, LAST_WORDS};
use super::super::state::{Cue, State};
use super::{Holds, Source};

impl Source {
    /// Its session came up: the table is sent from the start, and routes that are not part of this transfer go when
    /// it is complete.
    pub(super) fn start(&mut self, now: Duration, mid_life: bool) {
        self.restart(now);
        self.mid_life = mid_life && self.kind.needs_settling();
        self.reported = true;
        self.hold_until = None;
        self.stranger = false;
        self.cue(now, Cue::Started);
    }

    /// Its session came up. What it has now is not what it had, unless only its feed was away. What the session held when
    /// it ended counts until the table is complete again; returns the routes that did not count.
    pub(in super::super) fn session_up(
        &mut self,
        now: Duration,
        mid_life: bool,
        holds: Holds,
    ) -> Vec<Gone> {
        self.empty &= !self.reported;
        if !self.is_over() && self.reported && !self.lost {
            self.end_life(now, holds.peer_down); // it came up again, and its end was not reported
        }
        self.start(now, mid_life);
        let mut revived = Vec::new();
        for transfers in self.formers.returned(now, holds.settle_max) {
            revived.append(&mut self.routes.of(transfers));
        }
        revived
    }

    /// What it holds is a former session's from now on, and what comes late.
    fn end_life(&mut self, now: Duration, hold: Duration) {
        if self.kind.tells_sessions() {
            self.formers.end(now, self.routes.transfer(), hold);
        }
    }

    /// A transfer begins while the session is down: what comes of it is that session's.
    pub(in super::super) fn cover_late(&mut self) {
        if self.is_over() {
            self.formers.cover(self.routes.transfer());
        }
    }

    /// Ends the holds of former sessions whose time has come. Returns the routes that do not count any more.
    pub(in super::super) fn lapse(&mut self, now: Duration, settle_max: Duration) -> Vec<Gone> {
        let mut gone = Vec::new();
        for lapse in self
            .formers
            .lapse(now, settle_max, self.lost || self.unreadable)
        {
            let mut routes = if lapse.forgotten {
                self.routes.take_of(lapse.routes)
            } else {
                self.routes.of(lapse.routes)
            };
            if lapse.counted {
                gone.append(&mut routes);
            }
        }
        if !gone.is_empty() {
            self.touch(now, false);
        }
        gone
    }

    /// Its feed is connected again and sends everything from the start.
    pub(in super::super) fn feed_back(&mut self, now: Duration, peer_down_hold: Duration) {
        self.end_silence(now);
        if std::mem::take(&mut self.spared) {
            // The feed can say again whether the session is up: it gets as long as after any other end.
            let hold = self.hold_until;
            self.hold_until = hold.map(|until| until.min(now + peer_down_hold));
            self.formers.renew_last(now, self.hold_until.unwrap_or(now));
        }
        self.formers.feed_back(now);
        self.restart(now);
        self.received = Received::default();
        self.cover_late();
        self.mid_life = false;
        self.reported = false;
        self.cue(now, Cue::FeedBack);
        if self.known {
            self.cue(now, Cue::KnownLost);
        }
    }

    /// Its session went down: its routes are kept for so long. A second report does not make the hold longer.
    pub(in super::super) fn session_down(&mut self, now: Duration, hold: Duration) {
        if !self.is_over() {
            self.received.pause(now);
            let hold = hold.min(REVIVAL);
            self.hold_until = Some(now + hold);
            self.spared = false;
            self.ended_at = now;
            self.end_life(now, hold);
        }
        if self.kind.tells_sessions() {
            self.doubts.forget();
        }
        self.silent = false;
        self.unreadable = false;
        self.cue(now, Cue::SessionDown);
    }

    /// What its session brings of it cannot be read: as if the session went down, until it can.
    pub(in super::super) fn end_unreadable(&mut self, now: Duration, hold: Duration) {
        if !self.is_over() {
            self.session_down(now, hold);
            self.unreadable = true;
        }
    }

    /// Some of what its session brings of it cannot be read: what can be counts, and nothing completes it.
    pub(in super::super) const fn mark_unreadable(&mut self) {
        self.unreadable = true;
    }

    /// What comes of it can be read. Returns the routes that did not count, and do now.
    pub(in super::super) fn readable_again(&mut self, now: Duration, holds: Holds) -> Vec<Gone> {
        self.unreadable = false;
        if self.is_over() {
            return self.session_up(now, self.mid_life, holds);
        }
        Vec::new()
    }

    /// Its session came up with a neighbour that is not the configured one: nothing of this session counts, and what
    /// was known before stays for so long.
    pub(in super::super) fn estrange(&mut self, now: Duration, hold: Duration) {
        self.session_down(now, hold);
        if self.state == State::Held && !self.stranger {
            self.lengthen(hold);
            self.stranger = true;
        }
    }

    /// The holds of its routes are at least so long, each from when its session ended.
    pub(in super::super) fn lengthen(&mut self, hold: Duration) {
        if self.state == State::Held {
            let until = self.ended_at.saturating_add(hold);
            self.hold_until = self.hold_until.max(Some(until));
        }
        self.formers.lengthen(hold);
    }

    /// Its session is up again and its table was reported meanwhile, if its feed is there. Returns whether its
    /// routes did not count and now do.
    pub(in super::super) fn resume(&mut self, now: Duration, connected: bool) -> bool {
        self.hold_until = None;
        self.stranger = false;
        if self.is_over() {
            self.cue(
                now,
                if self.receiving {
                    Cue::Started
                } else {
                    Cue::Resumed
                },
            );
            if self.lost || !connected {
                self.cue(now, Cue::FeedLost);
            }
        }
        std::mem::take(&mut self.muted)
    }

    /// Its feed was lost, or reports it wrong. Returns routes whose withdrawal was the last that the feed sent.
    pub(in super::super) fn feed_lost(&mut self, now: Duration) -> Vec<Gone> {
        self.end_silence(now);
        self.cue(
            now,
            if self.known {
                Cue::KnownLost
            } else {
                Cue::FeedLost
            },
        );
        self.lost = true;
        self.lost_since.get_or_insert(now);
        let (mut back, more) = self.routes.take_back(now);
        if more {
            self.doubts.overflow();
        }
        if self
            .formers
            .is_muted(self.routes.transfer().wrapping_sub(1))
        {
            back.clear();
        }
        back
    }

    /// Its feed was lost: a session that ended right before is part of the loss. A routing daemon that ends closes its
    /// sessions first, and its host may forward for long after.
    pub(in super::super) fn spare(&mut self, now: Duration, until: Duration) {
        if self.state == State::Held && !self.stranger && now < self.ended_at + LAST_WORDS {
            self.hold_until = self.hold_until.max(Some(until));
            self.formers.hold_last(self.hold_until.unwrap_or(until));
            self.spared = true;
        }
    }

    /// The hold is over: nothing of it counts any more. A feed that knows no sessions goes on reporting it; the routes
    /// of others leave by [`Source::lapse`].
    pub(in super::super) fn hold_over(&mut self, now: Duration) -> Vec<Gone> {
        self.cue(now, Cue::HoldOver);
        self.hold_until = None;
        self.known = false;
        self.lost_since = None;
        if self.kind.tells_sessions() || std::mem::replace(&mut self.muted, true) {
            return Vec::new();
        }
        self.routes.iter().map(|(gone, _)| gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use filter_core::Family;

    use super::super::super::directory::Owner;
    use super::super::super::doubt::Evidence;
    use super::super::super::kind::Kind;
    use super::super::super::routes::{Scope, Whom};
    use super::*;
    use crate::route::PeerId;

    /// The hold of a session covers what is received of it late, and an end of its table does not end the hold.
    #[test]
    fn what_comes_late_leaves_with_its_session() {
        let at = Duration::from_secs;
        let (owner, everyone) = (
            Owner::Peer(PeerId(0)),
            Scope {
                whom: Whom::All,
                communities: None,
            },
        );
        let mut source = Source::new(Kind::Stream, owner, Family::Ipv4, at(0), false);
        source.session_down(at(15), at(120));
        let prefix = "192.0.2.0/24".parse().unwrap();
        source.begin_snapshot();
        _ = source.announce(at(16), (prefix, 0), &everyone);
        assert_eq!(source.complete(at(17), Evidence::Said), Ok(Vec::new()));
        assert_eq!(source.counting().count(), 1);
        assert_eq!(source.lapse(at(134), at(300)), []);
        let gone = source.lapse(at(135), at(300));
        assert_eq!(gone.len(), 1);
        assert_eq!(source.counting().count(), 0);
    }
}
