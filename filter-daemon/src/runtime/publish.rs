//! From what the lifecycle wants to what the kernel has, peer by peer. Never decides what is wanted.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use filter_core::Address;
use filter_loader::PeerSlot;
use filter_loader::sync::{Step, Wanted};

use super::Runtime;
use filter_lifecycle::Missing;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::InterfaceId;

/// A table that took longer than this to build, as while it streams in, is not built again before [`PAUSE`] times as
/// long is over: so little of the time do others wait for it.
const SLOW_BUILD: Duration = Duration::from_millis(5);
const PAUSE: u32 = 20;
/// But never longer than this, and not at all for another mode: who is to be observed from now on must not wait.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// After publishing, so many times as long as it took goes to routes alone, up to [`MAX_BREATH`]: a burst of changes of
/// many peers does not keep the feeds waiting.
const BREATH: u32 = 2;
const MAX_BREATH: Duration = Duration::from_millis(250);

impl Runtime {
    /// Publishes everyone whose tables changed, and retries those that failed.
    pub(super) fn publish(&mut self, now: Duration) {
        let begin = Instant::now();
        self.pending.append(&mut self.lifecycle.take_dirty());
        let due: BTreeSet<PeerSlot> = self.sync.due(now).into_iter().collect();
        self.pending.extend(
            self.config
                .spec
                .peer_ids()
                .map(|(id, _)| id)
                .filter(|id| due.contains(&self.peers[id.0 as usize].slot)),
        );
        for id in std::mem::take(&mut self.pending) {
            if self.pauses(now, id) || self.keeps_adopted(now, id) {
                self.pending.insert(id);
            } else {
                self.publish_peer(now, id);
            }
        }
        let took = begin.elapsed();
        self.publish_at = self.now() + (BREATH * took).min(MAX_BREATH);
    }

    /// Was its table slow to build just now, with the mode it is to have?
    fn pauses(&self, now: Duration, id: PeerId) -> bool {
        let peer = &self.peers[id.0 as usize];
        let has_mode = |have: &Wanted| have.mode == self.lifecycle.mode(now, id);
        now < peer.not_before && self.sync.have(peer.slot).is_none_or(has_mode)
    }

    fn publish_peer(&mut self, now: Duration, id: PeerId) {
        let begin = Instant::now();
        let want = self.want(now, id);
        let sources = want.sources.clone();
        let mode = want.mode;
        let peer = &mut self.peers[id.0 as usize];
        let was = self.sync.have(peer.slot).map(|have| have.mode);
        let applied = self.sync.apply(&mut self.filter, peer.slot, want, now);
        let took = begin.elapsed();
        if took > SLOW_BUILD {
            peer.not_before = now + (PAUSE * took).min(MAX_PAUSE);
        }
        match applied {
            Ok(published) if published.step == Step::Keep => {}
            Ok(_) => {
                self.lifecycle.published(id, Ok(&sources));
                if was != Some(mode) {
                    self.misplaced = Some(now); // a MAC that might not move may do so now
                }
            }
            Err(error) => {
                let name = self
                    .config
                    .spec
                    .peer(id)
                    .map_or("?", |peer| peer.name.as_str());
                self.journal
                    .note("publish-failed", &format!("{name}: {error}"));
                self.lifecycle.published(id, Err(error.to_string()));
            }
        }
        self.lifecycle.settle(now);
    }

    /// S'(p), D'(p) and the rules, as they should be now.
    fn want(&mut self, now: Duration, id: PeerId) -> Wanted {
        let own_addresses = self.own_addresses(id);
        Wanted {
            families: self.config.spec.peers[id.0 as usize].families,
            mode: self.lifecycle.mode(now, id),
            sources: self.lifecycle.sources(id),
            destinations: self.lifecycle.destinations(id, &own_addresses),
        }
    }

    /// Our addresses on the interfaces the peer is attached to.
    pub(super) fn own_addresses(&self, id: PeerId) -> Vec<Address> {
        let attachments = self.config.spec.peers[id.0 as usize].attachments.iter();
        let interfaces: BTreeSet<InterfaceId> =
            attachments.map(|attachment| attachment.interface).collect();
        let links = interfaces.iter().filter_map(|id| self.links.get(id));
        links
            .flat_map(|link| &link.addresses)
            .map(|&address| Address::from(address))
            .collect()
    }

    /// What an earlier daemon, or configuration, enforced stays until the feeds have told this one as much, or for
    /// `stale_hold`. A table that no session is there to carry is not waited for.
    fn keeps_adopted(&mut self, now: Duration, id: PeerId) -> bool {
        let peer = &mut self.peers[id.0 as usize];
        let Some(until) = peer.adopted_until else {
            return false;
        };
        let loading = match self.lifecycle.status(now, id).missing {
            Some(Missing::Loading(..)) => true,
            Some(Missing::NeverTold(side, family)) => self.lifecycle.is_awaited(id, side, family),
            _ => false,
        };
        if !loading || now >= until {
            peer.adopted_until = None;
        }
        peer.adopted_until.is_some()
    }
}
