//! The results as a table in Markdown.

use crate::reasons;
use crate::run::Version;
use crate::script::Needs;
use anyhow::Context as _;
use std::fmt::Write as _;
use std::path::Path;

/// The table stands between these lines of a file.
const BEGIN: &str = "<!-- results: begin -->";
const END: &str = "<!-- results: end -->";

/// One script and how it went.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) needs: Needs,
    /// How it went over each version that it is for: what packetdrill said when it failed.
    pub(crate) outcomes: Vec<(Version, Result<(), String>)>,
}

impl Row {
    fn outcome(&self, version: Version) -> Option<&Result<(), String>> {
        let mut outcomes = self.outcomes.iter();
        outcomes.find_map(|(own, outcome)| (*own == version).then_some(outcome))
    }
}

fn title(needs: Needs) -> &'static str {
    match needs {
        Needs::Portable => "portable calls only",
        Needs::TcpInfo => "TCP_INFO",
        Needs::Settings => "kernel settings",
        Needs::Options => "options of Linux, or epoll",
        Needs::FastOpen => "Fast Open",
        Needs::Linux => "Linux's own calls",
    }
}

/// How many passed, by what they need.
pub(crate) fn summary(rows: &[Row]) -> String {
    let mut text = String::from("| scripts that need |");
    // Writing to a String does not fail.
    for version in Version::ALL {
        let _ = write!(text, " {} |", version.name());
    }
    text.push_str("\n|---|---|---|---|\n");
    let mut line = |title: &str, among: &dyn Fn(&Row) -> bool| {
        let _ = write!(text, "| {title} |");
        for version in Version::ALL {
            let all = rows.iter().filter(|row| among(row));
            let all = all.filter_map(|row| row.outcome(version));
            let passed = all.clone().filter(|outcome| outcome.is_ok()).count();
            let _ = write!(text, " {passed} of {} |", all.count());
        }
        text.push('\n');
    };
    for needs in Needs::ALL {
        line(title(needs), &|row| row.needs == needs);
    }
    line("the first four together", &|row| {
        row.needs <= Needs::Options
    });
    line("**all**", &|_| true);
    text
}

/// Writes summary and table between the marks of `file`.
pub(crate) fn write(file: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let old = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let (before, rest) = old
        .split_once(BEGIN)
        .with_context(|| format!("no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no {END}"))?;
    let mut text = summary(rows);
    for needs in Needs::ALL {
        let _ = write!(
            text,
            "\n### {}\n\n| script | ipv4 | ipv6 | mapped | why not |\n|---|---|---|---|---|\n",
            title(needs)
        );
        for row in rows.iter().filter(|row| row.needs == needs) {
            let _ = write!(text, "| {} |", row.name.trim_end_matches(".pkt"));
            for version in Version::ALL {
                let word = match row.outcome(version) {
                    None => "",
                    Some(Ok(())) => "pass",
                    Some(Err(_)) => "fail",
                };
                let _ = write!(text, " {word} |");
            }
            let mut failures = row.outcomes.iter().filter_map(|(_, o)| o.as_ref().err());
            let why = failures.next().map_or(String::new(), |said| {
                let known = reasons::of(&row.name);
                let known = known.map_or(String::new(), |known| format!("{known}. "));
                known + &reason(said)
            });
            let _ = writeln!(text, " {why} |");
        }
    }
    std::fs::write(file, format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))?;
    Ok(())
}

/// The first thing that packetdrill said, with what was expected and what came.
fn reason(said: &str) -> String {
    let mut lines = said.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or("no reason given");
    let first = first.split_once(".pkt:").map_or(first, |(_, rest)| rest);
    let mut reason = format!("line {first}").replace("line still", "still");
    for (mark, title) in [("script packet:", "expected"), ("actual packet:", "came")] {
        if let Some(line) = said.lines().find_map(|line| line.strip_prefix(mark)) {
            let _ = write!(reason, "; {title} `{}`", line.trim());
        }
    }
    if let Some(line) = said.lines().find(|line| line.contains("AssertionError")) {
        let _ = write!(reason, "; {line}");
    }
    reason.replace('|', "\\|")
}
