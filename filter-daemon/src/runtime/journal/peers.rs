//! Events of peers and their MACs, in the operator's language. Never decides whose a MAC is.
use filter_core::Mode;
use filter_engine::TrialEnd;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::stations::StationEvent;
use filter_lifecycle::violation::DefaultPointing;

use super::Noted;
use super::fields::{Fields, peer};
use crate::config::Config;

pub(super) fn name(config: &Config, id: PeerId) -> &str {
    config.spec.peer(id).map_or("?", |peer| peer.name.as_str())
}

/// A peer sends us what it should send elsewhere.
pub(super) fn default_pointing(config: &Config, id: PeerId, finding: DefaultPointing) -> Noted {
    let seconds = finding.duration.as_secs();
    let DefaultPointing { bytes, blocks, .. } = finding;
    Noted {
        event: "default-pointing",
        text: format!(
            "{} sends to addresses that are not ours: {bytes} bytes to {blocks} blocks in {seconds} s",
            name(config, id)
        ),
        fields: Fields::Pointing {
            peer: peer(config, id),
            bytes,
            blocks,
            seconds,
        },
    }
}

/// What `enforce --confirm-within` had switched on is as before.
pub(super) fn trial_ended(config: &Config, id: PeerId, mode: Mode, why: TrialEnd) -> Noted {
    let name = name(config, id);
    let why = match why {
        TrialEnd::NotConfirmed => "it was not confirmed in time",
        TrialEnd::Stopping => "the daemon stops",
        TrialEnd::Interrupted => "the daemon ended before it was confirmed",
        TrialEnd::Respecified => "the configuration says another mode now",
    };
    Noted {
        event: "trial-rolled-back",
        text: format!("{name}: {mode} again, because {why}"),
        fields: Fields::Mode {
            peer: peer(config, id),
            mode,
        },
    }
}

/// When frames come from so many session addresses is not noted.
pub(super) fn senders_left_out(left_out: usize) -> Noted {
    let text = match left_out {
        0 => "frames of all session addresses are noted again".to_owned(),
        _ => format!(
            "no room to note when frames come from {left_out} session addresses, each at one mac: raise `max_peers` in [limits] and \
             restart, or write `macs`; of a peer that moved to another mac the neighbour table alone says for how long the former stays"
        ),
    };
    Noted::plain("senders-left-out", text)
}

/// A peer's MAC.
pub(super) fn station(config: &Config, event: &StationEvent) -> Noted {
    let mac_of = |event, id, mac, text| Noted {
        event,
        text,
        fields: Fields::Mac {
            peer: peer(config, id),
            mac,
        },
    };
    match *event {
        StationEvent::Learned { peer: id, mac } => {
            let text = format!("{} sends from {mac}", name(config, id));
            mac_of("mac-learned", id, mac, text)
        }
        StationEvent::Seeded { peer: id, mac } => {
            let text = format!(
                "{} sends from {mac}, according to its exchange",
                name(config, id)
            );
            mac_of("mac-seeded", id, mac, text)
        }
        StationEvent::Contested {
            mac,
            between: (one, other),
        } => Noted {
            event: "mac-contested",
            text: format!(
                "{mac} answers for addresses of {} and of {}, and no session shows whose it is: its frames count as of no peer; `bcp38 macs PEER accept {mac}` decides",
                name(config, one),
                name(config, other)
            ),
            fields: Fields::MacMoved {
                mac,
                from: peer(config, one),
                to: peer(config, other),
                kept: false,
            },
        },
        StationEvent::Moved {
            mac,
            from,
            to,
            kept,
        } => {
            let fate = if kept {
                "it stays where it was"
            } else {
                "it counts as the latter's"
            };
            Noted {
                event: "mac-moved",
                text: format!(
                    "{mac}, of {}, is claimed by {}: {fate}",
                    name(config, from),
                    name(config, to)
                ),
                fields: Fields::MacMoved {
                    mac,
                    from: peer(config, from),
                    to: peer(config, to),
                    kept,
                },
            }
        }
    }
}
