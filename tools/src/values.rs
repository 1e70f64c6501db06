//! Values on the command line: sizes, durations, addresses, URLs.

use crate::ss::short;
use ringmill_core::ports::PortRange;
use ringmill_core::tcp::State;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

/// A state by either of its names.
pub(crate) fn state(text: &str) -> Result<State, String> {
    let name = text.to_ascii_uppercase();
    let is_it = |state: &State| [state.name(), short(state.name())].contains(&name.as_str());
    State::ALL.into_iter().find(is_it).ok_or_else(|| {
        let names = State::ALL.map(|state| short(state.name()).to_ascii_lowercase());
        format!("`{text}` is no state: {}", names.join(", "))
    })
}

/// One address, or several in a row, with the length of their network's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) first: IpAddr,
    pub(crate) count: u16,
    pub(crate) prefix_len: u8,
}

/// How many addresses one range may have.
const RANGE_MAX: u16 = 4_096;

impl Addresses {
    pub(crate) fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let first = self.first;
        (0..self.count).map(move |n| match first {
            IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + u32::from(n)).into(),
            IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + u128::from(n)).into(),
        })
    }
}

/// `A/LEN` or `A-B/LEN`, of either version of IP.
pub(crate) fn addresses(text: &str) -> Result<Addresses, String> {
    let malformed = || {
        format!(
            "`{text}` is no address: write it as 198.18.0.1/24, 198.18.0.1-198.18.0.9/24 or 2001:db8::1/64"
        )
    };
    let (range, prefix_len) = text.split_once('/').ok_or_else(malformed)?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let first: IpAddr = first.parse().map_err(|_| malformed())?;
    let last: IpAddr = last.parse().map_err(|_| malformed())?;
    let bits = if first.is_ipv4() { 32 } else { 128 };
    let prefix_len: u8 = prefix_len
        .parse()
        .ok()
        .filter(|len| *len <= bits)
        .ok_or_else(malformed)?;
    let distance = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            u128::from(u32::from(last)).checked_sub(u128::from(u32::from(first)))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => u128::from(last).checked_sub(u128::from(first)),
        _ => return Err(malformed()),
    };
    let distance = distance.and_then(|distance| u16::try_from(distance).ok());
    let Some(distance) = distance.filter(|distance| *distance < RANGE_MAX) else {
        return Err(format!(
            "`{text}`: a range goes upwards and has at most {RANGE_MAX} addresses"
        ));
    };
    if !may_be_hosts(first) || !may_be_hosts(last) {
        return Err(format!("`{text}`: no host can have this address"));
    }
    Ok(Addresses {
        first,
        count: distance + 1,
        prefix_len,
    })
}

/// An address that an interface can have on a wire.
fn may_be_hosts(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            !(ip.is_multicast() || ip.is_loopback() || ip.is_broadcast() || ip.octets()[0] == 0)
        }
        IpAddr::V6(ip) => {
            let is_ipv4 = ip.to_ipv4_mapped().is_some();
            !(ip.is_multicast() || ip.is_loopback() || ip.is_unspecified() || is_ipv4)
        }
    }
}

/// The number of a VLAN (IEEE 802.1Q): 0 is none, and 4095 is reserved.
pub(crate) fn vlan(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|id| (1..=4_094).contains(id));
    number.ok_or_else(|| format!("`{text}` is no VLAN: they are numbered from 1 to 4094"))
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

/// An `http` URL whose host is an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) target: SocketAddr,
    /// The host and port as written: the Host field.
    pub(crate) host: String,
    pub(crate) path: String,
}

/// `http://ADDRESS[:PORT][/PATH]`, with brackets around an IPv6 address.
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
    // In brackets a colon is part of the address (RFC 3986, 3.2.2).
    let (address, port) = match host.rsplit_once(':') {
        Some((address, port)) if !address.starts_with('[') || address.ends_with(']') => {
            (address, port)
        }
        _ => (host, "80"),
    };
    let in_brackets = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let address = match in_brackets {
        Some(address) => address.parse().map(IpAddr::V6),
        None => address.parse().map(IpAddr::V4),
    };
    let address = address.map_err(|_| {
        malformed("the host must be an IPv4 address, or an IPv6 address in brackets")
    })?;
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
            "198.18.0.1-2001:db8::1/24",
            "198.18.0.1-198.18.16.1/16",
        ] {
            assert!(addresses(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ipv6_addresses_are_the_same() {
        let range = addresses("2001:db8::ffff-2001:db8::1:1/64").unwrap();
        let last: IpAddr = "2001:db8::1:1".parse().unwrap();
        assert_eq!((range.iter().count(), range.prefix_len), (3, 64));
        assert_eq!(range.iter().last(), Some(last));
        for text in [
            "2001:db8::1",
            "2001:db8::1/129",
            "2001:db8::2-2001:db8::1/64",
            "2001:db8::-2001:db8::1000/64",
            "ff02::1/16",
            "::1/128",
            "::/0",
            // Steering has it as the IPv4 address.
            "::ffff:198.18.0.1/128",
        ] {
            assert!(addresses(text).is_err(), "{text}");
        }
    }

    #[test]
    fn vlans_are_numbered_as_the_standard_says() {
        assert_eq!((vlan("1"), vlan("4094")), (Ok(1), Ok(4_094)));
        for text in ["0", "4095", "-1", "x", ""] {
            assert!(vlan(text).is_err(), "{text}");
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
        let v6 = url("http://[2001:db8::1]:8080/a").unwrap();
        assert_eq!(
            (v6.target, v6.host.as_str()),
            ("[2001:db8::1]:8080".parse().unwrap(), "[2001:db8::1]:8080")
        );
        let v6 = url("http://[2001:db8::1]").unwrap();
        assert_eq!((v6.target.port(), v6.host.as_str()), (80, "[2001:db8::1]"));
        for text in [
            "198.18.0.1",
            "https://198.18.0.1",
            "http://host/",
            "http://198.18.0.1:0/",
            "http://198.18.0.1:x/",
            "http://198.18.0.1/a b",
            "http://2001:db8::1/",
            "http://[2001:db8::1/",
            "http://[2001:db8::1]x/",
            "http://[198.18.0.1]/",
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
