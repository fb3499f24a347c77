//! A report for people.

use millrace::auditlog::verify::{Against, Finding, Report};

/// Findings and ranges that are shown; `--json` has more.
const SHOWN: usize = 20;

/// Every line of the report.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let mut lines = vec![head(report)];
    if let Some((oldest, newest)) = &report.times {
        lines.push(format!("range      {}{oldest} .. {newest}", indexes(report)));
    }
    lines.push(entries(report));
    match report.kind {
        "log" => lines.push(format!("tenants    {} sequences", number(report.sequences))),
        "tenant" => lines.extend(report.numbers.map(sequence)),
        _ => {}
    }
    lines.push(format!(
        "time       max backward step {} ms; gaps without heartbeat: {}",
        report.back_micros.div_ceil(1_000),
        report.silences
    ));
    if report.kind == "log" {
        lines.push(format!("erasure    {} recorded (mapping deleted, bytes unchanged)", number(report.erasures)));
    }
    lines.push(match (&report.size, &report.root, &report.signed_at) {
        (Some(size), Some(root), Some(at)) => format!("checkpoint size {size} root {root} signed {at}"),
        _ => "checkpoint none that is signed by a known key".to_owned(),
    });
    lines.push(history(report));
    lines.push(format!("witness    {}", report.witness));
    lines.extend(remarks(report));
    lines.extend(report.findings.iter().take(SHOWN).flat_map(finding));
    if report.found > SHOWN as u64 {
        lines.push(format!("           … {} findings in all; --json shows more", number(report.found)));
    }
    if report.exit != 0 && !report.good.is_empty() {
        let shown = report.good.iter().take(SHOWN).map(|(from, to)| format!("[{from}, {to})"));
        let more = if report.good.len() > SHOWN { " …" } else { "" };
        lines.push(format!("good       {}{more}", shown.collect::<Vec<_>>().join(" ")));
    }
    lines.push(match report.fault() {
        None => "RESULT     VALID".to_owned(),
        Some(fault) => format!("RESULT     NOT VALID: {} (exit code {})", fault.name(), report.exit),
    });
    lines
}

fn head(report: &Report) -> String {
    let origin = report.origin.as_deref().unwrap_or("(no signed checkpoint)");
    let tenant = report.org_id.as_ref().map_or_else(String::new, |org| format!("   tenant {org}"));
    let key = report.key.as_ref().map_or_else(String::new, |key| format!("   key {key}"));
    let source = if report.keys_from_policy { "of the policy" } else { "of vkeys.json in the folder itself" };
    format!("log        {origin}{tenant}{key} {source}")
}

fn indexes(report: &Report) -> String {
    report.size.filter(|_| report.kind == "log").map_or_else(String::new, |size| format!("[0, {size})  "))
}

fn entries(report: &Report) -> String {
    let counts = &report.entries;
    let mut text = format!("entries    {} verified / ", number(counts.verified));
    if report.kind == "log" {
        let records = report.retention_records;
        text.push_str(&format!("{} pruned ({records} signed retention records) / ", number(counts.pruned)));
    }
    text.push_str(&format!("{} missing / {} altered", number(counts.missing), number(counts.altered)));
    if report.kind == "log" {
        text.push_str(&format!(" / {} duplicate ids", number(counts.duplicates)));
    } else if let Some(size) = report.size {
        text.push_str(&format!("; inclusion proofs at size {size}"));
    }
    text
}

fn sequence((first, last): (u64, u64)) -> String {
    let pruned = if first > 1 { format!("; {} earlier lines pruned", number(first - 1)) } else { String::new() };
    format!("sequence   {} .. {}{pruned}", number(first), number(last))
}

fn history(report: &Report) -> String {
    let count = number(report.checkpoints);
    let since = match report.since {
        Against::Nothing => {
            "none from outside was given: a rollback of log and checkpoint together cannot be seen".to_owned()
        }
        Against::Consistent(size) => format!("consistent with the given one (size {size}): OK"),
        Against::Contradicted(size) => format!("NOT consistent with the given one (size {size})"),
        Against::Unproved(size) => {
            format!("the export has no proof for the given one (size {size}): export again from a log that has it")
        }
    };
    format!("history    {count} checkpoints; {since}")
}

fn remarks(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if report.entries.uncovered > 0 {
        let lines_more = number(report.entries.uncovered);
        lines.push(format!("tail       {lines_more} newer lines that no checkpoint covers yet"));
    }
    if report.torn_bytes > 0 {
        let bytes = number(report.torn_bytes);
        lines.push(format!(
            "tail       {bytes} bytes of a line that was not written whole; the writer cuts them at its next start"
        ));
    }
    if !report.keys_from_policy {
        lines.push("keys       taken from the folder itself: give --policy with keys that you had before".to_owned());
    }
    lines
}

fn finding(finding: &Finding) -> Vec<String> {
    let range = match (finding.index, finding.to) {
        (Some(from), Some(to)) if to > from + 1 => format!(" [{from}, {to})"),
        (Some(from), _) => format!(" index {from}"),
        _ => String::new(),
    };
    let file = finding.file.as_ref().map_or_else(String::new, |file| format!("  {file}"));
    let line = finding.line.map_or_else(String::new, |line| format!(" line {line}"));
    let mut lines = vec![format!("FAULT      {}{range}{file}{line}: {}", finding.fault.name(), finding.text)];
    lines.extend(finding.expected.iter().map(|hash| format!("           expected {hash}")));
    lines.extend(finding.found.iter().map(|hash| format!("           found    {hash}")));
    lines
}

/// Digits in groups of three.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn digits_stand_in_groups() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }
}
