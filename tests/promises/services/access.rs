//! What a service's broker user cannot do.

use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use millrace_tests::{Left, World};

async fn connect(world: &World, service: &str) -> Connection {
    let account = world.account(service);
    let mut url = account.addresses[0].clone();
    url.set_username(&account.user).expect("a user");
    url.set_password(Some("only%20for%20tests")).expect("a password");
    Connection::connect(url.as_str(), ConnectionProperties::default()).await.expect("a connection")
}

/// Why the broker refuses a publish; `None` when it takes it.
async fn publish(connection: &Connection, exchange: &str, key: &str) -> Option<String> {
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    match channel.basic_publish(exchange.into(), key.into(), options, b"x", properties).await {
        Ok(confirm) => confirm.await.err(),
        Err(fault) => Some(fault),
    }
    .map(|fault| fault.to_string())
}

async fn consume(connection: &Connection, queue: &str) -> Option<String> {
    let channel = connection.create_channel().await.expect("a channel");
    let consumed =
        channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await;
    consumed.err().map(|fault| fault.to_string())
}

fn is_refused(fault: Option<&String>) -> bool {
    fault.is_some_and(|text| text.contains("ACCESS") && text.contains("REFUSED"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_publishes_to_its_exchange_and_reads_its_queue_and_nothing_else() {
    let world = World::new().await;
    let crm = connect(&world, "crm").await;
    let routes = [
        ("millrace.work", "projects.main"),
        ("millrace.audit", "audit"),
        ("millrace.events", "projects.created"),
        ("millrace.dead", ""),
        ("millrace.quarantine", ""),
        ("", "events.ledger"),
    ];
    for (exchange, key) in routes {
        let fault = publish(&crm, exchange, key).await;
        assert!(is_refused(fault.as_ref()), "{exchange}: {fault:?}");
    }
    for queue in ["events.ledger", "work.projects.main", "work.projects.overflow", "audit", "dead", "quarantine"] {
        let fault = consume(&crm, queue).await;
        assert!(is_refused(fault.as_ref()), "{queue}: {fault:?}");
    }
    let channel = crm.create_channel().await.expect("a channel");
    let declared = channel.queue_declare("mine".into(), QueueDeclareOptions::default(), FieldTable::default()).await;
    let fault = declared.err().map(|fault| fault.to_string());
    assert!(is_refused(fault.as_ref()), "declare: {fault:?}");
    // The controls: nobody takes this key, so nothing is left.
    assert_eq!(publish(&crm, "millrace.direct", "nobody").await, None);
    assert_eq!(consume(&crm, "events.crm").await, None);
    let ledger = connect(&world, "ledger").await;
    assert_eq!(publish(&ledger, "millrace.work", "nobody").await, None, "a key of ledger has the main lane");
    assert!(is_refused(publish(&ledger, "millrace.audit", "audit").await.as_ref()));
    world.finish(Left::default()).await;
}
