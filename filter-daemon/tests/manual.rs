//! The man pages, the completions and the configuration that the packages install.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]
mod common;
#[path = "../examples/manual.rs"]
#[allow(dead_code, reason = "its main is the example's")]
mod manual;

use std::fs;
use std::process::Command;

use clap::CommandFactory;
use common::Scratch;
use filter_core::Mode;
use filter_daemon::cli::Cli;
use filter_daemon::config::Config;

const INSTALLED: &str = include_str!("../package/bcp38.toml");

#[test]
fn every_command_and_option_has_its_manual() {
    let scratch = Scratch::new("manual");
    manual::write(&scratch.0).unwrap();
    let page = |name: &str| fs::read_to_string(scratch.0.join("man").join(name)).unwrap();
    let all = page("bcp38.1");
    let mut command = Cli::command();
    command.build();
    let commands: Vec<_> = command
        .get_subcommands()
        .filter(|it| it.get_name() != "help")
        .collect();
    assert!(commands.len() >= 10);
    for command in commands {
        let name = command.get_name();
        let own = format!("bcp38-{}.1", name);
        let escaped = format!("bcp38\\-{}(1)", name.replace('-', "\\-"));
        assert!(all.contains(&escaped), "{escaped} is not in bcp38(1)");
        let text = page(&own).replace("\\*(Aq", "'").replace('\\', "");
        let about = command.get_about().unwrap().to_string();
        assert!(text.contains(&about), "{own} does not say `{about}`");
        for option in command
            .get_arguments()
            .filter_map(|option| option.get_long())
        {
            assert!(
                text.contains(&format!("--{option}")),
                "{own} lacks --{option}"
            );
        }
    }
    assert!(all.contains("Exit codes: 0 done, 1 failed, 2 usage or configuration."));
}

#[test]
fn completions_know_every_command_and_shells_read_them() {
    let scratch = Scratch::new("completions");
    manual::write(&scratch.0).unwrap();
    for (shell, file) in [
        ("bash", "bcp38.bash"),
        ("fish", "bcp38.fish"),
        ("zsh", "_bcp38"),
    ] {
        let file = scratch.0.join("completions").join(file);
        let text = fs::read_to_string(&file).unwrap();
        for command in Cli::command().get_subcommands() {
            assert!(
                text.contains(command.get_name()),
                "{shell}: {}",
                command.get_name()
            );
        }
        // Of the three only bash is certain to be here.
        if shell == "bash" {
            let read = Command::new(shell).arg("-n").arg(&file).status().unwrap();
            assert!(read.success());
        }
    }
}

#[test]
fn the_installed_configuration_is_right_and_only_observes() {
    let (config, warnings) = Config::parse(INSTALLED, "bcp38.toml").unwrap();
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    // What the reader has to change is what is warned of.
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("`prefixes`: none"), "{warnings:?}");
    assert!(warnings[1].contains("64500"), "{warnings:?}");
    assert!(
        config
            .spec
            .peers
            .iter()
            .all(|peer| peer.mode == Mode::Observe)
    );
    assert!(
        config
            .spec
            .interfaces
            .iter()
            .all(|interface| interface.unknown_peer == Mode::Observe)
    );
}
