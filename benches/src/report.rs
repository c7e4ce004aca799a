//! The one table of results, on the screen and as JSON. Never measures anything.
use std::fmt::Write;

/// What a bar asks of a ratio.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Printed only.
    None,
}

/// One result beside its baseline.
#[derive(Clone, Debug)]
pub struct Row {
    /// The number of the bar in `docs/performance.md`.
    pub bar: u32,
    /// What was measured.
    pub case: String,
    /// Our figure.
    pub ours: f64,
    /// What it stands beside.
    pub baseline: String,
    /// The baseline's figure.
    pub baseline_value: f64,
    /// What the bar is about: a quotient of the two, whichever way round the bar has it.
    pub ratio: f64,
    /// What the bar asks.
    pub goal: Goal,
}

impl Row {
    /// How many times faster we are than the baseline.
    #[must_use]
    pub fn faster(
        bar: u32,
        case: &str,
        ours: f64,
        baseline: &str,
        theirs: f64,
        goal: Goal,
    ) -> Self {
        Self::of(bar, case, ours, baseline, theirs, theirs / ours, goal)
    }

    /// How many times the baseline we take.
    #[must_use]
    pub fn times(bar: u32, case: &str, ours: f64, baseline: &str, theirs: f64, goal: Goal) -> Self {
        Self::of(bar, case, ours, baseline, theirs, ours / theirs, goal)
    }

    /// With a ratio of its own.
    #[must_use]
    pub fn of(
        bar: u32,
        case: &str,
        ours: f64,
        baseline: &str,
        theirs: f64,
        ratio: f64,
        goal: Goal,
    ) -> Self {
        Self {
            bar,
            case: case.to_owned(),
            ours,
            baseline: baseline.to_owned(),
            baseline_value: theirs,
            ratio,
            goal,
        }
    }

    /// Is the bar met? `None` if there is none.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::AtLeast(least) => Some(self.ratio >= least),
            Goal::AtMost(most) => Some(self.ratio <= most),
            Goal::None => None,
        }
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::AtLeast(least) => format!(">= {least}"),
            Goal::AtMost(most) => format!("<= {most}"),
            Goal::None => String::new(),
        }
    }
}

/// All results, in the order they came in.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Takes a result and shows it.
    pub fn add(&mut self, row: Row) {
        println!("{}", line(&row));
        self.rows.push(row);
    }

    /// The table's head.
    #[must_use]
    pub fn head() -> String {
        format!(
            "{:>3}  {:<58} {:>12}  {:<34} {:>12} {:>9}  {:<8} met",
            "bar", "case", "ours", "baseline", "baseline", "ratio", "goal"
        )
    }

    /// How many bars were met, and how many there are.
    #[must_use]
    pub fn score(&self) -> (usize, usize) {
        let met: Vec<bool> = self.rows.iter().filter_map(Row::met).collect();
        (met.iter().filter(|&&met| met).count(), met.len())
    }

    /// As an array of objects: `bar`, `case`, `ours_ns`, `baseline`, `baseline_ns`, `ratio`, `goal`, `met`. A figure
    /// that is none is `null`, and so is `met` where nothing is asked.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = String::from("[\n");
        for (i, row) in self.rows.iter().enumerate() {
            let met = row.met().map_or("null".to_owned(), |met| met.to_string());
            let comma = if i + 1 < self.rows.len() { "," } else { "" };
            _ = writeln!(
                text,
                r#"  {{"bar": {}, "case": {:?}, "ours_ns": {}, "baseline": {:?}, "baseline_ns": {}, "ratio": {}, "goal": {:?}, "met": {met}}}{comma}"#,
                row.bar,
                row.case,
                number(row.ours),
                row.baseline,
                number(row.baseline_value),
                number(row.ratio),
                row.goal()
            );
        }
        text.push_str("]\n");
        text
    }
}

/// JSON knows no infinity.
fn number(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.3}")
    } else {
        "null".to_owned()
    }
}

fn line(row: &Row) -> String {
    let met = match row.met() {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    };
    format!(
        "{:>3}  {:<58} {:>12.2}  {:<34} {:>12.2} {:>9.2}  {:<8} {met}",
        row.bar,
        row.case,
        row.ours,
        row.baseline,
        row.baseline_value,
        row.ratio,
        row.goal()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn json_is_an_array_of_objects_with_these_keys() {
        let mut report = Report::default();
        let parsed = |report: &Report| serde_json::from_str::<Value>(&report.json());
        assert_eq!(parsed(&report).ok(), Some(json!([])));
        report.add(Row::faster(
            1,
            "a \"case\"",
            10.0,
            "tries",
            405.0,
            Goal::AtLeast(40.0),
        ));
        report.add(Row::times(2, "hot", 12.25, "empty", 2.0, Goal::AtMost(5.0)));
        report.add(Row::faster(5, "nothing", 0.0, "told", 1.0, Goal::None));
        let expected = json!([
            {"bar": 1, "case": "a \"case\"", "ours_ns": 10.0, "baseline": "tries", "baseline_ns": 405.0,
             "ratio": 40.5, "goal": ">= 40", "met": true},
            {"bar": 2, "case": "hot", "ours_ns": 12.25, "baseline": "empty", "baseline_ns": 2.0,
             "ratio": 6.125, "goal": "<= 5", "met": false},
            {"bar": 5, "case": "nothing", "ours_ns": 0.0, "baseline": "told", "baseline_ns": 1.0,
             "ratio": null, "goal": "", "met": null},
        ]);
        assert_eq!(parsed(&report).ok(), Some(expected));
        assert_eq!(report.score(), (1, 2));
    }
}
