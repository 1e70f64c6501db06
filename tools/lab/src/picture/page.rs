//! The run as a page to read: the drawing, and the words around it.

use super::svg::escaped;
use super::{drawing, json};
use crate::scenario::{Claim, Outcome, Table};
use std::fmt::Write as _;

const STYLE: &str = "body { font: 16px/1.5 sans-serif; max-width: 62em; margin: 2em auto; \
    padding: 0 1em; color: #1e293b; } h1 { margin-bottom: 0; } h1 + p { color: #475569; \
    font-size: 18px; margin-top: 0; } svg { max-width: 100%; height: auto; } \
    table { border-collapse: collapse; font: 13px monospace; margin: 1em 0; } \
    td, th { padding: .2em .9em; border-bottom: 1px solid #e2e8f0; text-align: right; } \
    td:first-child, th:first-child { text-align: left; } code { background: #f1f5f9; } \
    ul { list-style: none; padding: 0; } li { margin: .4em 0; } \
    .holds { color: #15803d; font-weight: bold; } .fails { color: #b91c1c; font-weight: bold; } \
    .measured { color: #64748b; font: 13px monospace; margin-left: 2.2em; } \
    summary { cursor: pointer; color: #475569; } pre { overflow: auto; font-size: 12px; }";

pub(crate) fn page(outcome: &Outcome) -> String {
    let scenario = outcome.scenario;
    let (name, title) = (escaped(scenario.name), escaped(scenario.title));
    let has_kernel = outcome.record.hosts.iter().any(|host| host.tcp == "kernel");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>{name}: {title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{name}</h1>\n<p>{title}</p>\n\
         <p>{}</p>\n<p><i>{}</i></p>\n<p><code>ringmill lab {name} {}{}</code></p>\n",
        marked(scenario.why),
        escaped(scenario.rfc),
        escaped(&outcome.parameters),
        if has_kernel { " --veth" } else { "" },
    );
    page.push_str(&drawing::diagram(&outcome.record));
    for table in &outcome.tables {
        tabulate(&mut page, table);
    }
    claim(&mut page, &outcome.claims);
    let data = serde_json::to_string_pretty(&json::json(outcome)).unwrap_or_default();
    let _ = writeln!(
        page,
        "<details><summary>everything that happened, as JSON</summary><pre>{}</pre></details>\
         \n</body></html>",
        escaped(&data)
    );
    page
}

fn claim(page: &mut String, claims: &[Claim]) {
    page.push_str("<ul>\n");
    for claim in claims {
        let verdict = if claim.holds { "holds" } else { "fails" };
        let _ = writeln!(
            page,
            "<li><span class=\"{verdict}\">{verdict}</span> {}\
             <div class=\"measured\">{}</div></li>",
            marked(&claim.text),
            escaped(&claim.measured)
        );
    }
    page.push_str("</ul>\n");
}

/// Words in which what stands between backticks is code.
fn marked(words: &str) -> String {
    let parts = escaped(words);
    let parts = parts.split('`').enumerate();
    parts
        .map(|(number, part)| match number % 2 {
            0 => part.to_owned(),
            _ => format!("<code>{part}</code>"),
        })
        .collect()
}

fn tabulate(page: &mut String, table: &Table) {
    let line = |cells: &[String], tag: &str| {
        let cells = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let rows: String = table.rows.iter().map(|row| line(row, "td")).collect();
    let _ = writeln!(page, "<table>{}{rows}</table>", line(&table.head, "th"));
}
