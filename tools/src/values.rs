//! Values on the command line: sizes, durations, addresses, URLs.

use ringmill_core::ports::PortRange;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A count with k, m or g behind it: thousands, millions, milliards.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let malformed = || format!("`{text}` is no number: write it as 64, 10k, 2m or 1g");
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let number: u64 = digits.parse().map_err(|_| malformed())?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        _ => return Err(malformed()),
    };
    number.checked_mul(factor).ok_or_else(malformed)
}

/// A count that is not zero and fits a `usize`.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match usize::try_from(count(text)?) {
        Ok(0) | Err(_) => Err(format!("`{text}` must be at least 1")),
        Ok(number) => Ok(number),
    }
}

/// A length of time: a number and ns, us, ms, s, m or h; seconds without a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let malformed = || format!("`{text}` is no duration: write it as 500ms, 10s or 2m");
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let number: f64 = digits.parse().map_err(|_| malformed())?;
    let unit = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(malformed()),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| malformed())
}

/// One address, or a range of them, with the length of their network's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) first: Ipv4Addr,
    pub(crate) last: Ipv4Addr,
    pub(crate) prefix_len: u8,
}

impl Addresses {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }
}

/// `A/LEN` or `A-B/LEN`.
pub(crate) fn addresses(text: &str) -> Result<Addresses, String> {
    let malformed =
        || format!("`{text}` is no address: write it as 198.18.0.1/24 or 198.18.0.1-198.18.0.9/24");
    let (range, prefix_len) = text.split_once('/').ok_or_else(malformed)?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let first: Ipv4Addr = first.parse().map_err(|_| malformed())?;
    let last: Ipv4Addr = last.parse().map_err(|_| malformed())?;
    let prefix_len: u8 = prefix_len
        .parse()
        .ok()
        .filter(|len| *len <= 32)
        .ok_or_else(malformed)?;
    if last < first || u32::from(last) - u32::from(first) >= 4_096 {
        return Err(format!(
            "`{text}`: a range goes upwards and has at most 4096 addresses"
        ));
    }
    if first.is_multicast() || first.is_loopback() || first.octets()[0] == 0 || last.is_broadcast()
    {
        return Err(format!("`{text}`: no host can have this address"));
    }
    Ok(Addresses {
        first,
        last,
        prefix_len,
    })
}

/// `FIRST-LAST`.
pub(crate) fn ports(text: &str) -> Result<PortRange, String> {
    let malformed = || format!("`{text}` is no range of ports: write it as 1024-65535");
    let (first, last) = text.split_once('-').ok_or_else(malformed)?;
    let range = PortRange {
        first: first.parse().map_err(|_| malformed())?,
        last: last.parse().map_err(|_| malformed())?,
    };
    if range.first == 0 || range.last < range.first {
        Err(malformed())
    } else {
        Ok(range)
    }
}

/// An `http` URL whose host is an IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) target: SocketAddr,
    /// The host and port as written: the Host field.
    pub(crate) host: String,
    pub(crate) path: String,
}

/// `http://ADDRESS[:PORT][/PATH]`.
pub(crate) fn url(text: &str) -> Result<Url, String> {
    let malformed = |why: &str| {
        format!("`{text}` is no URL to load ({why}): write it as http://198.18.0.1:80/path")
    };
    let rest = text
        .strip_prefix("http://")
        .ok_or_else(|| malformed("it must start with http://"))?;
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(malformed("the path has characters that must be escaped"));
    }
    let (address, port) = host.split_once(':').unwrap_or((host, "80"));
    let address: Ipv4Addr = address
        .parse()
        .map_err(|_| malformed("the host must be an IPv4 address"))?;
    let port: u16 = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| malformed("the port is not from 1 to 65535"))?;
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Ok(Url {
        target: (address, port).into(),
        host: host.to_owned(),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_durations_take_units() {
        assert_eq!(count("64"), Ok(64));
        assert_eq!(count("10k"), Ok(10_000));
        assert_eq!(count("2M"), Ok(2_000_000));
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5ms"), Ok(Duration::from_micros(1_500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "k", "-1", "1x", "99999999999g"] {
            assert!(count(text).is_err(), "{text}");
        }
        for text in ["", "s", "-1s", "1 s", "1d", "1..2s", "1e99h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(positive("0").is_err());
    }

    #[test]
    fn addresses_are_one_or_a_range_with_a_prefix() {
        let range = addresses("198.18.0.1-198.18.0.3/24").unwrap();
        assert_eq!((range.iter().count(), range.prefix_len), (3, 24));
        assert_eq!(addresses("198.18.0.1/32").unwrap().iter().count(), 1);
        for text in [
            "198.18.0.1",
            "198.18.0/24",
            "198.18.0.1/33",
            "198.18.0.9-198.18.0.1/24",
            "224.0.0.1/4",
            "127.0.0.1/8",
            "0.0.0.0/0",
        ] {
            assert!(addresses(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_name_an_address_a_port_and_a_path() {
        let plain = url("http://198.18.0.1").unwrap();
        assert_eq!(
            (
                plain.target.port(),
                plain.host.as_str(),
                plain.path.as_str()
            ),
            (80, "198.18.0.1", "/")
        );
        let full = url("http://198.18.0.1:8080/a?b=c#d").unwrap();
        assert_eq!(
            (full.target.port(), full.host.as_str(), full.path.as_str()),
            (8080, "198.18.0.1:8080", "/a?b=c")
        );
        assert_eq!(url("http://198.18.0.1?q").unwrap().path, "/?q");
        for text in [
            "198.18.0.1",
            "https://198.18.0.1",
            "http://host/",
            "http://198.18.0.1:0/",
            "http://198.18.0.1:x/",
            "http://198.18.0.1/a b",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn port_ranges_go_upwards() {
        assert_eq!(
            ports("1024-2048"),
            Ok(PortRange {
                first: 1_024,
                last: 2_048
            })
        );
        for text in ["1024", "0-1", "2-1", "1-65536", "a-b"] {
            assert!(ports(text).is_err(), "{text}");
        }
    }
}
