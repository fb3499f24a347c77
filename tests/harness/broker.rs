//! A client of the broker with every right, for what tests put into queues and want to know of them.

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use millrace::contract::{Field, WireMessage};

/// A message's fields as the product sends them.
pub fn properties(wire: &WireMessage) -> BasicProperties {
    let mut headers = FieldTable::default();
    let mut properties = BasicProperties::default();
    for (field, value) in wire.fields() {
        properties = match field {
            Field::MessageId => properties.with_message_id(value.into()),
            Field::Type => properties.with_type(value.into()),
            Field::ContentType => properties.with_content_type(value.into()),
            Field::CorrelationId => properties.with_correlation_id(value.into()),
            _ => {
                headers.insert(field.name().into(), AMQPValue::LongString(value.into()));
                properties
            }
        };
    }
    properties.with_headers(headers)
}

/// One connection with one confirm channel.
pub(crate) struct Broker {
    connection: Connection,
    channel: Channel,
}

impl Broker {
    pub(crate) async fn connect(url: &str) -> lapin::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, channel })
    }

    /// Messages that are ready in a queue.
    pub(crate) async fn depth(&self, queue: &str) -> lapin::Result<u32> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
        Ok(declared.message_count())
    }

    /// Declares a queue and binds it.
    pub(crate) async fn bind(&self, queue: &str, exchange: &str, key: &str) -> lapin::Result<()> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), durable, FieldTable::default()).await?;
        let plain = QueueBindOptions::default();
        self.channel.queue_bind(queue.into(), exchange.into(), key.into(), plain, FieldTable::default()).await
    }

    /// Deletes a queue with what is in it.
    pub(crate) async fn delete(&self, queue: &str) -> lapin::Result<()> {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.map(drop)
    }

    /// The first message of a queue, which the end of this connection puts back.
    pub(crate) async fn peek(self, queue: &str) -> lapin::Result<Option<(BasicProperties, Vec<u8>)>> {
        let got = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
        self.connection.close(200, "seen".into()).await?;
        Ok(got.map(|message| (message.delivery.properties, message.delivery.data)))
    }

    pub(crate) async fn publish(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> lapin::Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = properties.with_delivery_mode(2);
        let confirm = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?.await?;
        assert!(matches!(confirm, lapin::Confirmation::Ack(None)), "not queued: {confirm:?}");
        Ok(())
    }
}
