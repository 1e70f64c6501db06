//! The run as a page to read: the drawing, and the words around it.

use super::svg::escaped;
use super::{drawing, json};
use crate::scenario::{Outcome, Table};
use std::fmt::Write as _;

const STYLE: &str = "body { font: 16px/1.5 sans-serif; max-width: 62em; margin: 2em auto; \
    padding: 0 1em; color: #1e293b; } svg { max-width: 100%; height: auto; } \
    table { border-collapse: collapse; font: 13px monospace; } \
    td, th { padding: .2em .9em; border-bottom: 1px solid #e2e8f0; text-align: right; } \
    td:first-child, th:first-child { text-align: left; } code { background: #f1f5f9; } \
    summary { cursor: pointer; color: #475569; } pre { overflow: auto; font-size: 12px; }";

pub(crate) fn page(outcome: &Outcome) -> String {
    let scenario = outcome.scenario;
    let (name, title) = (escaped(scenario.name), escaped(scenario.title));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>{name}: {title}</title><style>{STYLE}</style></head><body>\n\
         <p>{}</p>\n<p><i>{}</i></p>\n<p><code>ringmill lab {name} {}</code></p>\n",
        escaped(scenario.why),
        escaped(scenario.rfc),
        escaped(&outcome.parameters),
    );
    for table in &outcome.tables {
        tabulate(&mut page, table);
    }
    page.push_str(&drawing::svg(outcome));
    let data = serde_json::to_string_pretty(&json::json(outcome)).unwrap_or_default();
    let _ = writeln!(
        page,
        "<details><summary>everything that happened, as JSON</summary><pre>{}</pre></details>\
         \n</body></html>",
        escaped(&data)
    );
    page
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
