//! What a browser makes of a report.
use std::process::Command;

/// Opens a page in a headless Chromium: its elements as the browser has them, and everything it had to complain about. `None`
/// if there is no Chromium, which is reported.
pub(super) fn open(page: &str) -> Option<(String, Vec<String>)> {
    let profile = tests::lab::Directory::new("browser");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{page}"))
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            let required = std::env::var("FILTER_REQUIRE_KERNEL").is_ok_and(|it| it == "1");
            assert!(
                !required,
                "no chromium: {error}: install the package chromium"
            );
            eprintln!("SKIPPED: looking at the report in a browser: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{output:?}");
    let complaints = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .map(str::to_owned)
        .collect();
    Some((String::from_utf8(output.stdout).unwrap(), complaints))
}
