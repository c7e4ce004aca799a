//! What a guest said, read and reported: which tests passed, what the verifier went through, and whether the kernel itself
//! complained. Takes nothing for passed that was not said to have.
use super::plan::Run;

/// Lines of a kernel in trouble. Stalls are not among them: an emulated processor has to wait for a real one.
const TROUBLE: &[&str] = &[
    "BUG: kernel",
    "BUG: unable",
    "BUG: sleeping",
    "BUG: scheduling",
    "BUG: spinlock",
    "WARNING: CPU",
    "Oops",
    "general protection fault",
    "Kernel panic",
    "possible circular locking",
];

/// One kernel's results.
#[derive(Debug, Default)]
pub struct Report {
    /// What it was asked for as.
    pub asked: String,
    /// `uname -r` in the guest.
    pub booted: Option<String>,
    passed: u32,
    failed: u32,
    /// Program, instructions verified, budget.
    costs: Vec<Cost>,
    /// Everything that makes it a failure.
    pub problems: Vec<String>,
    /// What the tests left out and why.
    notes: Vec<String>,
}

#[derive(Debug)]
struct Cost {
    program: String,
    verified: String,
    budget: String,
}

impl Report {
    /// Of a kernel that could not be had or not be run.
    pub fn failed(asked: &str, why: String) -> Self {
        Self {
            asked: asked.to_owned(),
            problems: vec![why],
            ..Self::default()
        }
    }

    /// Reads what a guest said against what it was to run.
    pub fn read(asked: &str, runs: &[Run], said: &str) -> Self {
        let mut report = Self {
            asked: asked.to_owned(),
            ..Self::default()
        };
        for line in said.lines() {
            report.line(line);
        }
        if report.booted.is_none() {
            report.problems.push("it did not boot".to_owned());
        }
        for run in runs {
            report.finished(run, said);
        }
        if report.costs.is_empty() {
            report
                .problems
                .push("no program's cost was printed".to_owned());
        }
        if !said.lines().any(|line| line == "== done") {
            report.problems.push("it never came to the end".to_owned());
        }
        report
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        let booted = self.booted.as_deref().unwrap_or("not booted");
        format!("{booted}, {} passed, {} failed", self.passed, self.failed)
    }

    fn line(&mut self, line: &str) {
        // The harness may have begun the line with a test's name.
        let line = line.rsplit(" ... ").next().unwrap_or(line);
        if let Some(version) = line.strip_prefix("== booted ") {
            self.booted = Some(version.to_owned());
        } else if let Some(cost) = line.strip_prefix("cost: ") {
            self.costs.extend(Cost::read(cost));
        } else if let Some(module) = line.strip_prefix("== broken module ") {
            self.problems.push(format!("cannot load {module}"));
        } else if line.contains(": not before ") || line.contains(": not with ") {
            if !self.notes.iter().any(|note| note == line) {
                self.notes.push(line.to_owned());
            }
        } else if TROUBLE.iter().any(|trouble| line.contains(trouble)) {
            self.problems.push(format!("the kernel says: {line}"));
        }
    }

    /// A run has passed if it ended with zero and its harness counted as many tests as it has.
    fn finished(&mut self, run: &Run, said: &str) {
        let name = run.binary;
        let output = said
            .split_once(&format!("== begin {name}\n"))
            .and_then(|(_, rest)| rest.split_once(&format!("== end {name} ")));
        let Some((output, status)) = output else {
            self.problems.push(format!("{name} did not end"));
            return;
        };
        let count = |word: &str| {
            let result = output
                .lines()
                .find_map(|line| line.strip_prefix("test result: "))?;
            let before = result.split(word).next()?.trim_end();
            before.rsplit(' ').next()?.parse::<u32>().ok()
        };
        let (passed, failed) = (count(" passed").unwrap_or(0), count(" failed").unwrap_or(0));
        self.passed += passed;
        self.failed += failed;
        let status = status.lines().next().unwrap_or_default();
        if status != "0" || failed > 0 {
            self.problems
                .push(format!("{name}: {failed} failed, status {status}"));
        } else if passed < run.at_least {
            self.problems.push(format!(
                "{name}: {passed} passed, {} expected",
                run.at_least
            ));
        }
    }
}

impl Cost {
    /// `bcp38.o bcp38: 131289 of 165000 instructions verified, …`
    fn read(line: &str) -> Option<Self> {
        let (program, figures) = line.split_once(": ")?;
        let mut words = figures.split(' ');
        let (verified, budget) = (words.next()?, words.nth(1)?);
        Some(Self {
            program: program.to_owned(),
            verified: verified.to_owned(),
            budget: budget.to_owned(),
        })
    }
}

/// The table, and below it what was left out.
pub fn print(reports: &[Report]) {
    println!("| kernel | booted | tests | program | instructions verified | budget |");
    println!("|---|---|---|---|--:|--:|");
    for report in reports {
        let booted = report.booted.as_deref().unwrap_or("never");
        let mut first = format!(
            "{} | {booted} | {} passed, {} failed",
            report.asked, report.passed, report.failed
        );
        if report.costs.is_empty() {
            println!("| {first} | | | |");
        }
        for cost in &report.costs {
            println!(
                "| {first} | {} | {} | {} |",
                cost.program, cost.verified, cost.budget
            );
            first = " | | ".to_owned();
        }
    }
    println!();
    for report in reports {
        for note in &report.notes {
            println!("{}: {note}", report.asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run::all("loader", 2);

    fn said(result: &str, status: u32) -> String {
        format!(
            "== booted 6.1.0-50\n== begin loader\ntest a ... cost: a.o b: 5 of 9 instructions verified, 1 of 2 bytes\n{result}\n== end loader {status}\n== kernel\n== done\n"
        )
    }

    fn problems(said: &str) -> Vec<String> {
        Report::read("6.1", &[RUN], said).problems
    }

    #[test]
    fn only_what_was_said_to_have_passed_has() {
        let good = said("test result: ok. 2 passed; 0 failed; 0 ignored", 0);
        let report = Report::read("6.1", &[RUN], &good);
        assert_eq!(report.problems, [""; 0]);
        assert_eq!(
            (
                report.passed,
                report.costs[0].verified.as_str(),
                report.costs[0].budget.as_str()
            ),
            (2, "5", "9")
        );
        for (bad, problem) in [
            (
                said("test result: FAILED. 1 passed; 1 failed; 0 ignored", 101),
                "loader: 1 failed, status 101",
            ),
            (
                said("test result: ok. 1 passed; 0 failed; 0 ignored", 0),
                "loader: 1 passed, 2 expected",
            ),
            (said("", 139), "loader: 0 failed, status 139"),
            (good.replace("== done\n", ""), "it never came to the end"),
            (good.replace("== booted", "booted"), "it did not boot"),
            (good.replace("== end", "end"), "loader did not end"),
            (
                good.replace("== done", "[ 1.0] WARNING: CPU: 0\n== done"),
                "the kernel says: [ 1.0] WARNING: CPU: 0",
            ),
        ] {
            assert_eq!(problems(&bad), [problem], "{bad}");
        }
    }
}
