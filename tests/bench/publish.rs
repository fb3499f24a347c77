//! Raw lapin: confirmed, mandatory publishes with a bounded number outstanding on each channel.

use std::collections::VecDeque;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use millrace::contract::Exchange;
use tokio::task::JoinSet;

/// A message to publish.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

/// How to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variation {
    pub(crate) connections: usize,
    /// Of each connection.
    pub(crate) channels: usize,
    /// Unconfirmed messages of each channel.
    pub(crate) window: usize,
}

/// As the product's publisher does it.
pub(crate) const OURS: Variation = Variation { connections: 1, channels: 2, window: 512 };

impl std::fmt::Display for Variation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { connections, channels, window } = self;
        write!(f, "{connections} connection(s) of {channels} channel(s), {window} outstanding on each")
    }
}

/// Connections with confirm channels.
pub(crate) struct Broker {
    connections: Vec<Connection>,
    channels: Vec<Channel>,
    window: usize,
}

impl Broker {
    pub(crate) async fn connect(url: &str, variation: Variation) -> Self {
        let (mut connections, mut channels) = (Vec::new(), Vec::new());
        for _ in 0..variation.connections {
            let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
            for _ in 0..variation.channels {
                channels.push(confirm_channel(&connection).await);
            }
            connections.push(connection);
        }
        Self { connections, channels, window: variation.window }
    }

    /// Publishes all of them to the exchange of work, and returns when the broker has confirmed the last.
    ///
    /// # Panics
    /// When the broker does not take one.
    pub(crate) async fn publish(&self, key: &str, messages: Vec<Prepared>) {
        let mut shares: Vec<VecDeque<Prepared>> = vec![VecDeque::new(); self.channels.len()];
        for (n, message) in messages.into_iter().enumerate() {
            shares[n % self.channels.len()].push_back(message);
        }
        let mut lanes = JoinSet::new();
        for (channel, share) in self.channels.iter().zip(shares) {
            lanes.spawn(publish_share(channel.clone(), key.to_owned(), share, self.window));
        }
        while let Some(ended) = lanes.join_next().await {
            ended.expect("a publisher");
        }
    }

    /// Messages that are ready in a queue.
    pub(crate) async fn depth(&self, queue: &str) -> usize {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channels[0].queue_declare(queue.into(), passive, FieldTable::default()).await;
        declared.expect("a queue").message_count() as usize
    }

    /// Empties a queue.
    pub(crate) async fn purge(&self, queue: &str) {
        self.channels[0].queue_purge(queue.into(), QueuePurgeOptions::default()).await.expect("a purge");
    }

    pub(crate) async fn close(self) {
        for connection in self.connections {
            connection.close(200, "done".into()).await.expect("a closed connection");
        }
    }
}

/// A channel on which the broker confirms what it has.
pub(crate) async fn confirm_channel(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirm mode");
    channel
}

/// One owner a channel, as many publishes under way as the window allows.
async fn publish_share(channel: Channel, key: String, mut share: VecDeque<Prepared>, window: usize) {
    let mut pending = FuturesUnordered::new();
    loop {
        while pending.len() < window
            && let Some(message) = share.pop_front()
        {
            pending.push(publish(&channel, &key, message));
        }
        if pending.next().await.is_none() {
            return;
        }
    }
}

/// One publish, from the first byte to its confirm.
///
/// # Panics
/// When the broker does not take it.
pub(crate) async fn publish(channel: &Channel, key: &str, message: Prepared) {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let exchange = Exchange::Work.name().into();
    let sent = channel.basic_publish(exchange, key.into(), options, &message.body, message.properties).await;
    let confirmation = sent.expect("a publish").await.expect("a confirm");
    assert!(matches!(confirmation, Confirmation::Ack(None)), "not queued: {confirmation:?}");
}
