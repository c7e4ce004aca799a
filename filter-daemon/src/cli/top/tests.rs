//! `top` drawn into a buffer, from answers as the daemon gives them.
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::app::{MAX_RATES, MAX_SAMPLES};
use super::*;

fn status(p1: [u64; 3], p2: [u64; 3]) -> Value {
    let counters = |[permitted, spoofed, dropped]: [u64; 3]| {
        json!({
            "permitted": { "passed": { "packets": permitted }, "dropped": { "packets": 0 } },
            "source-unannounced": { "passed": { "packets": spoofed }, "dropped": { "packets": dropped } },
        })
    };
    json!({ "peers": [
        { "name": "p1", "asn": 64501, "state": "observing", "missing": null, "counters": counters(p1) },
        { "name": "p2", "asn": 64502, "state": "degraded", "missing": "the feed of its ipv4 sources is lost",
          "counters": counters(p2) },
    ] })
}

fn sample(number: u64) -> ViolationRecord {
    serde_json::from_value(json!({
        "number": number, "time": 1.0, "peer": "p2", "interface": "ixp0", "hook": null, "source_mac": "02:00:00:00:00:10",
        "destination_mac": null, "vlan": null, "inner_vlan": null, "ethertype": 0x0800, "source": "9.9.9.9",
        "destination": "100.64.0.1", "protocol": 17, "source_port": 1, "destination_port": 53,
        "reason": "source-unannounced", "dropped": true, "length": 60, "forbidden_protocol": null,
        "source_announced_by": [], "destination_is": "advertised", "story": null, "header": "",
    }))
    .unwrap()
}

fn app() -> App {
    let mut app = App::new(Sort::Violations);
    app.update(100.0, &status([10, 0, 0], [0, 0, 0]), Vec::new());
    app.update(102.0, &status([30, 0, 0], [8, 4, 6]), vec![sample(1)]);
    app
}

fn drawn(app: &App) -> String {
    let mut terminal = Terminal::new(TestBackend::new(110, 30)).unwrap();
    terminal.draw(|frame| view::draw(frame, app)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn peers_are_sorted_by_what_they_break_and_have_rates() {
    let app = app();
    let names: Vec<&str> = app.rows().iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["p2", "p1"]);
    let screen = drawn(&app);
    let line = |name: &str| {
        screen
            .lines()
            .find(|line| line.contains(name))
            .unwrap()
            .to_owned()
    };
    let p2 = line("64502");
    for shown in ["degraded", "4.0", "2.0", "3.0", "█"] {
        assert!(p2.contains(shown), "{shown}: {p2}");
    }
    assert!(line("64501").contains("10.0"), "{screen}");
    assert!(screen.contains("2 peers, by violations"), "{screen}");
}

#[test]
fn a_peer_is_shown_with_its_reasons_sources_and_samples_and_left_again() {
    let mut app = app();
    assert!(!app.key(KeyCode::Enter));
    let screen = drawn(&app);
    for shown in [
        "p2 (AS64502): degraded",
        "the feed of its ipv4 sources is lost",
        "violations a second",
        "source-unannounced",
        "9.9.9.0/24",
        "1 samples",
        "02:00:00:00:00:10",
        "dropped  9.9.9.9:1 > 100.64.0.1:53 udp",
    ] {
        assert!(screen.contains(shown), "{shown}: {screen}");
    }
    app.key(KeyCode::Esc);
    assert!(drawn(&app).contains("over time"));
}

#[test]
fn keys_choose_sort_and_end() {
    let mut app = app();
    app.key(KeyCode::Down);
    app.key(KeyCode::Down);
    assert_eq!(app.chosen, 1);
    for sort in [Sort::Dropped, Sort::Packets, Sort::Name, Sort::Violations] {
        app.key(KeyCode::Char('s'));
        assert_eq!(app.sort, sort);
        assert_eq!(app.rows()[app.chosen].name, "p1", "the choice goes along");
    }
    app.key(KeyCode::Char('k'));
    assert_eq!(app.chosen, 0);
    assert!(app.key(KeyCode::Char('q')));
}

#[test]
fn a_daemon_that_is_away_is_said_and_what_was_known_stays() {
    let mut app = app();
    app.set_away(Some("no daemon runs".to_owned()));
    let screen = drawn(&app);
    assert!(
        screen.contains("no answer: no daemon runs") && screen.contains("64502"),
        "{screen}"
    );
}

#[test]
fn without_a_terminal_it_is_a_table() {
    let expected = "\
peer          as  state        passed/s  would drop/s   dropped/s
p2         64502  degraded          4.0           2.0         3.0
p1         64501  observing        10.0           0.0         0.0
";
    assert_eq!(view::text(&app()), expected);
}

#[test]
fn what_is_remembered_is_bounded_and_a_filter_loaded_anew_counts_from_nothing() {
    let mut app = app();
    let samples = (0..=MAX_SAMPLES as u64).map(sample).collect();
    app.update(103.0, &status([1, 0, 0], [8, 4, 6]), samples);
    let row = |app: &App, name: &str| {
        app.rows()
            .iter()
            .find(|row| row.name == name)
            .unwrap()
            .clone()
    };
    assert!((row(&app, "p1").rates.passed - 1.0).abs() < 1e-9);
    assert_eq!(row(&app, "p2").samples.len(), MAX_SAMPLES);
    for second in 0..=MAX_RATES {
        app.update(
            104.0 + second as f64,
            &status([1, 0, 0], [8, 4, 6]),
            Vec::new(),
        );
    }
    assert_eq!(row(&app, "p2").past.len(), MAX_RATES);
    app.update(999.0, &json!({ "peers": [] }), Vec::new());
    assert!(app.rows().is_empty() && app.chosen == 0);
    drawn(&app);
}
