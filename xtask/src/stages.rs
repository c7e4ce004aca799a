//! The stages of a long command: says which one runs, how long each took beside its budget, and the whole at the end.
//! A stage over its budget is a warning and never a failure: machines are noisy.
use std::time::{Duration, Instant};

use crate::command::Result;

/// Runs stages one after another and remembers what each took.
pub struct Stages {
    title: &'static str,
    budget: Duration,
    start: Instant,
    done: Vec<Stage>,
}

struct Stage {
    name: &'static str,
    budget: Duration,
    took: Duration,
}

impl Stages {
    /// `budget` is for the whole.
    pub fn new(title: &'static str, budget: Duration) -> Self {
        Self {
            title,
            budget,
            start: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Runs one stage. A failure names the stage and prints what the stages took so far.
    pub fn run(
        &mut self,
        name: &'static str,
        budget_seconds: u64,
        stage: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let budget = Duration::from_secs(budget_seconds);
        eprintln!("== {name} (usually under {})", shown(budget));
        let start = Instant::now();
        let result = stage();
        self.done.push(Stage {
            name,
            budget,
            took: start.elapsed(),
        });
        result.map_err(|error| {
            self.print();
            format!("{name}: {error}")
        })
    }

    /// Prints what each stage took.
    pub fn print(&self) {
        let whole = self.start.elapsed();
        println!(
            "{}: {:<40} {:>8} {:>8}",
            self.title, "stage", "took", "budget"
        );
        for stage in &self.done {
            println!("{}", row(stage.name, stage.took, stage.budget));
        }
        println!("{}", row("all stages", whole, self.budget));
    }
}

fn row(name: &str, took: Duration, budget: Duration) -> String {
    let warning = if took > budget {
        "  warning: over budget"
    } else {
        ""
    };
    format!(
        "  {name:<46} {:>8} {:>8}{warning}",
        shown(took),
        shown(budget)
    )
}

fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        return format!("{seconds} s");
    }
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_over_its_budget_is_marked_and_others_are_not() {
        let budget = Duration::from_secs(90);
        assert_eq!(shown(budget), "1 min 30 s");
        assert!(!row("lints", budget, budget).contains("warning"));
        let over = budget + Duration::from_millis(1);
        assert!(row("lints", over, budget).ends_with("warning: over budget"));
    }

    #[test]
    fn a_failure_names_its_stage() {
        let mut stages = Stages::new("check", Duration::from_secs(1));
        assert_eq!(stages.run("format", 1, || Ok(())), Ok(()));
        let failed = stages.run("lints", 1, || Err("clippy found something".to_owned()));
        assert_eq!(failed, Err("lints: clippy found something".to_owned()));
        assert_eq!(stages.done.len(), 2);
    }
}
