//! Events of devices, in the operator's language. Never decides what is attached.
use filter_core::Reason;
use filter_core::layout::{MAX_OWN_ADDRESSES, MAX_OWN_MACS, MAX_SUBNETS};

use super::Noted;
use super::fields::Fields;

pub(super) fn left_out(interface: &str, left_out: &[String]) -> Noted {
    let text = match left_out {
        [] => format!("{interface}: there is room for all of our macs and addresses again"),
        [..] => format!(
            "{interface}: no room for {}: at most {MAX_OWN_MACS} macs, and of each family and vlan {MAX_OWN_ADDRESSES} addresses and {MAX_SUBNETS} subnets outside `lan`",
            left_out.join(", ")
        ),
    };
    Noted::plain("left-out", text)
}

pub(super) fn tags_hidden(interface: &str, command: Option<&str>) -> Noted {
    match command {
        Some(command) => Noted::plain(
            "tags-hidden",
            format!(
                "{interface}: the driver hides vlan tags from the program, so that only malformed frames are judged: `{command}`"
            ),
        ),
        None => Noted::plain(
            "tags-seen",
            format!("{interface}: the program sees vlan tags again"),
        ),
    }
}

pub(super) fn alarm(interface: Option<&str>, reason: Reason, begins: bool) -> Noted {
    let (begun, over, what) = match reason {
        Reason::NoRecord => (
            "no-record-alarm",
            "no-record-over",
            "frames come in from a device that has no record, and pass: a new member of a bond, or a device that came back",
        ),
        _ => (
            "not-for-us-alarm",
            "not-for-us-over",
            "more than half of what came in over the last minute is for none of our macs, and passes",
        ),
    };
    let place = interface.map_or(String::new(), |interface| format!("{interface}: "));
    match begins {
        true => Noted::plain(begun, format!("{place}{what}")),
        false => Noted::plain(over, format!("{place}not any more: {what}")),
    }
}

/// The program is on an interface.
pub(super) fn attached(interface: &str, hook: &'static str) -> Noted {
    Noted {
        event: "attached",
        text: format!("{interface} ({hook})"),
        fields: Fields::Interface {
            interface: interface.to_owned(),
            hook: Some(hook),
            why: None,
        },
    }
}

/// The program is not on an interface.
pub(super) fn detached(interface: &str, why: &str) -> Noted {
    Noted {
        event: "not-attached",
        text: format!("{interface}: {why}: nothing is filtered there until it is attached"),
        fields: Fields::Interface {
            interface: interface.to_owned(),
            hook: None,
            why: Some(why.to_owned()),
        },
    }
}

/// A version with another data-plane schema left its program there.
pub(super) fn former_kept(interface: &str, program: u32, schema: u32) -> Noted {
    Noted::plain(
        "former-kept",
        format!(
            "{interface}: program {program} of a version with schema {schema} goes on filtering by its own tables until this one knows as much"
        ),
    )
}

/// Our program is in its place.
pub(super) fn former_replaced(interface: &str) -> Noted {
    Noted::plain(
        "former-replaced",
        format!("{interface}: the program of the version before is replaced; counters start anew"),
    )
}
