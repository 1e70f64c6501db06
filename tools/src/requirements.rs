//! `ringmill requirements`: every requirement of RFC 9293, where it is done and
//! where it is tested; with `--attacks`, which test answers which attack case.
//!
//! The lists are `requirements.txt` and `attacks.txt`; the places are found in the
//! sources when this is built (build.rs). The tests fail when one is missing.

use crate::cli::RequirementsArguments;
use crate::exit::{self, Exit};
use std::fmt::Write as _;

/// A place in the sources that names a requirement or an attack case.
struct Citation {
    id: &'static str,
    path: &'static str,
    line: u32,
    is_test: bool,
}

static CITATIONS: &[Citation] = include!(concat!(env!("OUT_DIR"), "/citations.rs"));

pub(crate) fn run(arguments: &RequirementsArguments) -> anyhow::Result<Exit> {
    exit::print(&if arguments.attacks {
        attack_table()
    } else {
        requirement_table()
    })
}

/// One line of `requirements.txt`.
struct Requirement {
    id: &'static str,
    section: &'static str,
    level: &'static str,
    text: &'static str,
    status: &'static str,
}

fn requirements() -> impl Iterator<Item = Requirement> {
    rows(include_str!("requirements.txt")).map(|[id, section, level, text, status]| Requirement {
        id,
        section,
        level,
        text,
        status,
    })
}

fn attacks() -> impl Iterator<Item = [&'static str; 3]> {
    rows(include_str!("attacks.txt"))
}

fn rows<const N: usize>(text: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut columns = line.splitn(N, " | ");
            std::array::from_fn(|_| columns.next().unwrap_or(""))
        })
}

fn requirement_table() -> String {
    let mut text = String::new();
    for row in requirements() {
        let _ = writeln!(
            text,
            "{:8} {:10} {:11} {}",
            row.id, row.section, row.level, row.text
        );
        if row.status == "done" {
            write_places(&mut text, "done", row.id, false);
            write_places(&mut text, "tested", row.id, true);
        } else {
            let _ = writeln!(text, "         {}", row.status);
        }
    }
    text
}

fn attack_table() -> String {
    let mut text = String::new();
    for [number, about, outcome] in attacks() {
        let _ = writeln!(text, "{number:>3} {about}");
        let _ = writeln!(text, "         outcome    {outcome}");
        write_places(&mut text, "tested", &format!("attack case {number}"), true);
    }
    text
}

fn places(id: &str, is_test: bool) -> impl Iterator<Item = &'static Citation> {
    CITATIONS
        .iter()
        .filter(move |citation| citation.id == id && citation.is_test == is_test)
}

fn write_places(text: &mut String, what: &str, id: &str, is_test: bool) {
    let mut what = what;
    for place in places(id, is_test) {
        let _ = writeln!(text, "         {what:6}     {}:{}", place.path, place.line);
        what = "";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_list_is_whole() {
        let ids: BTreeSet<&str> = requirements().map(|row| row.id).collect();
        let of = |prefix: &str| ids.iter().filter(|id| id.starts_with(prefix)).count();
        assert_eq!(
            (of("MUST-"), of("SHLD-"), of("MAY-"), of("REC-")),
            (69, 31, 18, 1),
            "RFC 9293 appendix B"
        );
        assert_eq!(requirements().count(), 119, "none twice");
        for row in requirements() {
            assert!(
                row.section.starts_with('3') && !row.text.is_empty(),
                "{}",
                row.id
            );
        }
    }

    #[test]
    fn every_requirement_is_done_and_tested_or_declined_for_a_reason() {
        let mut missing = Vec::new();
        for row in requirements() {
            match row.status {
                "done" => {
                    if places(row.id, false).next().is_none() {
                        missing.push(format!("{}: no code names it ({})", row.id, row.text));
                    }
                    if places(row.id, true).next().is_none() {
                        missing.push(format!("{}: no test names it ({})", row.id, row.text));
                    }
                }
                status => assert!(
                    status
                        .strip_prefix("declined: ")
                        .is_some_and(|why| !why.is_empty()),
                    "{}: {status}",
                    row.id
                ),
            }
        }
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }

    #[test]
    fn no_citation_names_a_requirement_or_case_that_is_not_there() {
        let mut known: BTreeSet<String> = requirements().map(|row| row.id.to_owned()).collect();
        known.extend(attacks().map(|[number, _, _]| format!("attack case {number}")));
        for place in CITATIONS {
            assert!(
                known.contains(place.id),
                "{}:{}: {}",
                place.path,
                place.line,
                place.id
            );
        }
    }

    #[test]
    fn every_attack_case_has_a_test() {
        assert_eq!(attacks().count(), 50);
        assert!(attacks().all(|[_, _, outcome]| !outcome.is_empty()));
        let missing: Vec<&str> = attacks()
            .map(|[number, _, _]| number)
            .filter(|number| {
                places(&format!("attack case {number}"), true)
                    .next()
                    .is_none()
            })
            .collect();
        assert!(
            missing.is_empty(),
            "no test names attack case {}",
            missing.join(", ")
        );
    }
}
