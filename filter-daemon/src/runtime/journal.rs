//! Events with numbers, times and severities, logged and recorded, the last of them kept for `bcp38 events`; and, apart from
//! them, sampled violations. Never decides what is one.
use std::sync::Arc;

use filter_engine::Notice;
use filter_lifecycle::Event;

use super::violations::Violations;
use crate::config::Config;
use crate::records::{Recorder, ViolationRecord};

mod devices;
mod fields;
mod peers;
mod severity;
mod store;

use fields::{Fields, fields};
pub(crate) use severity::event_names;
pub use store::Entry;
use store::Store;

/// Events that are kept in memory.
pub const MAX_ENTRIES: usize = 10_000;

/// What happened, in order; violations apart.
#[derive(Debug, Default)]
pub struct Journal {
    events: Store,
    violations: Violations,
}

/// The numbers of the last records of an earlier daemon.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastNumbers {
    pub events: u64,
    pub violations: u64,
}

impl Journal {
    /// Goes on after what an earlier daemon recorded.
    pub(super) fn new(last: LastNumbers, recorder: Option<Arc<Recorder>>) -> Self {
        Self {
            events: Store::new(last.events, recorder.clone()),
            violations: Violations::new(last.violations, recorder),
        }
    }

    /// A notice of the engine.
    pub fn notice(&mut self, config: &Config, notice: &Notice) {
        match notice {
            Notice::Lifecycle(event) => self.event(config, event),
            Notice::Station(event) => self.record(peers::station(config, event)),
            Notice::Violation(violation) => self.violations.take(config, violation),
            Notice::DefaultPointing(id, finding) => {
                self.record(peers::default_pointing(config, *id, *finding));
            }
            Notice::Attached { interface, hook } => {
                self.violations.attached(interface, hook);
                self.record(devices::attached(interface, hook));
            }
            Notice::Detached { interface, why } => self.record(devices::detached(interface, why)),
            Notice::FormerKept {
                interface,
                program,
                schema,
            } => self.record(devices::former_kept(interface, *program, *schema)),
            Notice::FormerReplaced { interface } => {
                self.record(devices::former_replaced(interface));
            }
            Notice::NotAsConfigured { interface, why } => {
                self.note("not-as-configured", &format!("{interface}: {why}"));
            }
            Notice::LeftOut {
                interface,
                left_out,
            } => self.record(devices::left_out(interface, left_out)),
            Notice::TagsHidden { interface, command } => {
                self.record(devices::tags_hidden(interface, command.as_deref()));
            }
            Notice::Alarm {
                interface,
                reason,
                begins,
            } => self.record(devices::alarm(interface.as_deref(), *reason, *begins)),
            Notice::NotLookedUp(error) => log::warn!("{error}: trying again"),
            Notice::DevicesLost(error) => log::warn!("{error}: opening it anew"),
            Notice::LeaseEnded => {
                let text = "nothing is enforced before the feeds have sent everything anew";
                self.note("lease-ended", text);
            }
            Notice::PublishFailed(id, error) => {
                let name = peers::name(config, *id);
                self.note_of("publish-failed", name, &format!("{name}: {error}"));
            }
            Notice::NotWatched(id, error) => {
                let name = peers::name(config, *id);
                self.note_of("not-watched", name, &format!("{name}: {error}"));
            }
            Notice::TrialEnded { peer, mode, why } => {
                self.record(peers::trial_ended(config, *peer, *mode, *why));
            }
            Notice::SendersLeftOut(left_out) => self.record(peers::senders_left_out(*left_out)),
            Notice::StationsFailed(error) => self.note("stations-failed", &error.to_string()),
            Notice::KernelFailed(error) => log::error!("{error}"),
            Notice::NeighboursLost(error) => log::warn!("{error}: opening it anew"),
        }
    }

    /// A lifecycle event.
    fn event(&mut self, config: &Config, event: &Event) {
        let (fields, text) = fields(config, event);
        self.record(Noted {
            event: event.name(),
            text,
            fields,
        });
    }

    /// A lifecycle event in one line.
    #[must_use]
    pub fn describe(config: &Config, event: &Event) -> String {
        fields(config, event).1
    }

    /// What the texts of the other files make of a notice.
    fn record(&mut self, noted: Noted) {
        self.events.push(noted);
    }

    /// Somebody answered for a peer.
    pub(super) fn acknowledged(&mut self, peer: &str, note: &str) {
        self.record(Noted {
            event: "acknowledged",
            text: format!("{peer}: {note}"),
            fields: Fields::Acknowledged {
                peer: peer.to_owned(),
                note: note.to_owned(),
            },
        });
    }

    /// An event of the daemon itself.
    pub fn note(&mut self, name: &'static str, text: &str) {
        self.record(Noted::plain(name, text.to_owned()));
    }

    /// As [`Journal::note`], of one peer.
    pub(super) fn note_of(&mut self, event: &'static str, peer: &str, text: &str) {
        self.record(Noted {
            event,
            text: text.to_owned(),
            fields: Fields::Peer {
                peer: peer.to_owned(),
            },
        });
    }

    /// Events after this number, oldest first; all of them if the number is of another life of the records.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<&Entry> {
        self.events.after(number)
    }

    /// Violations after this number, oldest first.
    #[must_use]
    pub fn violations_after(&self, number: u64) -> Vec<&ViolationRecord> {
        self.violations.after(number)
    }
}

/// An event as it is logged and kept.
struct Noted {
    event: &'static str,
    text: String,
    fields: Fields,
}

impl Noted {
    /// Without fields.
    const fn plain(event: &'static str, text: String) -> Self {
        Self {
            event,
            text,
            fields: Fields::None {},
        }
    }
}

#[cfg(test)]
mod tests {
    use filter_core::Family;
    use filter_lifecycle::State;
    use filter_lifecycle::route::{AdjRib, FeedId, Session};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::ONE_PEER;

    /// Else a peer that flaps pushes out what is recorded of no peer, and `events --peer` lacks it.
    #[test]
    fn an_event_of_a_session_is_its_peers() {
        let (config, _) = Config::parse(ONE_PEER, "test").unwrap();
        let peer = &config.spec.peers[0];
        let own = peer.attachments[0].sessions().next().unwrap();
        let other = Session::global("203.0.113.200".parse().unwrap());
        let of = |session: Session| {
            let (feed, rib, family) = (FeedId(0), AdjRib::InPrePolicy, Family::Ipv4);
            let state = State::Loading;
            let asn = peer.asn;
            let (prefixes, examples) = (1, Vec::new());
            let events = [
                Event::SourceState {
                    session: Some(session),
                    rib,
                    family,
                    state,
                },
                Event::AsnMismatch {
                    feed,
                    session,
                    reported: asn,
                    configured: asn,
                },
                Event::ShrinkRefused {
                    session: Some(session),
                    rib,
                    family,
                    had: 9,
                    has: 1,
                },
                Event::CountMismatch {
                    feed,
                    session: Some(session),
                    rib,
                    received: 1,
                    counted: 2,
                },
                Event::FeedDisagreement {
                    session,
                    rib,
                    prefixes,
                    examples,
                },
            ];
            let of_peer =
                |event| serde_json::to_value(fields(&config, &event).0).unwrap()["peer"].clone();
            Value::from(events.into_iter().map(of_peer).collect::<Vec<_>>())
        };
        assert_eq!(
            of(own),
            json!([peer.name, peer.name, peer.name, peer.name, peer.name])
        );
        assert_eq!(of(other), json!([null, null, null, null, null]));
    }

    fn numbers(entries: &[&Entry]) -> Option<(u64, u64, usize)> {
        let (first, last) = (entries.first()?, entries.last()?);
        Some((first.number, last.number, entries.len()))
    }

    #[test]
    fn the_oldest_events_go_first_beyond_the_limit() {
        let mut journal = Journal::default();
        for _ in 0..MAX_ENTRIES {
            journal.note("stopping", "");
        }
        let all = MAX_ENTRIES as u64;
        assert_eq!(numbers(&journal.after(0)), Some((1, all, MAX_ENTRIES)));
        journal.note("stopping", "");
        assert_eq!(numbers(&journal.after(0)), Some((2, all + 1, MAX_ENTRIES)));
        assert_eq!(numbers(&journal.after(all)), Some((all + 1, all + 1, 1)));
        assert_eq!(numbers(&journal.after(all + 1)), None);
        let all_again = numbers(&journal.after(all + 2));
        assert_eq!(all_again, Some((2, all + 1, MAX_ENTRIES)));
    }
}
