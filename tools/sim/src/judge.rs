//! How a connection may have ended once nothing more can happen.
//!
//! A network that heals lets every open connection finish. What may fail is the
//! opening of one: SYNs, ARP requests and places in a queue are limited.

use super::plan::{End, Plan, Role};
use super::scenario::Scenario;
use ringmill_core::sockets::Closed;
use ringmill_core::time::Instant;

/// What is wrong with the end of a connection, if anything.
pub(crate) fn verdict(
    scenario: &Scenario,
    plan: &Plan,
    ends: &[End; 2],
) -> Result<(), &'static str> {
    let [client, server] = ends;
    if client.aborted || server.aborted {
        return Ok(());
    }
    if client.finished && server.finished {
        return everything_came(plan, ends);
    }
    if plan.crossing.is_some() {
        return crossing(scenario, plan, ends);
    }
    if server.is_early && (server.finished || server.closed.is_some()) && may_fail(scenario, plan) {
        // It was given up before the client's ACK came. The client may have gone on
        // and learn of it or not: TCP without keep-alive does not ask.
        return Ok(());
    }
    if let Some(why) = client.closed {
        return if may_fail_to_open(scenario, plan, ends, why) {
            Ok(())
        } else {
            Err("the client's end was cut")
        };
    }
    if client.finished && !server.opened && may_fail(scenario, plan) {
        // It said all it had to say to a half-open connection that was forgotten.
        return Ok(());
    }
    if server.closed.is_some() {
        return Err("the server's end was cut");
    }
    Err("it never ends")
}

fn everything_came(plan: &Plan, ends: &[End; 2]) -> Result<(), &'static str> {
    for role in [Role::Client, Role::Server] {
        let is_echo = plan.dialogue == super::plan::Dialogue::Echo;
        let received = ends[role as usize].received;
        // An echo's server counts nothing.
        if received != plan.totals[role.other() as usize] && !(is_echo && role == Role::Server) {
            return Err("it ended before everything was delivered");
        }
    }
    Ok(())
}

fn may_fail_to_open(scenario: &Scenario, plan: &Plan, ends: &[End; 2], why: Closed) -> bool {
    let [client, server] = ends;
    let may_fail = may_fail(scenario, plan);
    match why {
        Closed::Unreachable | Closed::TimedOut => !client.opened && may_fail,
        // The server forgot the half-open connection that the client took for open.
        Closed::Reset => !server.opened && may_fail,
        Closed::Refused | Closed::Normally | Closed::Aborted => false,
    }
}

/// Each end of two that connect to each other may be refused, when the other was not
/// there yet or no longer, and fail as any that opens.
fn crossing(scenario: &Scenario, plan: &Plan, ends: &[End; 2]) -> Result<(), &'static str> {
    let [client, server] = ends;
    for (own, other) in [(client, server), (server, client)] {
        let may_end = match own.closed {
            None => true,
            Some(Closed::Refused) => own.asked_at <= other.asked_at || other.closed.is_some(),
            Some(Closed::Unreachable | Closed::TimedOut) => !own.opened && may_fail(scenario, plan),
            Some(Closed::Reset) => !other.opened && other.closed.is_some(),
            Some(Closed::Normally | Closed::Aborted) => false,
        };
        if !may_end {
            return Err("an end that both opened was cut");
        }
    }
    if client.closed.is_none() && server.closed.is_none() {
        return Err("it never ends");
    }
    Ok(())
}

/// SYNs, or places in the server's queues, may have run out.
fn may_fail(scenario: &Scenario, plan: &Plan) -> bool {
    let host = &scenario.hosts[plan.server];
    let is_crowded = host.accepting.backlog < scenario.plans.len()
        || host.tcp.max_half_open < scenario.plans.len();
    scenario.heals_at > Instant::ZERO || is_crowded
}
