//! What can be changed about a scenario from the command line.

use ringmill_core::ports::PortRange;
use ringmill_core::time::Duration;
use std::collections::BTreeMap;

/// A parameter that scenarios may have.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// What the command line calls it.
    pub name: &'static str,
    /// The form of its value.
    pub value: &'static str,
    /// What it is.
    pub about: &'static str,
}

macro_rules! parameters {
    ($($constant:ident = $name:literal $value:literal $about:literal,)+) => {
        $(pub(crate) const $constant: &str = $name;)+

        /// Every parameter that some scenario has.
        pub const PARAMETERS: &[Parameter] = &[
            $(Parameter { name: $name, value: $value, about: $about },)+
        ];
    };
}

parameters! {
    RTT = "rtt" "TIME" "The round-trip time of the wire",
    MSL = "msl" "TIME" "The maximum segment lifetime; TIME-WAIT is twice as long",
    LOSS_OF = "loss-of" "SEGMENT" "The segment that the wire loses: syn, syn-ack, handshake-ack, data, fin, ack-of-fin, last-fin, last-ack",
    PORTS = "ports" "FIRST-LAST" "The local ports that connect may choose from",
    BACKLOG = "backlog" "N" "Connections that may wait to be accepted",
    COUNT = "count" "N" "How many: connections, requests, writes or samples",
    BUFFER = "buffer" "BYTES" "The size of the buffer",
    BANDWIDTH = "bandwidth" "BITS" "Bits a second that the wire carries",
    IDLE = "idle" "TIME" "How long silence may last",
    POLICY = "policy" "WHICH" "What becomes of a handshake that finds the queue full: ignore or reset",
}

/// Default values of a scenario's parameters.
pub(crate) type Defaults = &'static [(&'static str, &'static str)];

/// Why a value was refused: one line that says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadParameter(String);

/// The values of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(BTreeMap<&'static str, String>);

impl Values {
    /// The defaults of a scenario, with what was given in place of them.
    pub(crate) fn new(
        scenario: &str,
        defaults: Defaults,
        given: &[(String, String)],
    ) -> Result<Values, BadParameter> {
        let mut values: BTreeMap<&'static str, String> = defaults
            .iter()
            .map(|&(name, value)| (name, value.to_owned()))
            .collect();
        for (name, value) in given {
            let Some(slot) = values.get_mut(name.as_str()) else {
                let names: Vec<String> = defaults
                    .iter()
                    .map(|(name, _)| format!("--{name}"))
                    .collect();
                let has = match &names[..] {
                    [] => "no parameters".to_owned(),
                    names => names.join(", "),
                };
                return Err(BadParameter(format!(
                    "{scenario} has no parameter --{name}: it has {has}"
                )));
            };
            slot.clone_from(value);
        }
        let values = Values(values);
        values.check()?;
        Ok(values)
    }

    /// Every value has its parameter's form.
    fn check(&self) -> Result<(), BadParameter> {
        for (name, value) in &self.0 {
            let refused = match *name {
                RTT | MSL | IDLE => duration(value).is_none().then_some("a time: 500ms, 60s or 4m"),
                PORTS => ports(value).is_none().then_some("ports: 40000-40007"),
                LOSS_OF => (role(value).is_none() && value != "none")
                    .then_some("a segment: syn, syn-ack, handshake-ack, data, fin, ack-of-fin, last-fin, last-ack or none"),
                POLICY => (!matches!(value.as_str(), "ignore" | "reset")).then_some("ignore or reset"),
                _ => number(value).is_none().then_some("a number: 64, 10k or 2m"),
            };
            if let Some(form) = refused {
                return Err(BadParameter(format!("--{name} {value}: it must be {form}")));
            }
        }
        Ok(())
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(crate) fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == value
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A length of time.
    pub(crate) fn time(&self, name: &str) -> Duration {
        duration(self.text(name)).unwrap_or_default()
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> u64 {
        number(self.text(name)).unwrap_or_default()
    }

    /// A number that counts things.
    pub(crate) fn count(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(usize::MAX)
    }

    /// A range of ports.
    pub(crate) fn ports(&self, name: &str) -> PortRange {
        ports(self.text(name)).unwrap_or_default()
    }

    /// A segment, by what it is to its connection.
    pub(crate) fn role(&self, name: &str) -> Option<crate::Role> {
        role(self.text(name))
    }

    /// As it would be typed.
    pub(crate) fn line(&self) -> String {
        let typed: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("--{name} {value}"))
            .collect();
        typed.join(" ")
    }
}

fn role(text: &str) -> Option<crate::Role> {
    crate::Role::ALL
        .iter()
        .copied()
        .find(|role| role.name() == text)
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len()),
    )
}

fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = split(text);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(digits.parse::<f64>().ok()? * unit).ok()
}

fn number(text: &str) -> Option<u64> {
    let (digits, unit) = split(text);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn ports(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once('-')?;
    let range = PortRange {
        first: first.parse().ok()?,
        last: last.parse().ok()?,
    };
    (range.first > 0 && range.first <= range.last).then_some(range)
}
