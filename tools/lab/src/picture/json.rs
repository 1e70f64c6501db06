//! The run as data: what was claimed, and everything that happened. Times are in
//! seconds since the first thing that happened.

use super::label;
use crate::record::{Event, Record, What};
use crate::scenario::Outcome;
use ringmill_core::time::Instant;
use serde_json::{Value, json};

pub(crate) fn json(outcome: &Outcome) -> Value {
    let Outcome {
        scenario,
        parameters,
        record,
        claims,
        tables,
    } = outcome;
    let claims: Vec<Value> = claims
        .iter()
        .map(|claim| json!({ "claim": claim.text, "holds": claim.holds, "measured": claim.measured }))
        .collect();
    let tables: Vec<Value> = tables
        .iter()
        .map(|table| json!({ "head": table.head, "rows": table.rows }))
        .collect();
    let hosts: Vec<Value> = record
        .hosts
        .iter()
        .map(|host| json!({ "name": host.name, "address": host.address.ip(), "tcp": host.tcp }))
        .collect();
    let events: Vec<Value> = record
        .events
        .iter()
        .map(|happened| event(record, happened))
        .collect();
    json!({
        "scenario": scenario.name,
        "title": scenario.title,
        "why": scenario.why,
        "rfc": scenario.rfc,
        "parameters": parameters,
        "holds": outcome.holds(),
        "claims": claims,
        "tables": tables,
        "hosts": hosts,
        "events": events,
    })
}

fn event(record: &Record, event: &Event) -> Value {
    let name = |host: usize| record.hosts[host].name.as_str();
    let mut value = match &event.what {
        What::Sent(index) => {
            let segment = &record.segments[*index];
            json!({
                "event": "sent",
                "segment": index,
                "from": name(segment.from),
                "to": segment.to.map(name),
                "source": segment.source,
                "destination": segment.destination,
                "role": segment.role.name(),
                "text": label(record, segment),
                "seq": segment.seq,
                "ack": segment.ack,
                "len": segment.len,
                "window": segment.window,
                "again": segment.again,
                "lost": segment.lost,
            })
        }
        What::Arrived(index) => json!({ "event": "arrived", "segment": index }),
        What::Changed(change) => json!({
            "event": "state",
            "host": name(change.host),
            "local": change.local,
            "remote": change.remote,
            "from": change.from.name(),
            "to": change.to.name(),
        }),
        What::Called { host, text } => {
            json!({ "event": "call", "host": name(*host), "text": text })
        }
        What::Noted(text) => json!({ "event": "note", "text": text }),
    };
    let origin = record
        .events
        .first()
        .map_or(Instant::ZERO, |first| first.at);
    value["at"] = json!(event.at.since(origin).as_secs_f64());
    value
}
