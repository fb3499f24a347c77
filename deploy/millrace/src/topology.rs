//! `millrace topology`: what the broker has to hold, from the contract.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use millrace::amqp::{Dialer, declare};
use millrace::config::{Config, Login, Process, start};
use millrace::contract::{BrokerUser, CheckedContract, Contract, Exchange, Permissions, Service, Topology};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use crate::CommandFault;
use crate::commands::ConfigFile;
use crate::http::{HttpClient, HttpFault};
use crate::operator::Usage;
use crate::screen::Screen;

/// Environment variable with the management API's URL, administrator and password included.
const MANAGEMENT_URL: &str = "MILLRACE_MANAGEMENT_URL";

#[derive(Debug, Args)]
#[command(after_help = "Needs $MILLRACE_MANAGEMENT_URL, such as https://admin:password@broker.example:15671: the \
    management API of the broker with an administrator's login. Processes never need it at run time.")]
pub(crate) struct ApplyTopology {
    #[command(flatten)]
    config: ConfigFile,
    /// Print what would be declared, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl ApplyTopology {
    pub(crate) async fn run(&self, contract: Contract, screen: &Screen) -> Result<(), CommandFault> {
        let (contract, config) = start(contract, &self.config.path(), Process::All)?;
        let topology = whole(&contract, &config);
        if self.dry_run {
            for queue in &topology.queues {
                let bound: Vec<String> =
                    queue.bindings.iter().map(|(exchange, key)| format!("{} by {key}", exchange.name())).collect();
                screen.done(
                    &format!("{} bound to {}", queue.name, bound.join(", ")),
                    json!({ "queue": queue.name, "bindings": bound }),
                );
            }
            return Ok(());
        }
        let url = std::env::var(MANAGEMENT_URL)
            .map_err(|_| Usage(format!("set {MANAGEMENT_URL}, such as https://admin:password@broker:15671")))?;
        let admin = BrokerAdmin::parse(&url)?;
        apply_topology(&contract, &config, &admin).await?;
        let names: Vec<&str> = topology.queues.iter().map(|queue| queue.name.as_str()).collect();
        screen.done(&format!("the broker holds {}", names.join(", ")), json!({ "queues": names }));
        Ok(())
    }
}

/// An administrator of the broker, for set-up only.
#[derive(Debug, Clone)]
pub struct BrokerAdmin {
    management: Url,
    login: Login,
}

impl BrokerAdmin {
    /// Takes the management API's address and an administrator's login.
    pub fn new(management: Url, user: &str, password: SecretString) -> Self {
        Self { management, login: Login { user: user.to_owned(), password } }
    }

    fn parse(text: &str) -> Result<Self, Usage> {
        let usage = || Usage(format!("{MANAGEMENT_URL} must be http(s)://user:password@host:port"));
        let mut url = Url::parse(text).map_err(|_| usage())?;
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let (user, password) = (decoded(url.username()), decoded(url.password().ok_or_else(usage)?));
        // Both can fail only for URLs without a host.
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| usage())?;
        Ok(Self::new(url, &user, password.into()))
    }

    async fn put(&self, client: &HttpClient, path: &str, body: Value) -> Result<(), TopologyFault> {
        let uri = format!("{}/api/{path}", self.management.as_str().trim_end_matches('/'));
        let request = Request::builder()
            .method(Method::PUT)
            .uri(uri)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, self.basic())
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|e| TopologyFault::Address(e.to_string()))?;
        let (status, answer) = client.send(request).await?;
        if status.is_success() {
            return Ok(());
        }
        let answer = String::from_utf8_lossy(&answer).chars().take(300).collect();
        Err(TopologyFault::Refused { path: path.to_owned(), status, answer })
    }

    async fn put_user(
        &self,
        client: &HttpClient,
        vhost: &str,
        login: &Login,
        may: &Permissions,
    ) -> Result<(), TopologyFault> {
        let name = escape(&login.user);
        let user = json!({ "password": login.password.expose_secret(), "tags": "" });
        self.put(client, &format!("users/{name}"), user).await?;
        let permissions = json!({ "configure": may.configure, "write": may.write, "read": may.read });
        self.put(client, &format!("permissions/{vhost}/{name}"), permissions).await
    }

    fn basic(&self) -> String {
        let login = format!("{}:{}", self.login.user, self.login.password.expose_secret());
        format!("Basic {}", BASE64_STANDARD.encode(login))
    }
}

/// The management API did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum TopologyFault {
    #[error(transparent)]
    Http(#[from] HttpFault),
    #[error("the management address is no URL: {0}")]
    Address(String),
    #[error("the broker refused {path} with {status}: {answer}")]
    Refused { path: String, status: StatusCode, answer: String },
}

/// Declares vhost, exchanges, queues, policies, users and permissions. Run again it changes nothing but passwords.
///
/// # Errors
/// The broker is away, the login is no administrator, or a queue exists in another form.
pub async fn apply_topology(
    contract: &CheckedContract,
    config: &Config,
    admin: &BrokerAdmin,
) -> Result<(), CommandFault> {
    let client = HttpClient::new()?;
    let vhost = vhost(config)?;
    let escaped = escape(&vhost);
    admin.put(&client, &format!("vhosts/{escaped}"), json!({})).await?;
    let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    admin.put(&client, &format!("permissions/{escaped}/{}", escape(&admin.login.user)), all).await?;
    // Policies first: a queue is never there without its limit and its dead-letter exchange.
    for (name, policy) in policies() {
        admin.put(&client, &format!("policies/{escaped}/{name}"), policy).await?;
    }
    let dialer = Dialer::with(config.amqp.addresses.clone(), admin.login.clone(), "millrace-topology");
    declare(&dialer, &whole(contract, config)).await?;
    let own = BrokerUser::ALL.into_iter().filter_map(|user| Some((config.amqp.logins.get(&user)?, user.permissions())));
    let services = config
        .services
        .iter()
        .filter_map(|service| Some((service.login.as_ref()?, config.service(service).permissions())));
    for (login, may) in own.chain(services) {
        admin.put_user(&client, &escaped, login, &may).await?;
    }
    Ok(())
}

/// Millrace's own queues and those of its services.
fn whole(contract: &CheckedContract, config: &Config) -> Topology {
    let services: Vec<Service> = config.services.iter().map(|service| config.service(service)).collect();
    let mut topology = Topology::of(contract);
    topology.queues.extend(Topology::of_services(&services).queues);
    topology
}

fn vhost(config: &Config) -> Result<String, Usage> {
    let address = config.amqp.addresses.first().ok_or_else(|| Usage("amqp.addresses is empty".to_owned()))?;
    let name = percent_decode_str(address.path().trim_start_matches('/')).decode_utf8_lossy().into_owned();
    Ok(if name.is_empty() { "/".to_owned() } else { name })
}

/// At-least-once dead-lettering needs `reject-publish`; with `drop-head` the broker silently falls back to losing. The
/// dead-letter queue hands on only what no client can read: bytes that break every connection that receives them.
///
/// What a service refuses, or what its crashes give up on, goes to quarantine: in the dead-letter queue a worker would
/// take it for a message of its own. No `max-length`: a full queue of a service that is away would refuse events that
/// others wait for, and with `drop-head` it would lose them.
///
/// Nothing takes messages out of quarantine but an operator, who may look as often as it takes: RabbitMQ 4 would otherwise
/// drop what was looked at twenty times.
fn policies() -> [(&'static str, Value); 4] {
    let lossless = json!({
        "pattern": r"^(work\..*|audit)$", "apply-to": "queues", "priority": 10,
        "definition": {
            "delivery-limit": Topology::DELIVERY_LIMIT, "overflow": "reject-publish",
            "dead-letter-exchange": Exchange::Dead.name(), "dead-letter-strategy": "at-least-once",
        },
    });
    let dead = json!({
        "pattern": "^dead$", "apply-to": "queues", "priority": 10,
        "definition": {
            "delivery-limit": Topology::DEAD_DELIVERY_LIMIT, "overflow": "reject-publish",
            "dead-letter-exchange": Exchange::Quarantine.name(), "dead-letter-strategy": "at-least-once",
        },
    });
    let services = json!({
        "pattern": r"^events\..*$", "apply-to": "queues", "priority": 10,
        "definition": {
            "delivery-limit": Topology::DELIVERY_LIMIT, "overflow": "reject-publish",
            "dead-letter-exchange": Exchange::Quarantine.name(), "dead-letter-strategy": "at-least-once",
        },
    });
    let quarantine = json!({
        "pattern": "^quarantine$", "apply-to": "queues", "priority": 10,
        "definition": { "delivery-limit": Topology::QUARANTINE_DELIVERY_LIMIT, "overflow": "reject-publish" },
    });
    [
        ("millrace", lossless),
        ("millrace-dead", dead),
        ("millrace-services", services),
        ("millrace-quarantine", quarantine),
    ]
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
