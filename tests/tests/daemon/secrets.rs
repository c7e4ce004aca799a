//! A password in the configuration: the running daemon says that it is set, and nothing it says has it.
use tests::lab::require;

use super::learned::{CONFIG, Place};

const PASSWORD: &str = "correct horse battery staple";

#[test]
fn a_password_is_in_nothing_the_daemon_says() {
    if !require("secrets", &[]) {
        return;
    }
    let place = Place::new();
    let shadow = |password: &str| {
        format!(
            "{CONFIG}\n[[feed]]\nkind = \"shadow\"\nlisten = \"127.0.0.1:1790\"\nasn = 64999\nsessions = [\n\
             {{ address = \"127.0.3.11\", session = \"192.0.2.11\", password = \"{password}\" }},\n\
             {{ address = \"127.0.3.12\", session = \"192.0.2.12\" }} ]\n"
        )
    };
    let text = shadow(PASSWORD);
    let daemon = place.site.start(&text);
    let status = daemon.status();
    let feeds = status["feeds"].as_array().unwrap();
    let set: Vec<_> = feeds
        .iter()
        .map(|feed| feed["passwords_set"].as_u64())
        .collect();
    assert_eq!(set, [None, None, Some(1)], "{status:#}");
    // Neither when it reads the file again, nor when it refuses it.
    daemon.until_reloaded();
    for wrong in [PASSWORD.repeat(3), format!("{PASSWORD}\" \"")] {
        let refused = || daemon.events_named("reload-refused").len();
        let before = refused();
        daemon.rewrite(&place.site, &shadow(&wrong));
        daemon.reload();
        daemon.until("the refusal", "p1", |_| refused() > before);
    }
    let said = format!("{:#}{:#?}", daemon.status(), daemon.events());
    assert!(said.contains("not a password of 1 to 80 bytes"), "{said}");
    assert!(!said.contains("horse"), "{said}");
    daemon.rewrite(&place.site, &text);
    place.end(daemon, &text);
}
