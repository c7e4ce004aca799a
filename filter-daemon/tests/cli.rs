//! The command line's manners: exit codes, one line per error, results on stdout and nothing else there.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]
mod common;

use std::path::Path;
use std::process::Command;

use common::{MICRO, Order, Scratch, ethernet, pcap, udp};

const EXAMPLE: &str = include_str!("../../docs/examples/bcp38.toml");

fn bcp38(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bcp38"))
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn check_config_prints_what_can_be_checked_again() {
    let scratch = Scratch::new("check");
    let file = scratch.file("b.toml", EXAMPLE.as_bytes());
    let (code, first, warnings) = bcp38(&["check-config", text(&file)]);
    assert_eq!(code, Some(0));
    assert!(
        first.contains("bogon_exceptions = [\"198.51.100.0/24\""),
        "{first}"
    );
    assert_eq!(warnings.lines().count(), 2, "{warnings}");
    assert!(
        warnings.starts_with(&format!(
            "warning: {}:10: [router]: `asn` = 64500: ",
            file.display()
        )),
        "{warnings}"
    );
    let again = scratch.file("again.toml", first.as_bytes());
    assert_eq!(bcp38(&["check-config", text(&again)]).1, first);
}

#[test]
fn a_wrong_configuration_is_one_line_and_exit_code_2() {
    let scratch = Scratch::new("wrong");
    let file = scratch.file("b.toml", EXAMPLE.replace("57965", "23456").as_bytes());
    let line = EXAMPLE
        .lines()
        .position(|line| line.starts_with("asn = 57965"))
        .unwrap()
        + 1;
    let error = format!(
        "error: {}:{line}: peer \"icrc\": `asn` = 23456: AS23456 cannot be a peer: it is AS_TRANS, the stand-in for four-octet numbers (RFC 6793); give the real one\n",
        file.display()
    );
    for arguments in [
        &["check-config", text(&file)][..],
        &["replay", "--config", text(&file), "none.pcap"],
    ] {
        assert_eq!(bcp38(arguments), (Some(2), String::new(), error.clone()));
    }
}

#[test]
fn usage_errors_are_exit_code_2() {
    for arguments in [
        &[][..],
        &["replay"],
        &["check-config"],
        &["no-such-command"],
        &["replay", "--engine", "x"],
    ] {
        let (code, out, err) = bcp38(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
    }
    assert_eq!(bcp38(&["--version"]).0, Some(0));
    assert!(
        bcp38(&["--help"])
            .1
            .contains("Exit codes: 0 done, 1 failed, 2 usage or configuration.")
    );
}

#[test]
fn the_interface_must_be_configured_and_known() {
    let scratch = Scratch::new("interface");
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &[]));
    let file = scratch.file("b.toml", EXAMPLE.as_bytes());
    let (config, capture) = (text(&file), text(&capture));
    let replay = |more: &[&str]| {
        let (code, out, err) = bcp38(&[&["replay", "--config", config], more, &[capture]].concat());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        err
    };
    assert_eq!(
        replay(&["--interface", "eth7"]),
        "error: unknown interface `eth7`: the configuration has `ixp0`; use one of them\n"
    );
    for (key, line) in [
        ("mac", "mac = \"02:00:00:00:00:01\""),
        (
            "addresses",
            "addresses = [\"203.0.113.1\", \"2001:db8:ffff::1\"]",
        ),
    ] {
        let without = EXAMPLE
            .replacen(line, "", 1)
            .replace("\"ixp0\"", "\"nodevice0\"");
        scratch.file("b.toml", without.as_bytes());
        assert_eq!(
            replay(&["--interface", "nodevice0"]),
            format!(
                "error: interface `nodevice0`: no `{key}` in the configuration and no device of that name to read it from: add `{key}` to the interface\n"
            )
        );
    }
    let two = EXAMPLE.to_owned() + "[[interface]]\nname = \"pni0\"\nkind = \"port\"\n";
    scratch.file("b.toml", two.as_bytes());
    assert_eq!(
        replay(&[]),
        "error: several interfaces are configured: choose one of `ixp0`, `pni0` with `--interface`\n"
    );
}

#[test]
fn replay_says_what_it_cannot_know() {
    let scratch = Scratch::new("strangers");
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &[]));
    let example = EXAMPLE
        .replace("macs = [\"02:00:00:00:00:10\"]", "")
        .replace("[\"45.146.194.0/23\", \"2a13", "[\"10.0.0.0/8\", \"2a13");
    let file = scratch.file("b.toml", example.as_bytes());
    let (code, out, err) = bcp38(&["replay", "--json", "--config", text(&file), text(&capture)]);
    assert_eq!(code, Some(0));
    assert_eq!(out, "{\"summary\":{\"packets\":0,\"reasons\":{}}}\n");
    assert_eq!(
        err,
        "warning: the bmp feed 127.0.0.1:11019 asks a router, which replay does not: its routes are not known here; give an `mrt` feed or `static` lists\n\
         warning: peer \"icrc\": 10.0.0.0/8 is not admitted: it is within the bogon list\n\
         warning: peer \"icrc\" has no `macs` on interface `ixp0`: its packets will be unknown-peer; add them to the configuration to replay\n"
    );
}

/// `bcp38 replay … | head -1` is no failure.
#[test]
fn a_closed_pipe_ends_quietly() {
    let scratch = Scratch::new("pipe");
    let frames = vec![ethernet(1, 0x10, &udp("45.146.194.7", "198.51.100.7")); 5000];
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &frames));
    let file = scratch.file("b.toml", EXAMPLE.as_bytes());
    let mut child = Command::new(env!("CARGO_BIN_EXE_bcp38"))
        .args(["replay", "--json", "--config", text(&file), text(&capture)])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.lines()
            .all(|line| line.starts_with("warning: the bmp feed")),
        "{said}"
    );
}
