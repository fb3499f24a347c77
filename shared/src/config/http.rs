//! `[http]`: listeners and the bounds of the edge.

use std::net::SocketAddr;
use std::time::Duration;

use super::Reader;

/// Listeners and bounds. Every bound is explicit, and has a default that suits one small host.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Public address.
    pub listen: SocketAddr,
    /// Lets a second ingress of the same account listen on the same address before this one ends.
    pub share_port: bool,
    /// Health and metrics; never the public address.
    pub admin_listen: SocketAddr,
    /// Most bytes of a body; beyond it 413.
    pub max_body_bytes: usize,
    /// For the whole request head.
    pub header_timeout: Duration,
    /// For the whole body.
    pub body_timeout: Duration,
    /// For seal, publish and confirm together; then 503.
    pub publish_timeout: Duration,
    /// Most connections at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How long a drain waits for requests in flight.
    pub drain_timeout: Duration,
}

impl HttpConfig {
    pub(super) fn read(s: &mut Reader) -> Self {
        let address = "an address such as 127.0.0.1:8080";
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let millis = |s: &mut Reader, key, default, most| Duration::from_millis(s.number(key, default, 1..=most));
        let config = Self {
            listen: s.parsed("listen", Some(local(8080)), address).unwrap_or(local(0)),
            share_port: s.word("share_port", false, &[("true", true), ("false", false)]),
            admin_listen: s.parsed("admin_listen", Some(local(0)), address).unwrap_or(local(0)),
            max_body_bytes: s.number("max_body_bytes", 1 << 20, 1..=16 << 20).try_into().unwrap_or(1 << 20),
            header_timeout: millis(s, "header_timeout_ms", 5_000, 60_000),
            body_timeout: millis(s, "body_timeout_ms", 10_000, 120_000),
            publish_timeout: millis(s, "publish_timeout_ms", 5_000, 30_000),
            max_connections: s.number("max_connections", 4_096, 1..=100_000).try_into().unwrap_or(4_096),
            drain_timeout: millis(s, "drain_timeout_ms", 3_000, 60_000),
        };
        if config.listen == config.admin_listen && config.listen.port() != 0 {
            s.mistake("admin_listen", "must differ from http.listen: health and metrics are not public");
        }
        config
    }
}
