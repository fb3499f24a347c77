//! Internal services publish commands straight to the broker under their own keys and take the events that follow, each
//! with a broker user that can do nothing else.

mod access;
mod document;
mod node;
mod vectors;

use std::time::Duration;

use lapin::BasicProperties;
use millrace::client::{
    ClientFault, CommandOptions, CommandPublisher, EventConsumer, Incoming, ReceivedEvent, WhyRefused,
};
use millrace::contract::payloads::{ProjectsArchive, ProjectsCreate, ProjectsDelete};
use millrace::contract::{
    ActorKind, Lane, MessageId, MessageType, Payload, Principal, PublisherName, Role, SealFault, TenantId,
};
use millrace_tests::{Left, Program, World, eventually};
use serde_json::{Value, json};

/// Far more than an event takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a project command needs besides the broker.
fn start(world: &World) -> [Program; 3] {
    ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| world.start(program))
}

fn principal(role: Role) -> Principal {
    Principal { kind: ActorKind::Service, id: "crm".to_owned(), role: Some(role) }
}

async fn send<P: Payload>(
    commands: &CommandPublisher,
    org: &str,
    key: &str,
    body: Value,
) -> Result<MessageId, ClientFault> {
    let org = TenantId::parse(org).expect("a tenant");
    let body = body.to_string().into_bytes();
    commands.publish_command::<P>(&org, &principal(Role::Editor), key, body, CommandOptions::default()).await
}

async fn next(events: &mut EventConsumer) -> Incoming {
    tokio::time::timeout(PATIENCE, events.next()).await.expect("a message").expect("a connection")
}

async fn next_event(events: &mut EventConsumer) -> Box<ReceivedEvent> {
    match next(events).await {
        Incoming::Event(event) => event,
        Incoming::Refused(refusal) => panic!("refused: {}", refusal.why),
    }
}

fn body(event: &ReceivedEvent) -> Value {
    serde_json::from_slice(event.body()).expect("JSON")
}

/// The command waits on the queue, and is what the document says.
async fn command_fits_the_document(world: &World, queue: &str) {
    let (properties, body) = eventually("a command", async || world.peek(queue).await).await;
    assert_eq!(document::faults(&properties, &body), Vec::<String>::new());
}

/// So is the event.
async fn event_fits_the_document(world: &World, queue: &str) {
    let (properties, body) = eventually("an event", async || world.peek(queue).await).await;
    assert_eq!(properties.delivery_mode(), &Some(2), "an event survives the broker's restart");
    assert_eq!(document::faults(&properties, &body), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_a_service_is_applied_once_and_each_consumer_has_its_own_copy_of_the_event() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let commands = world.commands_of("crm", Lane::Overflow).await;
    let id =
        send::<ProjectsCreate>(&commands, "acme", "deal-1", json!({ "name": "Lighthouse" })).await.expect("confirmed");
    let again = send::<ProjectsCreate>(&commands, "acme", "deal-1", json!({ "name": "Lighthouse" })).await;
    assert_eq!(again.expect("confirmed"), id);
    command_fits_the_document(&world, "work.projects.overflow").await;
    let programs = start(&world);
    world.until_lines("applied", 1).await;
    event_fits_the_document(&world, "events.crm").await;
    event_fits_the_document(&world, "events.ledger").await;
    for service in ["crm", "ledger"] {
        let mut events = world.events_of(service).await;
        let event = next_event(&mut events).await;
        let envelope = event.envelope();
        assert_eq!(envelope.causation_id.as_ref(), Some(&id));
        assert_eq!(envelope.org_id.as_ref().map(TenantId::as_str), Some("acme"));
        assert_eq!(envelope.principal, Principal::system("worker"));
        let crm = PublisherName::parse("crm").expect("a name");
        let created = MessageType::parse("projects.created").expect("a type");
        let deployment = world.account(service).deployment;
        assert_eq!(envelope.message_id, MessageId::of_event(&deployment, &crm, &id, &created));
        assert_eq!(body(&event)["name"], "Lighthouse");
        event.ack().await.expect("an ack");
        events.close().await;
        eventually("the queue is empty", async || (world.depth(&format!("events.{service}")).await == 0).then_some(()))
            .await;
    }
    assert_eq!(world.count("select count(*) from app.projects").await, 1);
    world.until_lines("applied", 1).await;
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_an_ack_comes_again_with_the_same_id() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let programs = start(&world);
    let commands = world.commands_of("ledger", Lane::Main).await;
    let mut events = world.events_of("crm").await;
    for (key, name) in [("1", "one"), ("2", "two")] {
        send::<ProjectsCreate>(&commands, "acme", key, json!({ "name": name })).await.expect("confirmed");
    }
    let (first, second) = (next_event(&mut events).await, next_event(&mut events).await);
    let lost = first.envelope().message_id.clone();
    drop(first);
    // Acks are one by one: this one must not take the other along.
    second.ack().await.expect("an ack");
    events.close().await;
    let mut events = world.events_of("crm").await;
    let event = next_event(&mut events).await;
    assert_eq!(event.envelope().message_id, lost);
    assert!(event.is_redelivered());
    event.ack().await.expect("an ack");
    events.close().await;
    assert_eq!(world.depth("events.crm").await, 0);
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_nobody_consumes_leaves_the_outbox() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let programs = start(&world);
    let commands = world.commands_of("crm", Lane::Overflow).await;
    let mut events = world.events_of("crm").await;
    send::<ProjectsCreate>(&commands, "acme", "1", json!({ "name": "one" })).await.expect("confirmed");
    let created = next_event(&mut events).await;
    send::<ProjectsArchive>(&commands, "acme", "2", json!({ "id": body(&created)["id"] })).await.expect("confirmed");
    created.ack().await.expect("an ack");
    world.until_lines("applied", 2).await;
    world.until_count("select count(*) from engine.outbox", 0).await;
    assert_eq!(world.depth("events.crm").await, 0, "projects.archived has no queue");
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_outside_a_services_grant_is_denied_and_has_no_effect() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    world.cli(&["tenants", "create", "other"]).await;
    let programs = start(&world);
    let commands = world.commands_of("crm", Lane::Overflow).await;
    let id = uuid::Uuid::nil().to_string();
    send::<ProjectsDelete>(&commands, "acme", "type", json!({ "id": id })).await.expect("confirmed");
    send::<ProjectsCreate>(&commands, "other", "tenant", json!({ "name": "one" })).await.expect("confirmed");
    let (org, body) = (TenantId::parse("acme").expect("a tenant"), br#"{"name":"two"}"#.to_vec());
    commands
        .publish_command::<ProjectsCreate>(&org, &principal(Role::Admin), "role", body, CommandOptions::default())
        .await
        .expect("confirmed");
    world.until_lines("denied", 3).await;
    let lines = world.lines();
    let denied: Vec<_> = lines.iter().filter(|line| line["outcome"] == "denied").collect();
    assert!(denied.iter().all(|line| line["org_id"] == "millrace:operator"), "{denied:?}");
    assert!(denied.iter().all(|line| line["metadata"]["publisher"] == "crm"), "{denied:?}");
    assert_eq!(world.count("select count(*) from app.projects").await, 0);
    assert_eq!(world.depth("events.crm").await, 0);
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_the_main_lane_reaches_it_and_a_bad_body_reaches_nothing() {
    let world = World::new().await;
    world.cli(&["tenants", "create", "acme"]).await;
    let commands = world.commands_of("ledger", Lane::Main).await;
    let refused = send::<ProjectsCreate>(&commands, "acme", "1", json!({ "title": "one" })).await;
    assert!(matches!(&refused, Err(ClientFault::Malformed(fault)) if fault.field == "name"), "{refused:?}");
    let refused = send::<ProjectsCreate>(&commands, "acme", "", json!({ "name": "one" })).await;
    assert!(matches!(refused, Err(ClientFault::EmptyKey)), "{refused:?}");
    send::<ProjectsCreate>(&commands, "acme", "1", json!({ "name": "one" })).await.expect("confirmed");
    command_fits_the_document(&world, "work.projects.main").await;
    assert_eq!(world.depth("work.projects.overflow").await, 0);
    let programs = start(&world);
    world.until_lines("applied", 1).await;
    world.finish(Left::default()).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_worker_sealed_as_an_event_is_refused_and_kept() {
    let world = World::new().await;
    let mut events = world.events_of("crm").await;
    world.publish("millrace.events", "projects.created", BasicProperties::default(), b"{}").await;
    let Incoming::Refused(refusal) = next(&mut events).await else { panic!("an event without a seal") };
    assert_eq!(refusal.why, WhyRefused::Seal(SealFault::Unsealed));
    eventually("it is in quarantine", async || (world.depth("quarantine").await == 1).then_some(())).await;
    // An operator may look as often as it takes; RabbitMQ 4 drops what came back twenty times, unless told otherwise.
    for _ in 0..25 {
        let look = async || world.peek("quarantine").await.map(drop);
        eventually("it is still there", look).await;
    }
    assert_eq!(world.depth("events.ledger").await, 1, "who does not consume keeps its copy");
    world.finish(Left::default()).await;
}
