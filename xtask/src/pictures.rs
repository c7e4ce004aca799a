//! `cargo xtask pictures`: the README's pictures of `top` and of a report, as the program draws them. `top` needs nothing
//! else; the report is photographed by a headless Chromium.
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::command::{Result, run, workspace};

/// Of the report, in pixels: its beginning.
const SIZE: &str = "980,1180";

/// Draws both into docs/pictures.
pub fn draw() -> Result<()> {
    let pictures = workspace().join("docs/pictures");
    let report = workspace().join("target/report.html");
    let shot = pictures.join("report.png");
    anew(&pictures.join("top.svg"), || {
        test("cli::top::picture", "BCP38_PICTURES", &pictures, &[])
    })?;
    anew(&report, || {
        test("report::picture", "BCP38_REPORT", &report, &["--ignored"])
    })?;
    anew(&shot, || photograph(&report, &shot))?;
    println!("{}", pictures.display());
    Ok(())
}

/// Has a file made after the old one is removed: a test that is not there any more succeeds, and leaves what it finds.
fn anew(file: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(format!("cannot remove `{}`: {error}", file.display()));
        }
        _ => make()?,
    }
    match fs::metadata(file) {
        Ok(made) if made.len() > 0 => Ok(()),
        _ => Err(format!(
            "`{}` was not made: does the test that draws it have another name by now?",
            file.display()
        )),
    }
}

fn photograph(page: &Path, shot: &Path) -> Result<()> {
    run(Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox", // it runs as root, and shows nothing but our own file
            "--disable-gpu",
            "--hide-scrollbars",
            &format!("--window-size={SIZE}"),
            &format!("--screenshot={}", shot.display()),
        ])
        .arg(page))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_made_anew_is_an_error() {
        let file = std::env::temp_dir().join(format!("picture-{}", std::process::id()));
        fs::write(&file, "of yesterday").unwrap();
        let refused = anew(&file, || Ok(())).unwrap_err();
        let said = format!("`{}` was not made: ", file.display());
        assert!(refused.starts_with(&said), "{refused}");
        assert!(!file.exists());
        let write = |text: &str| fs::write(&file, text).map_err(|error| error.to_string());
        assert!(anew(&file, || write("")).is_err(), "an empty one");
        assert_eq!(anew(&file, || write("of today")), Ok(()));
        assert_eq!(fs::read_to_string(&file).unwrap(), "of today");
        let failed = anew(&file, || Err("no browser".to_owned()));
        assert_eq!(failed, Err("no browser".to_owned()));
        assert!(!file.exists());
    }
}
