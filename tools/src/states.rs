//! `ringmill states`: the state machine of the engine, as text or as a drawing.
//! It prints the table that the engine runs by, and knows nothing else.

use crate::cli::StatesArguments;
use crate::exit::{self, Exit};
use ringmill_core::tcp::{Action, Event, State};
use std::fmt::Write as _;

pub(crate) fn run(arguments: &StatesArguments) -> anyhow::Result<Exit> {
    exit::print(&if arguments.dot { drawing() } else { table() })
}

/// Two letters a state, for the columns.
fn letters(state: State) -> &'static str {
    match state {
        State::Closed => "CD",
        State::Listen => "LI",
        State::SynSent => "SS",
        State::SynReceived => "SR",
        State::Established => "ES",
        State::FinWait1 => "F1",
        State::FinWait2 => "F2",
        State::CloseWait => "CW",
        State::Closing => "CG",
        State::LastAck => "LA",
        State::TimeWait => "TW",
    }
}

/// The next states at a glance, then every cell with its action.
fn table() -> String {
    let mut text = format!("{:18}", "next state");
    for state in State::ALL {
        let _ = write!(text, " {}", letters(state));
    }
    text.push('\n');
    for &event in Event::ALL {
        let _ = write!(text, "{:18}", event.name());
        for state in State::ALL {
            let cell = state.on(event);
            let entry = match (cell.action, cell.next) {
                (Action::Impossible, _) => " -",
                (_, None) => " .",
                (_, Some(next)) => letters(next),
            };
            let _ = write!(text, " {entry}");
        }
        text.push('\n');
    }
    text.push_str("\n. stays, - does not occur\n");
    for state in State::ALL {
        let _ = writeln!(text, "\n{state} ({})", letters(state));
        for &event in Event::ALL {
            let cell = state.on(event);
            if cell.action == Action::Impossible {
                continue;
            }
            let next = cell.next.map_or("", State::name);
            let line = format!(
                "  {:16} {:20} {next}",
                event.name(),
                cell.action.to_string()
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

/// A graph in the language of Graphviz; events that change no state are left out.
fn drawing() -> String {
    let mut text = String::from("digraph tcp {\n    node [shape=box, fontname=\"monospace\"];\n");
    text.push_str("    edge [fontname=\"monospace\", fontsize=9];\n");
    for from in State::ALL {
        for to in State::ALL {
            let labels: Vec<String> = Event::ALL
                .iter()
                .map(|&event| (event, from.on(event)))
                .filter(|(_, cell)| cell.next == Some(to))
                .map(|(event, cell)| format!("{} / {}", event.name(), cell.action))
                .collect();
            if !labels.is_empty() {
                let _ = writeln!(
                    text,
                    "    \"{from}\" -> \"{to}\" [label=\"{}\"];",
                    labels.join("\\n")
                );
            }
        }
    }
    text.push_str("}\n");
    text
}
