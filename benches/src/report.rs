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
    /// More of a figure that was measured in turns.
    pub detail: Option<Detail>,
}

/// How far a ratio spreads, and what went through.
#[derive(Clone, Copy, Debug)]
pub struct Detail {
    /// The ratio is the median of so many rounds' ratios.
    pub rounds: usize,
    /// A quarter of them are below the first, and a quarter above the second.
    pub quartiles: [f64; 2],
    /// Packets a second, by the clock on the wall.
    pub packets: f64,
    /// Bits a second.
    pub bits: f64,
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
            detail: None,
        }
    }

    /// The same with more of it.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.detail = Some(detail);
        self
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

    /// As an array of objects: `bar`, `case`, `ours_ns`, `baseline`, `baseline_ns`, `ratio`, `goal`, `met`, `detail`. A
    /// figure that is none is `null`, and so is `met` where nothing is asked; and `detail`, or else an object of `rounds`,
    /// `quartiles`, `packets_per_second` and `bits_per_second`.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = String::from("[\n");
        for (i, row) in self.rows.iter().enumerate() {
            let met = row.met().map_or("null".to_owned(), |met| met.to_string());
            let comma = if i + 1 < self.rows.len() { "," } else { "" };
            _ = writeln!(
                text,
                r#"  {{"bar": {}, "case": {:?}, "ours_ns": {}, "baseline": {:?}, "baseline_ns": {}, "ratio": {}, "goal": {:?}, "met": {met}, "detail": {}}}{comma}"#,
                row.bar,
                row.case,
                number(row.ours),
                row.baseline,
                number(row.baseline_value),
                number(row.ratio),
                row.goal(),
                row.detail.as_ref().map_or("null".to_owned(), detail)
            );
        }
        text.push_str("]\n");
        text
    }
}

fn detail(detail: &Detail) -> String {
    let [first, third] = detail.quartiles.map(number);
    format!(
        r#"{{"rounds": {}, "quartiles": [{first}, {third}], "packets_per_second": {}, "bits_per_second": {}}}"#,
        detail.rounds,
        number(detail.packets),
        number(detail.bits)
    )
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
    let more = row.detail.as_ref().map_or(String::new(), |detail| {
        let [first, third] = detail.quartiles;
        let (millions, gigabits) = (detail.packets / 1e6, detail.bits / 1e9);
        format!(
            "  {first:.3} to {third:.3} in {} rounds, {millions:.2} Mpps, {gigabits:.2} Gbit/s",
            detail.rounds
        )
    });
    format!(
        "{:>3}  {:<58} {:>12.2}  {:<34} {:>12.2} {:>9.3}  {:<8} {met}{more}",
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
        let times = Row::times(8, "tc", 3.0, "no filter", 2.0, Goal::None);
        report.add(times.with(Detail {
            rounds: 9,
            quartiles: [1.25, f64::INFINITY],
            packets: 1e6,
            bits: 5.5e8,
        }));
        let expected = json!([
            {"bar": 1, "case": "a \"case\"", "ours_ns": 10.0, "baseline": "tries", "baseline_ns": 405.0,
             "ratio": 40.5, "goal": ">= 40", "met": true, "detail": null},
            {"bar": 2, "case": "hot", "ours_ns": 12.25, "baseline": "empty", "baseline_ns": 2.0,
             "ratio": 6.125, "goal": "<= 5", "met": false, "detail": null},
            {"bar": 5, "case": "nothing", "ours_ns": 0.0, "baseline": "told", "baseline_ns": 1.0,
             "ratio": null, "goal": "", "met": null, "detail": null},
            {"bar": 8, "case": "tc", "ours_ns": 3.0, "baseline": "no filter", "baseline_ns": 2.0,
             "ratio": 1.5, "goal": "", "met": null,
             "detail": {"rounds": 9, "quartiles": [1.25, null], "packets_per_second": 1e6, "bits_per_second": 5.5e8}},
        ]);
        assert_eq!(parsed(&report).ok(), Some(expected));
        assert_eq!(report.score(), (1, 2));
    }
}
