//! Declares exchanges, queues and bindings. Policies, users and permissions need the management API and are the
//! command line's affair.

use lapin::Connection;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use super::connect::{AmqpFault, Dialer, at, close};
use crate::contract::{Exchange, ExchangeKind, QueueSpec, Topology};

/// Declares everything; what is there already, in the same form, stays as it is.
///
/// # Errors
/// The broker cannot be reached, the user may not configure, or a queue exists in another form.
pub async fn declare(dialer: &Dialer, topology: &Topology) -> Result<(), AmqpFault> {
    let connection = dialer.dial().await?;
    let declared = on(&connection, topology).await;
    close(&connection).await;
    declared
}

async fn on(connection: &Connection, topology: &Topology) -> Result<(), AmqpFault> {
    let channel = connection.create_channel().await.map_err(at("channel.open"))?;
    for exchange in Exchange::ALL {
        let kind = match exchange.kind() {
            ExchangeKind::Direct => lapin::ExchangeKind::Direct,
            ExchangeKind::Topic => lapin::ExchangeKind::Topic,
            ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        };
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel
            .exchange_declare(exchange.name().into(), kind, options, FieldTable::default())
            .await
            .map_err(at("exchange.declare"))?;
    }
    for queue in &topology.queues {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel
            .queue_declare(queue.name.as_str().into(), options, arguments(queue))
            .await
            .map_err(at("queue.declare"))?;
        for (exchange, key) in &queue.bindings {
            let (name, exchange, key) = (queue.name.as_str().into(), exchange.name().into(), key.as_str().into());
            channel
                .queue_bind(name, exchange, key, QueueBindOptions::default(), FieldTable::default())
                .await
                .map_err(at("queue.bind"))?;
        }
    }
    Ok(())
}

/// Only what no policy can set: arguments can never be changed without deleting the queue.
fn arguments(queue: &QueueSpec) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    if queue.single_active_consumer {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    arguments
}
