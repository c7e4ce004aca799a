//! `cargo xtask pictures`: the README's pictures of `top` and of a report, as the program draws them. `top` needs nothing
//! else; the report is photographed by a headless Chromium.
use std::path::Path;
use std::process::Command;

use crate::command::{Result, run, workspace};

/// Of the report, in pixels: its beginning.
const SIZE: &str = "980,1180";

/// Draws both into docs/pictures.
pub fn draw() -> Result<()> {
    let pictures = workspace().join("docs/pictures");
    let report = workspace().join("target/report.html");
    test("cli::top::picture", "BCP38_PICTURES", &pictures, &[])?;
    test("report::picture", "BCP38_REPORT", &report, &["--ignored"])?;
    let shot = pictures.join("report.png");
    run(Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox", // it runs as root, and shows nothing but our own file
            "--disable-gpu",
            "--hide-scrollbars",
            &format!("--window-size={SIZE}"),
            &format!("--screenshot={}", shot.display()),
        ])
        .arg(&report))?;
    println!("{}", pictures.display());
    Ok(())
}

fn test(name: &str, variable: &str, value: &Path, arguments: &[&str]) -> Result<()> {
    run(Command::new("cargo")
        .current_dir(workspace())
        .env(variable, value)
        .env("TZ", "UTC")
        .args([
            "test",
            "--quiet",
            "--package",
            "filter-daemon",
            "--lib",
            name,
        ])
        .arg("--")
        .args(arguments))
}
