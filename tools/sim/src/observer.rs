//! An observer on the wire: it reads every segment where it leaves its host and
//! where it reaches one, knows of no engine's inside, and checks what RFC 9293
//! lets a sender send.
//!
//! ```text
//!  host --> [sent] --> the network --> [delivered] --> host
//!            checks                     notes what the receiver may send now
//! ```
//!
//! Of what may be sent it takes the most that was ever offered, so it can miss a
//! fault and never invents one.

use super::segment::{Flow, Seen};
use ringmill_core::seq::Seq;
use ringmill_core::wire::fast_open::FastOpenCookie;
use ringmill_core::wire::tcp::{Flags, Header};
use std::collections::HashMap;
use std::net::IpAddr;

/// What one end of a flow has shown and seen.
#[derive(Debug)]
struct Half {
    iss: Seq,
    /// Its SYN, and the data that it brought (RFC 7413).
    syn: Header,
    syn_data: u32,
    /// The sequence number after all that it sent.
    end: Seq,
    /// The data that it sent, from iss + 1 on.
    data: Vec<u8>,
    fin: Option<Seq>,
    /// The latest acknowledgment and window edge that it sent.
    acked: Option<Seq>,
    edge: Option<Seq>,
    /// What has reached it: the highest acknowledgment, and the highest edge that
    /// it was offered.
    una: Seq,
    offered: Option<Seq>,
    /// A RST was sent.
    is_over: bool,
    /// The peer has acknowledged its SYN.
    is_chosen: bool,
    /// A segment that may complete its handshake has reached it; and another, so its
    /// first number may be used by another connection with the same SYN.
    is_answered: bool,
    may_begin_again: bool,
}

impl Half {
    /// One that sends this SYN. If it answers a SYN of `peer`, that has offered a
    /// window.
    fn new(syn: &Header, data: &[u8], peer: Option<&Half>) -> Half {
        let syn_data = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let offered = peer.map(|peer| syn.seq + 1 + u32::from(peer.syn.window));
        Half {
            iss: syn.seq,
            syn: *syn,
            syn_data,
            end: syn.seq + 1 + syn_data,
            data: data.to_vec(),
            fin: None,
            acked: None,
            edge: None,
            una: syn.seq,
            offered,
            is_over: false,
            is_chosen: false,
            is_answered: false,
            may_begin_again: false,
        }
    }

    /// `ack` acknowledges its SYN, and of the data what it may.
    fn is_answered_by(&self, ack: Seq) -> bool {
        ack.follows(self.iss) && ack.precedes_or_is(self.iss + 1 + self.syn_data)
    }

    /// It has sent what comes before `seq`.
    fn has_come_to(&self, seq: Seq) -> bool {
        seq.follows(self.iss) && seq.precedes_or_is(self.end)
    }
}

/// What is known of one who receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// After all that was sent to it: not before its RCV.NXT.
    pub(crate) end: Seq,
    /// Its SND.UNA, or less.
    pub(crate) una: Seq,
}

/// Everything that passes.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    /// By the direction that it sends in.
    halves: HashMap<Flow, Half>,
    /// Other SYN-ACKs to the same SYN: it came twice, and a cookie answered it once
    /// and a record once, or two cookies did.
    other_answers: HashMap<Flow, Vec<Half>>,
    /// The Fast Open cookies that a client was given by a server.
    cookies: HashMap<(IpAddr, IpAddr), Vec<FastOpenCookie>>,
    /// Numbers of forged SYNs.
    forged_syns: HashMap<Flow, Vec<Seq>>,
    /// What acknowledges SYNs that others of the same flow have followed: from, to.
    earlier_syns: HashMap<Flow, Vec<(Seq, Seq)>>,
}

/// The window edge that a segment offers.
fn edge_of(header: &Header, sender: &Half, receiver: &Half) -> Seq {
    let is_syn = header.flags.contains(Flags::SYN);
    let scales = sender
        .syn
        .options
        .window_scale
        .filter(|_| !is_syn && receiver.syn.options.window_scale.is_some());
    header.ack + (u32::from(header.window) << scales.unwrap_or(0))
}

/// Two answers with these acknowledgments are to the same SYN of `peer`.
fn is_same_syn(peer: Option<&Half>, ack: Seq, other: Seq) -> bool {
    let is_answered = |peer: &Half| peer.is_answered_by(ack) && peer.is_answered_by(other);
    ack == other || peer.is_some_and(is_answered)
}

type Checked = Result<(), String>;

impl Observer {
    /// A segment leaves its host.
    pub(crate) fn sent(&mut self, seen: &Seen) -> Checked {
        let Seen { flow, header, .. } = seen;
        if header.flags.contains(Flags::RST) {
            for flow in [*flow, flow.back()] {
                if let Some(half) = self.halves.get_mut(&flow) {
                    half.is_over = true;
                }
            }
            return Ok(());
        }
        if self.is_stray(seen) {
            return Ok(());
        }
        let peer = flow.back();
        if header.flags.contains(Flags::SYN) {
            self.brings_data(seen)
                .and_then(|()| self.sent_syn(seen))
                .map_err(|wrong| format!("{wrong}: {seen}"))?;
        } else {
            self.goes_by(flow, header.seq);
            self.goes_by(&peer, header.ack);
            if let Some(half) = self.halves.get_mut(&peer) {
                half.is_chosen = true;
            }
        }
        // One at a time, for both are in the same map.
        let Some(mut half) = self.halves.remove(flow) else {
            return Ok(());
        };
        if header.flags.contains(Flags::SYN) && header.seq != half.iss {
            // One of the other answers.
            self.halves.insert(*flow, half);
            return Ok(());
        }
        let checked = match self.halves.get(&peer) {
            Some(other) => half.sends(seen, other),
            None => Ok(()),
        };
        self.halves.insert(*flow, half);
        checked.map_err(|wrong| format!("{wrong}: {seen}"))
    }

    /// A SYN brings data only with a cookie that the server gave (RFC 7413 section 3).
    fn brings_data(&self, seen: &Seen) -> Checked {
        let Seen { flow, header, .. } = seen;
        let cookie = header.options.fast_open.filter(|it| !it.is_request());
        let is_request = !header.flags.contains(Flags::ACK);
        let Some(cookie) = cookie.filter(|_| is_request) else {
            return if seen.data.is_empty() {
                Ok(())
            } else {
                Err("brings data without a cookie".to_owned())
            };
        };
        let given = self.cookies.get(&(flow.from.ip(), flow.to.ip()));
        if given.is_some_and(|given| given.contains(&cookie)) {
            Ok(())
        } else {
            Err("shows a cookie that it was not given".to_owned())
        }
    }

    fn sent_syn(&mut self, seen: &Seen) -> Checked {
        let Seen { flow, header, .. } = seen;
        let is_answer = header.flags.contains(Flags::ACK);
        let peer = self.halves.get(&flow.back());
        match self.halves.get(flow) {
            Some(half) if half.iss == header.seq => {
                let known = &half.data[..seen.data.len().min(half.data.len())];
                return if known == seen.data {
                    Ok(())
                } else {
                    Err("sent other data with its SYN".to_owned())
                };
            }
            Some(half) if is_answer && is_same_syn(peer, half.syn.ack, header.ack) => {
                let answer = Half::new(header, seen.data, peer);
                let others = self.other_answers.entry(*flow).or_default();
                if others.iter().all(|half| half.iss != header.seq) {
                    others.push(answer);
                }
                return Ok(());
            }
            _ => {}
        }
        if let Some(earlier) = self.halves.get(flow) {
            let answers = (earlier.iss + 1, earlier.iss + 1 + earlier.syn_data);
            self.earlier_syns.entry(*flow).or_default().push(answers);
        }
        let half = Half::new(header, seen.data, peer.filter(|_| is_answer));
        // Both open it at a time, or it is another connection of this flow.
        let is_crossing = peer.is_some_and(|peer| peer.acked.is_none() && !peer.is_over);
        if !is_answer && !is_crossing {
            self.halves.remove(&flow.back());
            self.other_answers.remove(&flow.back());
        }
        self.halves.insert(*flow, half);
        Ok(())
    }

    /// A host that has answered a SYN more than once is, until its peer goes by one of
    /// the answers, each of them: this number tells which. The peer stays with one.
    fn goes_by(&mut self, flow: &Flow, number: Seq) {
        if let Some(others) = self.other_answers.get_mut(flow)
            && let Some(half) = self.halves.get_mut(flow)
            && !half.is_chosen
            && !half.has_come_to(number)
            && let Some(other) = others.iter_mut().find(|other| other.has_come_to(number))
        {
            std::mem::swap(half, other);
        }
    }

    /// A segment has reached a host that may take it for the end of a handshake: a
    /// cookie does not tell whether it came back before, so an old first segment
    /// opens a connection once more that is long over (RFC 4987 section 3.6). So does an
    /// old SYN: it is given the same cookie.
    pub(crate) fn may_open_again(&mut self, seen: &Seen) {
        let Seen { flow, header, .. } = seen;
        let Some(first) = self.halves.get(flow).map(|sender| sender.iss + 1) else {
            return;
        };
        if let Some(half) = self.halves.get_mut(&flow.back()) {
            let is_syn = header.flags.contains(Flags::SYN) && header.seq + 1 == first;
            let is_first = (header.seq, header.ack) == (first, half.iss + 1);
            half.may_begin_again |= half.is_answered && (is_syn || is_first);
            half.is_answered |= is_first;
        }
    }

    /// A forged segment is about to reach its host. To one that has just let go of the
    /// connection, though none can see it yet, a SYN begins another.
    pub(crate) fn forged(&mut self, seen: &Seen) {
        if seen.header.flags == Flags::SYN {
            let forged = self.forged_syns.entry(seen.flow).or_default();
            forged.push(seen.header.seq);
        }
    }

    /// It answers a forged SYN, which is nobody's connection, or an earlier one of its
    /// flow, whose host may have gone on to another while its RST was lost.
    fn is_stray(&self, seen: &Seen) -> bool {
        let Header { flags, ack, .. } = seen.header;
        let asked = seen.flow.back();
        let is_forged = |syns: &Vec<Seq>| syns.iter().any(|seq| *seq + 1 == ack);
        let is_earlier = |syns: &Vec<(Seq, Seq)>| {
            let mut syns = syns.iter();
            syns.any(|(from, to)| ack.follows_or_is(*from) && ack.precedes_or_is(*to))
        };
        flags.contains(Flags::SYN | Flags::ACK)
            && (self.forged_syns.get(&asked).is_some_and(is_forged)
                || self.earlier_syns.get(&asked).is_some_and(is_earlier))
    }

    /// Where to aim at the receiver of `flow`: none unless it has acknowledged data,
    /// and neither side has begun to end the connection.
    pub(crate) fn target(&self, flow: &Flow) -> Option<Target> {
        let (sender, receiver) = (self.halves.get(flow)?, self.halves.get(&flow.back())?);
        let halves = [sender, receiver];
        let is_open = halves
            .iter()
            .all(|half| half.fin.is_none() && !half.is_over);
        // What came with a SYN is acknowledged before the handshake is complete.
        let text = sender.iss + 1 + sender.syn_data;
        let has_data = receiver.acked.is_some_and(|ack| ack.follows(text));
        (is_open && has_data).then_some(Target {
            end: sender.end,
            una: receiver.una,
        })
    }

    /// A segment has reached its host, which will act on it.
    pub(crate) fn delivered(&mut self, seen: &Seen) {
        let Seen { flow, header, .. } = seen;
        let is_over = header.flags.contains(Flags::RST);
        if is_over || !header.flags.contains(Flags::ACK) || self.is_stray(seen) {
            return;
        }
        let Some(sender) = self.halves.get(flow) else {
            return;
        };
        let Some(receiver) = self.halves.get(&flow.back()) else {
            return;
        };
        let edge = edge_of(header, sender, receiver);
        if header.flags.contains(Flags::SYN)
            && let Some(cookie) = header.options.fast_open
        {
            let place = (flow.to.ip(), flow.from.ip());
            self.cookies.entry(place).or_default().push(cookie);
        }
        if let Some(receiver) = self.halves.get_mut(&flow.back()) {
            // One of an earlier connection acknowledges nothing of this one.
            if header.ack.follows(receiver.iss) && header.ack.precedes_or_is(receiver.end) {
                receiver.una = receiver.una.max(header.ack);
                let offered = receiver.offered.map_or(edge, |before| before.max(edge));
                receiver.offered = Some(offered);
            }
        }
    }
}

impl Half {
    fn sends(&mut self, seen: &Seen, peer: &Half) -> Checked {
        let Header {
            flags, seq, ack, ..
        } = seen.header;
        if flags.contains(Flags::ACK) {
            self.acknowledges(seen, ack, peer)?;
        }
        if flags.contains(Flags::SYN) {
            return Ok(());
        }
        self.sends_text(seen, seq)?;
        self.checks_sizes(seen, peer)
    }

    fn acknowledges(&mut self, seen: &Seen, ack: Seq, peer: &Half) -> Checked {
        let is_older = self.acked.is_some_and(|before| ack.precedes(before));
        // A keep-alive comes from one below.
        let is_first = seen.header.seq.precedes_or_is(self.iss + 1);
        if is_older && self.may_begin_again && is_first {
            (self.acked, self.edge, self.fin) = (None, None, None);
        }
        if ack.follows(peer.end) {
            return Err(format!("acknowledges {ack:?}, sent was {:?}", peer.end));
        }
        if self.acked.is_some_and(|before| ack.precedes(before)) {
            return Err(format!("acknowledged {:?} before", self.acked));
        }
        self.acked = Some(ack);
        for block in seen.header.options.sack.as_slice() {
            // RFC 2018 section 4; the first may lie below the acknowledgment (RFC 2883).
            let is_some = block.left.precedes(block.right);
            if !is_some || block.right.follows(peer.end) {
                return Err(format!("reports what was not sent, up to {:?}", peer.end));
            }
        }
        // RFC 9293 section 3.8.6, SHLD-14: the window is not shrunk, but for the
        // rounding of its scale (RFC 7323 section 2.4).
        let edge = edge_of(&seen.header, self, peer);
        let unit = 1 << self.syn.options.window_scale.unwrap_or(0);
        let before = self.edge.unwrap_or(edge);
        // The window of a SYN that is sent again can't say more than 65,535.
        let is_syn = seen.header.flags.contains(Flags::SYN);
        if !is_syn && (edge + (unit - 1)).precedes(before) {
            return Err(format!("offered up to {before:?} before {edge:?}"));
        }
        self.edge = Some(before.max(edge));
        Ok(())
    }

    fn sends_text(&mut self, seen: &Seen, seq: Seq) -> Checked {
        let len = u32::try_from(seen.data.len()).unwrap_or(u32::MAX);
        let end = seq + len;
        // A FIN takes no room in the window, and one byte is a probe (RFC 9293
        // section 3.8.6.1).
        let is_probe = len == 1 && seq == self.una;
        if len > 0 && !is_probe && self.offered.is_none_or(|offered| end.follows(offered)) {
            return Err(format!(
                "sent up to {end:?}, offered was {:?}",
                self.offered
            ));
        }
        if let Some(fin) = self.fin
            && len > 0
            && end.follows(fin)
        {
            return Err(format!("sent past its FIN at {fin:?}"));
        }
        let from = seq.bytes_since(self.iss + 1) as usize;
        let is_keep_alive = seen.data.is_empty() || seq == self.iss;
        if !is_keep_alive {
            let Some(known) = self.data.get(from..) else {
                return Err(format!("left a gap after {} bytes", self.data.len()));
            };
            let again = known.len().min(seen.data.len());
            if known[..again] != seen.data[..again] {
                return Err("sent other data under the same sequence numbers".to_owned());
            }
            self.data.extend(&seen.data[again..]);
        }
        if seen.header.flags.contains(Flags::FIN) {
            if self.fin.is_some_and(|fin| fin != end) {
                return Err(format!("moved its FIN from {:?}", self.fin));
            }
            self.fin = Some(end);
        }
        let fin = u32::from(seen.header.flags.contains(Flags::FIN));
        self.end = self.end.max(end + fin);
        Ok(())
    }

    /// RFC 9293 section 3.7.1 (MUST-16) and RFC 7323 section 3.2.
    fn checks_sizes(&self, seen: &Seen, peer: &Half) -> Checked {
        let default = if seen.flow.to.is_ipv4() { 536 } else { 1_220 };
        let mss = usize::from(peer.syn.options.mss.unwrap_or(default).max(88));
        if seen.options_len + seen.data.len() > mss {
            return Err(format!(
                "sent {} bytes and {} of options, MSS is {mss}",
                seen.data.len(),
                seen.options_len
            ));
        }
        let syns = [&self.syn, &peer.syn];
        let timestamps = syns.iter().all(|syn| syn.options.timestamps.is_some());
        if timestamps && seen.header.options.timestamps.is_none() {
            return Err("left the timestamps out".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
