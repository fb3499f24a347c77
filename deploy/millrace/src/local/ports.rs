//! Free ports of 127.0.0.1.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use super::LocalError;

/// Below this many candidates, luck would decide whether two stacks collide.
const FEWEST_CANDIDATES: u16 = 2_000;
const LOWEST: u16 = 10_240;
const TRIES: usize = 200;

/// Whether a server could listen on this port of 127.0.0.1 now.
pub(crate) fn is_free(port: u16) -> bool {
    listen(port).is_ok()
}

/// Picks `count` different free ports.
///
/// They lie below the kernel's ephemeral range: a port from that range may be taken by any outgoing connection while
/// a server is down for a restart, even by a client that keeps trying to reach that very server.
///
/// # Errors
/// [`LocalError::NoPort`] when none is found.
pub fn pick(count: usize) -> Result<Vec<u16>, LocalError> {
    let candidates = candidates();
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        held.push(listen_somewhere(candidates.clone()).map_err(LocalError::NoPort)?);
    }
    held.iter().map(|listener| Ok(listener.local_addr().map_err(LocalError::NoPort)?.port())).collect()
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn listen_somewhere(candidates: Option<Range<u16>>) -> io::Result<TcpListener> {
    if let Some(candidates) = candidates {
        for _ in 0..TRIES {
            if let Ok(listener) = listen(rand::random_range(candidates.clone())) {
                return Ok(listener);
            }
        }
    }
    listen(0)
}

fn candidates() -> Option<Range<u16>> {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    below_ephemeral(&setting)
}

fn below_ephemeral(setting: &str) -> Option<Range<u16>> {
    let lowest_ephemeral: u16 = setting.split_whitespace().next()?.parse().ok()?;
    (lowest_ephemeral >= LOWEST + FEWEST_CANDIDATES).then_some(LOWEST..lowest_ephemeral)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn picks_below_the_ephemeral_range_when_there_is_room() {
        assert_eq!(below_ephemeral("32768\t60999\n"), Some(LOWEST..32768));
        assert_eq!(below_ephemeral("11000 65535"), None);
        assert_eq!(below_ephemeral(""), None);
    }

    #[test]
    fn picked_ports_differ_and_are_free() {
        let mut ports = pick(8).unwrap();
        // A child that another test starts holds every descriptor of this process until its exec.
        let began = Instant::now();
        while !ports.iter().all(|port| is_free(*port)) {
            assert!(began.elapsed() < Duration::from_secs(10), "not free: {ports:?}");
            std::thread::yield_now();
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }

    #[test]
    fn a_listening_port_is_not_free() {
        let taken = listen(0).unwrap();
        assert!(!is_free(taken.local_addr().unwrap().port()));
    }
}
