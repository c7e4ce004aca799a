//! What is switched on for a time only goes back to what it was, and never undoes what an operator switched meanwhile,
//! whatever becomes of the daemon.
use filter_core::Class;
use filter_engine::{Permit, TrialEnd};
use filter_lifecycle::spec::OnLeaseEnd;

use super::*;

/// The peer in this mode, as the configuration says.
fn configured(mode: Mode) -> Spec {
    let mut spec = spec();
    spec.peers[0].mode = mode;
    spec
}

/// With everything received, and the peer in this mode.
fn known(spec: Spec, pins: &Pins) -> Scene {
    let mut scene = Scene::with(spec, Some(pins.path().to_owned()));
    scene.receive(&Family::ALL);
    scene.advertise();
    scene.wait(1);
    scene
}

impl Scene {
    fn begin_trial(&mut self, only: &[Class]) {
        let now = self.now;
        self.engine().begin_trial(now, P, only);
        self.wait(1);
        assert!(self.engine().is_on_trial(P));
        self.all_dropped(SPOOFED);
        self.all_pass(GOOD);
    }

    fn time_is_over(&mut self) {
        let now = self.now;
        self.engine().end_trial(now, P, TrialEnd::NotConfirmed);
        self.wait(1);
        assert!(!self.engine().is_on_trial(P));
    }

    /// The trials that ended unconfirmed since the last call: the mode each went back to, and why.
    fn taken_back(&mut self) -> Vec<(Mode, TrialEnd)> {
        let notices = self.engine().take_notices().into_iter();
        let ended = notices.filter_map(|notice| match notice {
            Notice::TrialEnded { mode, why, .. } => Some((mode, why)),
            _ => None,
        });
        ended.collect()
    }

    fn permitted(&mut self) -> Option<Permit> {
        self.engine().switched().peers.get("icrc").cloned()
    }
}

fn observe(specified: Mode) -> Permit {
    Permit {
        specified: Some(specified),
        ..Permit::observe()
    }
}

#[test]
fn what_is_not_confirmed_goes_back_to_what_it_was() {
    if !require_kernel("what_is_not_confirmed_goes_back_to_what_it_was") {
        return;
    }
    let pins = Pins::new();
    let mut scene = known(configured(Mode::Observe), &pins);
    scene.all_pass(SPOOFED);
    scene.begin_trial(&[]);
    assert_eq!(scene.permitted(), None, "nothing is kept of a trial");
    scene.time_is_over();
    assert_eq!(
        scene.taken_back(),
        [(Mode::Observe, TrialEnd::NotConfirmed)]
    );
    scene.all_pass(SPOOFED);
    scene.all_pass(GOOD);
    assert_eq!(scene.permitted(), None);

    // Back to some classes of the configuration's, not to all of them.
    let now = scene.now;
    let engine = scene.engine();
    engine.set_mode_only(now, P, Mode::Enforce, &[Class::Bogons]);
    let before = scene.permitted();
    scene.begin_trial(&[]);
    scene.time_is_over();
    scene.all_pass(SPOOFED);
    scene.all_dropped(BOGON);
    assert_eq!(scene.permitted(), before);
    scene.end();
}

#[test]
fn what_is_confirmed_stays_across_a_restart() {
    if !require_kernel("what_is_confirmed_stays_across_a_restart") {
        return;
    }
    let pins = Pins::new();
    let mut scene = known(configured(Mode::Observe), &pins);
    scene.begin_trial(&[Class::Sources]);
    let now = scene.now;
    assert!(scene.engine().confirm_trial(now, P));
    assert!(!scene.engine().confirm_trial(now, P), "only once");
    let kept = scene.engine().switched().clone();
    let place = Some(pins.path().to_owned());
    scene.load_with(configured(Mode::Observe), place, |engine| {
        engine.remember(kept);
    });
    scene.wait(1);
    assert_eq!(scene.taken_back(), []);
    scene.all_dropped(SPOOFED);
    scene.all_pass(GOOD);
    scene.all_pass(ELSEWHERE);
    scene.end();
}

/// `observe` is one store into the data plane: the daemon learns of it by finding it there.
#[test]
fn the_end_of_a_trial_undoes_no_observe_that_came_after_it() {
    if !require_kernel("the_end_of_a_trial_undoes_no_observe_that_came_after_it") {
        return;
    }
    let pins = Pins::new();
    let place = || Some(pins.path().to_owned());
    let mut scene = known(configured(Mode::Enforce), &pins);
    let switch = Switch::open(pins.path()).unwrap();

    // The daemon is stopped, and goes on.
    scene.begin_trial(&[Class::Sources]);
    switch.observe("icrc").unwrap();
    scene.all_pass(SPOOFED);
    scene.time_is_over();
    scene.all_pass(SPOOFED);
    scene.all_pass(BOGON);
    assert_eq!(scene.taken_back(), []);
    assert_eq!(scene.permitted(), Some(observe(Mode::Enforce)));

    // It is killed, and comes back.
    let now = scene.now;
    scene.engine().set_mode(now, P, Mode::Enforce);
    scene.begin_trial(&[Class::Sources]);
    drop(scene.engine.take());
    switch.observe("icrc").unwrap();
    scene.load_with(configured(Mode::Enforce), place(), |_| {});
    scene.wait(1);
    scene.all_pass(SPOOFED);
    scene.all_pass(BOGON);
    assert_eq!(scene.taken_back(), []);
    assert_eq!(scene.permitted(), Some(observe(Mode::Enforce)));
    drop(switch);
    scene.end();
}

#[test]
fn a_daemon_that_was_killed_takes_back_its_trial() {
    if !require_kernel("a_daemon_that_was_killed_takes_back_its_trial") {
        return;
    }
    let pins = Pins::new();
    let place = || Some(pins.path().to_owned());
    let mut scene = known(configured(Mode::Observe), &pins);
    scene.begin_trial(&[]);
    scene.load_with(configured(Mode::Observe), place(), |_| {});
    scene.wait(1);
    let interrupted = [(Mode::Observe, TrialEnd::Interrupted)];
    assert_eq!(scene.taken_back(), interrupted);
    scene.all_pass(SPOOFED);
    scene.all_pass(BOGON);

    // An operator had switched it off before, against the configuration.
    scene.load_with(configured(Mode::Enforce), place(), |_| {});
    scene.receive(&Family::ALL);
    scene.advertise();
    let now = scene.now;
    scene.engine().set_mode(now, P, Mode::Observe);
    let kept = scene.engine().switched().clone();
    scene.begin_trial(&[]);
    scene.load_with(configured(Mode::Enforce), place(), |engine| {
        engine.remember(kept);
    });
    scene.wait(1);
    assert_eq!(scene.taken_back(), interrupted);
    assert_eq!(scene.permitted(), Some(observe(Mode::Enforce)));
    scene.all_pass(SPOOFED);
    scene.all_pass(BOGON);

    // What had been switched before cannot be read: nothing is enforced that perhaps was not.
    scene.receive(&Family::ALL);
    scene.advertise();
    scene.begin_trial(&[]);
    let forget = Engine::remember_nothing;
    scene.load_with(configured(Mode::Enforce), place(), forget);
    scene.wait(1);
    assert_eq!(scene.taken_back(), interrupted);
    scene.all_pass(SPOOFED);
    scene.all_pass(BOGON);
    scene.end();
}

#[test]
fn a_trial_goes_on_across_a_reload_unless_that_says_another_mode() {
    if !require_kernel("a_trial_goes_on_across_a_reload_unless_that_says_another_mode") {
        return;
    }
    let pins = Pins::new();
    let mut scene = known(configured(Mode::Enforce), &pins);
    let now = scene.now;
    scene.engine().set_mode(now, P, Mode::Observe);
    scene.begin_trial(&[]);
    let apply = |scene: &mut Scene, mode| {
        let fitted = Fitted::new(Arc::new(configured(mode))).unwrap();
        let now = scene.now;
        scene.engine().take_notices();
        scene.engine().apply(now, fitted, Exports::new()).unwrap();
        scene.receive(&Family::ALL);
        scene.advertise();
        scene.wait(1);
    };
    apply(&mut scene, Mode::Enforce);
    assert!(scene.engine().is_on_trial(P));
    assert_eq!(scene.taken_back(), []);
    scene.all_dropped(SPOOFED);
    scene.all_pass(GOOD);

    apply(&mut scene, Mode::Observe);
    assert!(!scene.engine().is_on_trial(P));
    assert_eq!(scene.taken_back(), [(Mode::Observe, TrialEnd::Respecified)]);
    scene.all_pass(SPOOFED);
    scene.all_pass(BOGON);
    scene.time_is_over();
    scene.all_pass(SPOOFED);
    scene.all_pass(BOGON);
    assert_eq!(scene.taken_back(), [], "it had ended");
    scene.end();
}

/// With `on_lease_end = "keep"` too: nobody is there to take it back.
#[test]
fn a_trial_ends_with_the_lease_of_a_daemon_that_is_dead() {
    if !require_kernel("a_trial_ends_with_the_lease_of_a_daemon_that_is_dead") {
        return;
    }
    let pins = Pins::new();
    let mut spec = configured(Mode::Observe);
    spec.timers.on_lease_end = OnLeaseEnd::Keep;
    spec.timers.lease = Duration::from_secs(2);
    let mut scene = known(spec.clone(), &pins);
    scene.begin_trial(&[]);
    drop(scene.engine.take());
    let begin = Instant::now();
    while scene.passed(SPOOFED) != PACKETS {
        assert!(begin.elapsed() < WITHIN, "the lease does not end it");
        std::thread::yield_now();
    }
    scene.load_with(spec, Some(pins.path().to_owned()), |_| {});
    scene.end();
}
