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
    for (at, line) in text.lines().enumerate() {
        is_test |= line.trim_start().starts_with("#[cfg(test)]");
        for prefix in ["MUST-", "SHLD-", "MAY-", "REC-", "ttack case "] {
            for number in numbers_after(line, prefix) {
                let prefix = prefix.replace("ttack", "attack");
                let _ = writeln!(
                    found,
                    "    Citation {{ id: \"{prefix}{number}\", path: \"{path}\", line: {}, is_test: {is_test} }},",
                    at + 1
                );
            }
        }
    }
}

/// The numbers that stand right after `prefix` where that begins a word.
fn numbers_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).filter_map(move |(at, _)| {
        let before = line[..at].trim_end_matches(['A', 'a']);
        let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '-');
        let rest = &line[at + prefix.len()..];
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        (is_word && digits > 0).then(|| &rest[..digits])
    })
}
