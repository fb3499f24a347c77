//! The table and the JSON document.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Value, json};

use super::catalogue::{FIGURES, Figure, MARKS, Mark, Unit};
use super::machine::Machine;
use super::options::Part;
use super::percentiles::Sorted;

/// What was measured, run by run.
#[derive(Default)]
pub(crate) struct Figures {
    /// Values of this run: what is measured twice in one run counts once, as its median.
    current: BTreeMap<&'static str, Vec<f64>>,
    runs: BTreeMap<&'static str, Vec<f64>>,
    notes: BTreeSet<(Part, String)>,
}

impl Figures {
    /// Adds a value of this run.
    ///
    /// # Panics
    /// When the catalogue has no such figure.
    pub(crate) fn add(&mut self, key: &'static str, value: f64) {
        assert!(FIGURES.iter().any(|figure| figure.key == key), "{key} is not in the catalogue");
        self.current.entry(key).or_default().push(value);
    }

    /// Three percentiles in milliseconds, under the names in the catalogue.
    pub(crate) fn percentiles(&mut self, keys: [&'static str; 3], millis: &Sorted) {
        for (key, percent) in keys.into_iter().zip([50.0, 99.0, 99.9]) {
            self.add(key, millis.percentile(percent));
        }
    }

    /// The value that this run has so far.
    pub(crate) fn now(&self, key: &str) -> Option<f64> {
        self.current.get(key).map(|values| Sorted::new(values.clone()).median())
    }

    /// Says something about a part that is no number.
    pub(crate) fn note(&mut self, part: Part, text: impl Into<String>) {
        self.notes.insert((part, text.into()));
    }

    /// Closes a run.
    pub(crate) fn end_run(&mut self) {
        for (key, values) in std::mem::take(&mut self.current) {
            self.runs.entry(key).or_default().push(Sorted::new(values).median());
        }
    }

    fn of(&self, key: &str) -> Option<Sorted> {
        self.runs.get(key).map(|values| Sorted::new(values.clone()))
    }

    fn median(&self, key: &str) -> Option<f64> {
        self.of(key).map(|values| values.median())
    }
}

/// Everything that was found out.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) figures: Figures,
    pub(crate) quick: bool,
    pub(crate) runs: usize,
    pub(crate) parts: Vec<Part>,
    pub(crate) took: Duration,
}

/// One mark with what was measured of it.
struct Verdict<'m> {
    mark: &'m Mark,
    value: Option<f64>,
}

impl Verdict<'_> {
    fn holds(&self) -> Option<bool> {
        self.value.map(|value| self.mark.bound.holds(value))
    }
}

/// May the table have colours?
pub(crate) fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stdout().is_terminal()
}

impl Report {
    /// Nothing that was measured misses its mark. Small sizes prove nothing either way.
    pub(crate) fn holds(&self) -> bool {
        self.quick || self.verdicts().iter().all(|verdict| verdict.holds() != Some(false))
    }

    fn verdicts(&self) -> Vec<Verdict<'static>> {
        let value = |mark: &Mark| {
            let figure = self.figures.median(mark.figure)?;
            if mark.beside.is_empty() {
                return Some(figure);
            }
            let controls = mark.beside.iter().filter_map(|control| self.figures.median(control));
            controls.reduce(f64::max).map(|best| figure / best)
        };
        MARKS.iter().map(|mark| Verdict { mark, value: value(mark) }).collect()
    }

    /// For people.
    pub(crate) fn table(&self, colours: bool) -> String {
        let mut text = self.machine.to_string();
        let _ = writeln!(text, "{} run(s), {:.0} s", self.runs, self.took.as_secs_f64());
        self.rows(&mut text, None, "machine");
        for part in &self.parts {
            self.rows(&mut text, Some(*part), &format!("({}) {}", part.letter(), part.title()));
            for (_, note) in self.figures.notes.iter().filter(|(of, _)| of == part) {
                let _ = writeln!(text, "    · {note}");
            }
        }
        if self.quick {
            text.push_str("\n--quick: small sizes, so none of these numbers is a result, and there are no verdicts\n");
            return text;
        }
        text.push_str("\nverdicts\n");
        for verdict in self.verdicts() {
            let _ = writeln!(text, "  {}", verdict_line(&verdict, colours));
        }
        text
    }

    fn rows(&self, text: &mut String, part: Option<Part>, title: &str) {
        let _ = writeln!(text, "\n{title}");
        for figure in FIGURES.iter().filter(|figure| figure.part == part) {
            let Some(values) = self.figures.of(figure.key) else { continue };
            let number = number(values.median(), figure.unit);
            let _ = write!(text, "  {:<62} {number:>9} {:<3}", figure.what, figure.unit.as_str());
            if values.len() > 1 {
                let (least, most) = values.range();
                let _ = write!(text, "  {} … {}", self::number(least, figure.unit), self::number(most, figure.unit));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let figures: BTreeMap<&str, Value> = FIGURES.iter().filter_map(|figure| self.figure_json(figure)).collect();
        let notes: Vec<Value> =
            self.figures.notes.iter().map(|(part, text)| json!({ "part": part.letter(), "text": text })).collect();
        let verdicts: Vec<Value> = self.verdicts().iter().map(|verdict| self.verdict_json(verdict)).collect();
        let parts: Vec<String> = self.parts.iter().map(|part| part.letter()).collect();
        let document = json!({
            "machine": self.machine.json(), "quick": self.quick, "runs": self.runs, "parts": parts,
            "seconds": self.took.as_secs_f64(), "figures": figures, "notes": notes,
            "verdicts": if self.quick { Value::Null } else { verdicts.into() },
        });
        format!("{document:#}\n")
    }

    fn figure_json(&self, figure: &Figure) -> Option<(&'static str, Value)> {
        let values = self.figures.runs.get(figure.key)?;
        let median = self.figures.median(figure.key)?;
        let unit = figure.unit.as_str();
        Some((figure.key, json!({ "what": figure.what, "unit": unit, "median": median, "runs": values })))
    }

    fn verdict_json(&self, verdict: &Verdict<'_>) -> Value {
        let mark = verdict.mark;
        json!({
            "what": mark.what, "figure": mark.figure, "beside": mark.beside, "bound": mark.bound.to_string(),
            "value": verdict.value, "holds": verdict.holds(),
        })
    }
}

fn verdict_line(verdict: &Verdict<'_>, colours: bool) -> String {
    let (word, colour) = match verdict.holds() {
        Some(true) => ("holds", "32"),
        Some(false) => ("DOES NOT HOLD", "31"),
        None => ("not measured", "33"),
    };
    let value = verdict.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let word = if colours { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word.to_owned() };
    format!("{:<60} {value:>8} {:<7} {word}", verdict.mark.what, verdict.mark.bound.to_string())
}

/// Digits that mean something: none behind the point of large numbers, thousands apart.
fn number(value: f64, unit: Unit) -> String {
    if matches!(unit, Unit::Millis | Unit::Ratio) && value < 100.0 {
        return format!("{value:.2}");
    }
    if unit == Unit::MiB && value < 1_000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut apart = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(values: &[(&'static str, &[f64])]) -> Report {
        let mut figures = Figures::default();
        let runs = values.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        for run in 0..runs {
            values.iter().filter_map(|(key, of)| Some((*key, *of.get(run)?))).for_each(|(k, v)| figures.add(k, v));
            figures.end_run();
        }
        let machine = Machine::default();
        Report { machine, figures, quick: false, runs, parts: vec![], took: Duration::ZERO }
    }

    #[test]
    fn a_verdict_is_the_ratio_of_medians_to_the_best_control_over_all_runs() {
        let holding = report(&[
            ("d.1", &[10.0, 4_000.0, 5_000.0]),
            ("c.8", &[1_999.0, 2_000.0, 9_000.0]),
            ("c.16", &[9_000.0, 1_000.0, 1_000.0]),
        ]);
        let verdict = holding.verdicts().into_iter().find(|verdict| verdict.mark.figure == "d.1").unwrap();
        assert_eq!((verdict.value, verdict.holds()), (Some(2.0), Some(true)));
        assert!(holding.holds());
        let missing = report(&[("d.1", &[3_999.0]), ("c.32", &[2_000.0])]);
        assert!(!missing.holds());
        assert!(missing.table(false).contains("DOES NOT HOLD"));
        assert!(Report { quick: true, ..missing }.holds());
    }

    #[test]
    fn what_was_not_measured_is_no_failure_and_said() {
        let alone = report(&[("d.1", &[3_999.0])]);
        assert!(alone.holds());
        assert!(alone.table(false).contains("not measured"));
    }

    #[test]
    fn what_is_measured_twice_in_a_run_counts_once() {
        let mut figures = Figures::default();
        [1.0, 3.0].into_iter().for_each(|value| figures.add("b.rate", value));
        assert_eq!(figures.now("b.rate"), Some(2.0));
        figures.end_run();
        assert_eq!(figures.of("b.rate"), Some(Sorted::new(vec![2.0])));
    }

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        assert_eq!(number(1_234_567.8, Unit::PerSecond), "1,234,568");
        assert_eq!(number(999.4, Unit::Count), "999");
        assert_eq!(number(3.456, Unit::Millis), "3.46");
        assert_eq!(number(63.94, Unit::MiB), "63.9");
    }
}
