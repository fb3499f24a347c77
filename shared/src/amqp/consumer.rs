//! Consuming: batches of what is ready, settled once, by value, through the last delivery's own acker.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, Connection};

use super::connect::{AmqpFault, Dialer, close};
use super::loss::Loss;
use super::properties;
use crate::chaos::{Point, pass};
use crate::contract::{WireFault, WireMessage};

/// A batch stops growing here, whatever its number of messages.
const BATCH_BYTES: usize = 8 << 20;

/// A connection for consuming only. On any error the owner drops it whole and dials a new one.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    loss: Loss,
}

impl Session {
    /// Dials once.
    ///
    /// # Errors
    /// No address answered.
    pub async fn connect(dialer: &Dialer) -> Result<Self, AmqpFault> {
        let connection = dialer.dial().await?;
        Ok(Self { loss: Loss::of(&connection), connection })
    }

    /// Opens a channel of its own on which batches of one queue arrive. `prefetch` bounds what the broker hands
    /// over in advance; there is no other bound.
    ///
    /// # Errors
    /// The queue is missing, or this user may not read it.
    pub async fn consume(&self, queue: &str, prefetch: u16) -> Result<Consumer, AmqpFault> {
        let channel = self.loss.or("channel.open", self.connection.create_channel()).await?;
        self.loss.or("basic.qos", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let options = BasicConsumeOptions::default();
        let consuming = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
        let stream = self.loss.or("basic.consume", consuming).await?;
        Ok(Consumer { queue: queue.to_owned(), channel, stream, held: None, loss: self.loss.clone() })
    }

    /// Closes in order, within a second. The broker delivers again what was not acked.
    pub async fn close(self) {
        close(&self.connection).await;
    }
}

/// A consumer on a channel of its own.
#[derive(Debug)]
pub struct Consumer {
    queue: String,
    #[expect(dead_code, reason = "the channel closes when it is dropped")]
    channel: Channel,
    stream: lapin::Consumer,
    /// The first delivery of the next batch.
    held: Option<Delivery>,
    loss: Loss,
}

/// What to do with messages that the broker hands out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redelivered {
    /// They come in batches of their own, so that what has not been in flight before is not charged with what has.
    Apart,
    /// They cannot harm: take them with the others.
    Together,
}

/// One message as it arrived.
#[derive(Debug)]
pub struct Delivered {
    /// Fields and body; fields that are no text are left out. Shared, since a batch may run more than once.
    pub message: Arc<WireMessage>,
    /// The first field that is no text.
    pub fault: Option<WireFault>,
    /// The broker has handed it out before.
    pub redelivered: bool,
}

/// Deliveries that are settled together.
#[derive(Debug)]
pub struct Batch {
    /// The messages, oldest first.
    pub deliveries: Vec<Delivered>,
    ackers: Vec<Acker>,
    loss: Loss,
}

impl Consumer {
    /// Waits for one delivery, then takes what is ready without waiting further, up to as many as `most` says then.
    ///
    /// # Errors
    /// The connection broke, or the broker cancelled the consumer.
    pub async fn next_batch(&mut self, most: impl Fn() -> usize, redelivered: Redelivered) -> Result<Batch, AmqpFault> {
        let first = match self.held.take() {
            Some(held) => held,
            None => self.receive().await?,
        };
        let most = most();
        let mut bytes = first.data.len();
        let mut batch = vec![first];
        while batch.len() < most && bytes < BATCH_BYTES {
            match self.receive().now_or_never() {
                Some(Ok(next)) if redelivered == Redelivered::Apart && next.redelivered != batch[0].redelivered => {
                    self.held = Some(next);
                    break;
                }
                Some(Ok(next)) => {
                    bytes += next.data.len();
                    batch.push(next);
                }
                // What is here can still be worked on; the next call meets the error again.
                Some(Err(_)) | None => break,
            }
        }
        let batch = Batch::of(batch, self.loss.clone());
        #[cfg(feature = "chaos")]
        let batch = batch.acked_early().await?;
        Ok(batch)
    }

    async fn receive(&mut self) -> Result<Delivery, AmqpFault> {
        tokio::select! {
            biased;
            next = self.stream.next() => match next {
                Some(delivery) => self.loss.or("basic.deliver", std::future::ready(delivery)).await,
                None => Err(AmqpFault::Cancelled(self.queue.clone())),
            },
            fault = self.loss.happened("basic.deliver") => Err(fault),
        }
    }
}

impl Batch {
    fn of(deliveries: Vec<Delivery>, loss: Loss) -> Self {
        let mut ackers = Vec::with_capacity(deliveries.len());
        let deliveries = deliveries
            .into_iter()
            .map(|delivery| {
                ackers.push(delivery.acker);
                let (message, fault) = properties::read(&delivery.properties, delivery.data);
                Delivered { message: Arc::new(message), fault, redelivered: delivery.redelivered }
            })
            .collect();
        Self { deliveries, ackers, loss }
    }

    /// Acks all of them with one cumulative ack. Legal because this batch came alone through its channel, and
    /// everything before it is settled.
    ///
    /// # Errors
    /// The channel is gone; the broker delivers again, and the inbox knows.
    pub async fn ack(self) -> Result<(), AmqpFault> {
        let Some(last) = self.ackers.last() else { return Ok(()) };
        let acked = self.loss.or("basic.ack", last.ack(BasicAckOptions { multiple: true })).await?;
        if acked { Ok(()) } else { Err(AmqpFault::Stale) }
    }

    /// What a consumer must not do: nothing is left for [`Batch::ack`], and a crash from here on loses the messages.
    #[cfg(feature = "chaos")]
    async fn acked_early(mut self) -> Result<Self, AmqpFault> {
        if crate::chaos::sabotaged(crate::chaos::Sabotage::AckBeforeCommit) {
            let ackers = std::mem::take(&mut self.ackers);
            Self { deliveries: Vec::new(), ackers, loss: self.loss.clone() }.ack().await?;
        }
        Ok(self)
    }

    /// Acks each of them by itself, for owners who hold several batches of one channel and settle them in any order.
    ///
    /// # Errors
    /// The channel is gone.
    pub async fn ack_each(self) -> Result<(), AmqpFault> {
        for acker in &self.ackers {
            if !self.loss.or("basic.ack", acker.ack(BasicAckOptions { multiple: false })).await? {
                return Err(AmqpFault::Stale);
            }
        }
        Ok(())
    }

    /// Gives all of them to the queue's dead-letter exchange.
    ///
    /// # Errors
    /// The channel is gone.
    pub async fn refuse(self) -> Result<(), AmqpFault> {
        for acker in &self.ackers {
            if !self.loss.or("basic.reject", acker.reject(BasicRejectOptions { requeue: false })).await? {
                return Err(AmqpFault::Stale);
            }
        }
        Ok(())
    }

    /// Gives the deliveries at `refused` (indices, rising) to the dead-letter exchange and acks the others.
    ///
    /// # Errors
    /// The channel is gone.
    pub async fn ack_except(mut self, refused: &[usize]) -> Result<(), AmqpFault> {
        pass(Point::BeforeAck);
        for index in refused.iter().rev() {
            let acker = self.ackers.remove(*index);
            let done = self.loss.or("basic.reject", acker.reject(BasicRejectOptions { requeue: false })).await?;
            if !done {
                return Err(AmqpFault::Stale);
            }
        }
        self.ack().await
    }
}
