//! Looks up, in the sources, where each requirement of RFC 9293 is cited and which
//! test answers which attack case, for `ringmill requirements` to print.

use std::path::{Path, PathBuf};
use std::{env, fmt::Write as _, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let mut sources = Vec::new();
    for part in ["engine", "bpf", "tools/tests"] {
        println!("cargo::rerun-if-changed=../{part}");
        collect(&root.join(part), &mut sources)?;
    }
    sources.sort();
    let mut found = String::new();
    for source in &sources {
        let path = source
            .strip_prefix(&root)
            .unwrap_or(source)
            .display()
            .to_string();
        cite(&path, &fs::read_to_string(source)?, &mut found);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("citations.rs");
    fs::write(out, format!("&[\n{found}]\n"))
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    Ok(())
}

/// Writes down every citation of a file. What stands in a folder of tests, or
/// behind `#[cfg(test)]`, is a test; the rest is code.
fn cite(path: &str, text: &str, found: &mut String) {
    let mut is_test = path.contains("/tests/");
    let mut note = |id: String, line: usize, is_test: bool| {
        let _ = writeln!(
            found,
            "    Citation {{ id: \"{id}\", path: \"{path}\", line: {line}, is_test: {is_test} }},"
        );
    };
    for (at, line) in text.lines().enumerate() {
        is_test |= line.trim_start().starts_with("#[cfg(test)]");
        for prefix in ["MUST-", "SHLD-", "MAY-", "REC-"] {
            for number in words_after(line, prefix).filter_map(|rest| numbers(rest).next()) {
                note(format!("{prefix}{number}"), at + 1, is_test);
            }
        }
        // One case, or "cases 1, 2 and 3".
        for begin in ["attack case", "Attack case"] {
            for rest in words_after(line, begin) {
                for number in numbers(rest.trim_start_matches('s')) {
                    note(format!("attack case {number}"), at + 1, is_test);
                }
            }
        }
    }
}

/// What follows `begin` where that begins a word.
fn words_after<'a>(line: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(begin).filter_map(move |(at, _)| {
        let is_word = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-');
        is_word.then(|| &line[at + begin.len()..])
    })
}

/// The numbers at the start of `text`, with commas and "and" between them.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || ", and".contains(c)));
    text[..end.unwrap_or(text.len())]
        .split(|c: char| !c.is_ascii_digit())
        .filter(|number| !number.is_empty())
}
