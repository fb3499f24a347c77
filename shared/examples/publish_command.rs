//! A service publishes one command with its own key and waits for the event that follows.
//!
//! ```console
//! $ MILLRACE_AMQP_URL=amqp://broker.example:5672/millrace MILLRACE_PASSWORD_FILE=keys/amqp-crm \
//!   MILLRACE_KEY_FILE=keys/seal-crm-1 MILLRACE_WORKER_KEY_FILE=keys/seal-worker-1 \
//!   MILLRACE_DEPLOYMENT=millrace cargo run --example publish_command
//! ```

use std::error::Error;
use std::io::Write;

use millrace::client::{Account, CommandOptions, CommandPublisher, EventConsumer, Incoming, OwnKey};
use millrace::contract::payloads::ProjectsCreate;
use millrace::contract::{ActorKind, KeyId, Lane, Principal, PublisherName, Role, SealKey, TenantId};

type Fault = Box<dyn Error>;

fn file(variable: &str) -> Result<String, Fault> {
    Ok(std::fs::read_to_string(std::env::var(variable)?)?.trim().to_owned())
}

fn key(variable: &str) -> Result<SealKey, Fault> {
    SealKey::new(&hex::decode(file(variable)?)?).ok_or_else(|| format!("{variable}: too short a key").into())
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let account = Account {
        addresses: vec![std::env::var("MILLRACE_AMQP_URL")?.parse()?],
        user: "millrace-service-crm".to_owned(),
        password: file("MILLRACE_PASSWORD_FILE")?.into(),
        deployment: std::env::var("MILLRACE_DEPLOYMENT")?,
        name: PublisherName::parse("crm")?,
    };
    let contract = millrace::builtin().check().map_err(|faults| format!("{faults:?}"))?;
    let own = OwnKey { id: KeyId::parse("crm-1")?, key: key("MILLRACE_KEY_FILE")?, lane: Lane::Overflow };
    let workers = vec![(KeyId::parse("worker-1")?, key("MILLRACE_WORKER_KEY_FILE")?)];
    let mut events = EventConsumer::connect(&account, workers, &contract).await?;
    let commands = CommandPublisher::connect(&account, own, &contract).await?;

    let org = TenantId::parse("acme")?;
    let principal = Principal { kind: ActorKind::Service, id: "crm".to_owned(), role: Some(Role::Editor) };
    let body = br#"{"name":"Lighthouse"}"#.to_vec();
    // The same key and body again are the same command: publish until it is confirmed, it is applied once.
    let id = commands
        .publish_command::<ProjectsCreate>(&org, &principal, "deal-4711", body, CommandOptions::default())
        .await?;
    let mut out = std::io::stdout();
    writeln!(out, "published {id}")?;
    loop {
        match events.next().await? {
            Incoming::Event(event) => {
                let (envelope, body) = (event.envelope(), String::from_utf8_lossy(event.body()).into_owned());
                let follows = envelope.causation_id.as_ref() == Some(&id);
                writeln!(out, "{} {body}", envelope.message_type)?;
                // Here a real service commits what it made of the event, together with the event's id.
                event.ack().await?;
                if follows {
                    return Ok(());
                }
            }
            Incoming::Refused(refusal) => writeln!(std::io::stderr(), "refused: {}", refusal.why)?,
        }
    }
}
