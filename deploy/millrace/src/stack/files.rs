//! What a local stack is configured with: fresh keys, and one `millrace.toml` for every process.

use millrace::auditlog::SigningKey;
use secrecy::ExposeSecret;
use serde_json::json;

use super::control::StateDir;
use crate::CommandFault;
use crate::local::{Postgres, RabbitMq, ports};

/// The demo tenant and its customer.
pub(super) const DEMO_ORG: &str = "org_demo";
/// The demo customer with Stripe.
pub(super) const DEMO_CUSTOMER: &str = "cus_demo";
/// The vhost and database of a local stack.
pub(super) const NAME: &str = "millrace";

/// Every secret of a stack; each is a file of its own that only its owner may read.
const KEYS: [&str; 16] = [
    "amqp-ingress",
    "amqp-worker",
    "amqp-relay",
    "amqp-audit",
    "db-app",
    "db-relay",
    "db-reader",
    "db-indexer",
    "db-migrator",
    "db-context",
    "audit-event-id",
    "seal-ingress-1",
    "seal-worker-1",
    "seal-operator-1",
    "stripe-1",
    "issuer-development",
];

/// The addresses of the ingress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) public: u16,
    pub(super) admin: u16,
}

impl Ports {
    /// The ports of the last start when they are free, else others.
    pub(super) fn choose(state: &StateDir) -> Result<Self, CommandFault> {
        let kept = std::fs::read(state.root().join("ports.json")).ok();
        let kept: Option<(u16, u16)> = kept.and_then(|text| serde_json::from_slice(&text).ok());
        let mut chosen = match kept {
            Some((public, admin)) if ports::is_free(public) && ports::is_free(admin) => Self { public, admin },
            _ => Self { public: 8080, admin: 9090 },
        };
        if !(ports::is_free(chosen.public) && ports::is_free(chosen.admin)) {
            let free = ports::pick(2)?;
            chosen = Self { public: free[0], admin: free[1] };
        }
        state.write("ports.json", &json!([chosen.public, chosen.admin]).to_string(), 0o644)?;
        Ok(chosen)
    }
}

/// Makes the keys that are missing and writes the configuration anew.
pub(super) fn write(
    state: &StateDir,
    postgres: &Postgres,
    rabbit: &RabbitMq,
    ports: Ports,
) -> Result<(), CommandFault> {
    std::fs::create_dir_all(state.root().join("keys"))?;
    for key in KEYS {
        if !state.root().join("keys").join(key).exists() {
            let random = hex::encode(rand::random::<[u8; 32]>());
            let text = if key.starts_with("stripe") { format!("whsec_{random}") } else { random };
            state.write(&format!("keys/{key}"), &format!("{text}\n"), 0o600)?;
        }
    }
    for (file, signs) in [("keys/audit-log", "audit"), ("keys/exports", "exports")] {
        if !state.root().join(file).exists() {
            let key = SigningKey::generate(&format!("{NAME}/{signs}")).ok_or("the stack's name is no name of a key")?;
            state.write(file, &format!("{}\n", key.render().expose_secret()), 0o600)?;
        }
    }
    let (host, amqp_port) = rabbit.amqp_address();
    let toml = include_str!("millrace.toml")
        .replace("{name}", NAME)
        .replace("{public}", &ports.public.to_string())
        .replace("{admin}", &ports.admin.to_string())
        .replace("{amqp}", &format!("{host}:{amqp_port}"))
        .replace("{postgres}", &postgres.port().to_string());
    Ok(state.write("millrace.toml", &toml, 0o644)?)
}

/// Writes `env`, for shells and tests that want to talk to the stack.
pub(super) fn write_env(
    state: &StateDir,
    postgres: &Postgres,
    rabbit: &RabbitMq,
    ports: Ports,
) -> Result<(), CommandFault> {
    let key = |name: &str| -> std::io::Result<String> {
        Ok(std::fs::read_to_string(state.root().join("keys").join(name))?.trim_end().to_owned())
    };
    let app = format!("postgres://millrace_app:{}@127.0.0.1:{}/{NAME}", key("db-app")?, postgres.port());
    let log = state.audit_log();
    let lines = [
        ("MILLRACE_HTTP_URL", format!("http://127.0.0.1:{}", ports.public)),
        ("MILLRACE_ADMIN_URL", format!("http://127.0.0.1:{}", ports.admin)),
        ("MILLRACE_AMQP_URL", rabbit.amqp_url(NAME)),
        ("MILLRACE_MANAGEMENT_URL", management(rabbit)),
        ("MILLRACE_DATABASE_URL", app),
        ("MILLRACE_OWNER_DATABASE_URL", postgres.superuser_url(NAME)),
        ("MILLRACE_STRIPE_SECRET", key("stripe-1")?),
        ("MILLRACE_AUDIT_LOG", log.display().to_string()),
        ("MILLRACE_CONFIG", state.config_file().display().to_string()),
        ("MILLRACE_DEMO_ORG", DEMO_ORG.to_owned()),
        ("MILLRACE_DEMO_CUSTOMER", DEMO_CUSTOMER.to_owned()),
    ];
    let text: String = lines.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
    // It holds passwords.
    Ok(state.write("env", &text, 0o600)?)
}

/// The management address with its administrator, as `millrace topology` takes it.
pub(super) fn management(rabbit: &RabbitMq) -> String {
    let (user, password) = rabbit.admin();
    rabbit.management_url().replacen("://", &format!("://{user}:{password}@"), 1)
}
