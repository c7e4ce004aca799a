//! What is said of a program that cannot be looked for.
use super::*;

/// One interface, attached at tc a while ago.
fn at_tc(seen: Option<Vec<u32>>) -> Devices {
    let state = State {
        index: Some(7),
        at_tc: seen,
        ours: Some(Ours {
            program: 42,
            is_at_tc: true,
            why: "as configured".to_owned(),
        }),
        retry_at: Duration::from_secs(1),
        ..State::default()
    };
    Devices {
        links: Some(Links::open().unwrap()),
        interfaces: vec![state],
        names: vec!["ixp0".to_owned()],
        ..Devices::default()
    }
}

#[test]
fn what_cannot_be_read_at_tc_is_not_said_to_be_absent() {
    let (id, now) = (InterfaceId(0), Duration::from_secs(9));
    for (seen, attached, why) in [
        (Some(vec![41, 42]), Some(true), None),
        (
            Some(vec![41]),
            Some(false),
            Some("our program is not at tc any more"),
        ),
        (None, None, Some("the programs at tc cannot be read")),
    ] {
        let devices = at_tc(seen);
        let said = devices.attachment(id);
        assert_eq!((said.attached, said.why.as_deref()), (attached, why));
        assert_eq!(said.hook, (attached == Some(true)).then_some(TC));
        let is_off = attached == Some(false);
        assert_eq!(devices.is_stubborn(id), is_off, "what is there stays");
        let due = devices.unattached(now);
        assert_eq!(due.contains(&id), is_off, "only what is off is attached");
    }
}
