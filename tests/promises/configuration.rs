//! A configuration with mistakes starts nothing: all of them are listed at once, exit 64, before a port opens.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use millrace::auditlog::SigningKey;
use millrace::config::{ConfigFault, Environment, Process, StartFault, start};
use millrace_tests::{Program, binary, eventually};
use secrecy::ExposeSecret;
use tempfile::TempDir;

/// Every process of a deployment, and the command that checks for all of them.
const PROGRAMS: [&str; 5] = ["millrace-ingress", "millrace-billing", "millrace-relay", "millrace-audit", "millrace"];
/// Far more than reading a file takes; a process that starts in spite of its mistakes would stay.
const PATIENCE: Duration = Duration::from_secs(30);
/// Part of every secret here; nothing ever says it.
const SECRET: &str = "hush-hush";

/// A folder with `millrace.toml` and the keys it names.
struct Folder {
    folder: TempDir,
    /// Held by the test, so a process that opened a port would fail with something else than 64.
    ports: [TcpListener; 2],
}

impl Folder {
    fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("keys")).expect("keys");
        let names = ["db-context", "audit-event-id", "seal-ingress-1", "seal-worker-1", "seal-operator-1"];
        for (number, name) in names.into_iter().chain(["seal-crm-1", "seal-ledger-1"]).enumerate() {
            std::fs::write(folder.path().join("keys").join(name), format!("{:064x}\n", number + 1)).expect("a key");
        }
        let brokers = ["amqp-ingress", "amqp-worker", "amqp-relay", "amqp-audit"];
        let databases = ["db-app", "db-relay", "db-reader", "db-indexer", "db-migrator"];
        for name in
            brokers.into_iter().chain(databases).chain(["stripe-1", "stripe-2", "not-hex", "amqp-crm", "amqp-ledger"])
        {
            std::fs::write(folder.path().join("keys").join(name), format!("{SECRET}\n")).expect("a secret");
        }
        std::fs::write(folder.path().join("keys/issuer"), SECRET.repeat(8)).expect("a secret");
        let log_key = SigningKey::generate("x/audit").expect("a name").render();
        std::fs::write(folder.path().join("keys/audit-log"), log_key.expose_secret()).expect("a key");
        let export_key = SigningKey::generate("x/exports").expect("a name").render();
        std::fs::write(folder.path().join("keys/exports"), export_key.expose_secret()).expect("a key");
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let this = Self { folder, ports };
        this.write(toml);
        this
    }

    /// A configuration without a mistake, of servers that are away.
    fn sound() -> Self {
        let template = include_str!("../harness/millrace.toml");
        Self::new(&template.replace("{name}", "x").replace("{amqp}", "127.0.0.1:9").replace("{postgres}", "9"))
    }

    fn write(&self, toml: &str) {
        let [public, admin] = self.addresses().map(|address| address.to_string());
        let toml = toml.replace("{public}", &public).replace("{admin}", &admin);
        std::fs::write(self.path(), toml).expect("a configuration");
    }

    fn addresses(&self) -> [SocketAddr; 2] {
        self.ports.each_ref().map(|port| port.local_addr().expect("an address"))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("millrace.toml")
    }

    /// The text of the file, changed.
    fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path()).expect("a configuration");
        assert!(text.contains(from), "{from}");
        self.write(&text.replace(from, to));
    }

    async fn run(&self, program: &str) -> Ended {
        let arguments: &[&str] = if program == "millrace" { &["check-config"] } else { &[] };
        run(program, arguments, &[("MILLRACE_CONFIG", &self.path().display().to_string())]).await
    }
}

#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// The places of the mistakes it lists.
    fn places(&self) -> BTreeSet<String> {
        let lines = self.err.lines().filter_map(|line| line.strip_prefix("  "));
        lines.filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect()
    }
}

async fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = tokio::process::Command::new(binary(program));
    command.args(arguments).env_clear().envs(environment.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    let Output { status, stdout, stderr } = ended.unwrap_or_else(|_| panic!("{program} goes on")).expect("a program");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: status.code().expect("an exit code"), out: text(stdout), err: text(stderr) }
}

const MISTAKEN: &str = r#"
surprise = 1

[http]
listen = "{public}"
admin_listen = "{admin}"
lisen = "127.0.0.1:1"
max_body_bytes = 0
header_timeout_ms = "soon"
body_timeout_ms = [1]

[amqp]
addresses = ["amqp://me:hush-hush@127.0.0.1:9/x"]
[amqp.logins]
ingress = { password = "hush-hush" }
worker = { password_file = "keys/nowhere" }

[database]
url = "postgres://me:hush-hush@127.0.0.1:9/x"
context_key_file = "keys/not-hex"
connections = 100000

[sources.stripe]
provider = "stripe"
livemode = "perhaps"

[billing]
retry_policy = 5

[observability]
environment = "staging"
"#;

/// What every process finds in [`MISTAKEN`], whatever its part is.
const EVERYWHERE: [&str; 13] = [
    "surprise",
    "http.lisen",
    "http.max_body_bytes",
    "http.header_timeout_ms",
    "http.body_timeout_ms",
    "amqp.addresses",
    "amqp.logins.ingress.password",
    "database.url",
    "database.connections",
    "sources.stripe.livemode",
    "billing.retry_policy",
    "observability.environment",
    "database.context_key",
];

/// What only those find whose part it is.
fn own(program: &str) -> &'static [&'static str] {
    match program {
        "millrace-ingress" => &["sources.stripe.secrets", "publishers.ingress"],
        "millrace-billing" => &[
            "amqp.logins.worker.password_file",
            "database.logins.app.password",
            "database.logins.relay.password",
            "publishers.worker",
            "compliance.event_id_key",
        ],
        "millrace-relay" => &["amqp.logins.relay.password", "database.logins.relay.password"],
        "millrace-audit" => &["amqp.logins.audit.password", "compliance.audit_log_key", "compliance.audit_log_path"],
        _ => &["database.logins.migrator.password", "publishers.operator"],
    }
}

fn expected(program: &str) -> BTreeSet<String> {
    let everywhere = EVERYWHERE.iter().filter(|place| {
        // Those who need no context key do not read its file.
        **place != "database.context_key" || matches!(program, "millrace-billing" | "millrace")
    });
    let programs: &[&str] = if program == "millrace" { &PROGRAMS } else { &[program] };
    let own = programs.iter().flat_map(|program| own(program));
    everywhere.chain(own).map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_lists_all_mistakes_at_once_and_opens_no_port() {
    let folder = Folder::new(MISTAKEN);
    for program in PROGRAMS {
        let ended = folder.run(program).await;
        assert_eq!(ended.code, 64, "{program}: {}", ended.err);
        assert_eq!(ended.places(), expected(program), "{program}: {}", ended.err);
        let count = format!("{} mistake(s)", expected(program).len());
        assert!(ended.err.contains(&count), "{program}: {}", ended.err);
        assert_eq!(ended.out, "", "{program}: nothing listens");
        assert!(!ended.err.contains(SECRET), "{program} tells a secret: {}", ended.err);
    }
}

/// The control of the test above: it sees a process that opens a port.
#[tokio::test(flavor = "multi_thread")]
async fn without_mistakes_a_port_that_is_taken_is_the_next_fault() {
    let folder = Folder::sound();
    folder.change("admin_listen = \"127.0.0.1:0\"", "admin_listen = \"{admin}\"");
    for program in PROGRAMS.into_iter().filter(|program| *program != "millrace") {
        let ended = folder.run(program).await;
        assert_eq!(ended.code, 70, "{program}: {}", ended.err);
        assert!(ended.err.contains("cannot listen on"), "{program}: {}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ingress_asks_for_what_reads_need_only_where_a_reader_is_configured() {
    let folder = Folder::sound();
    folder.change("admin_listen = \"127.0.0.1:0\"", "admin_listen = \"{admin}\"");
    folder.change("context_key_file = \"keys/db-context\"\n", "");
    folder.change("url = \"postgres", "read_url = \"mysql");
    let ended = folder.run("millrace-ingress").await;
    let wanted = ["database.context_key", "database.read_url"].map(str::to_owned);
    assert_eq!((ended.code, ended.places()), (64, BTreeSet::from(wanted)), "{}", ended.err);
    folder.change("read_url = \"mysql://127.0.0.1:9/x\"\n", "");
    let ended = folder.run("millrace-ingress").await;
    let wanted = ["database.context_key", "database.url"].map(str::to_owned);
    assert_eq!((ended.code, ended.places()), (64, BTreeSet::from(wanted)), "{}", ended.err);
    folder.change("reader = { password_file = \"keys/db-reader\" }\n", "");
    let ended = folder.run("millrace-ingress").await;
    assert_eq!(ended.code, 70, "without a reader it starts: {}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_worker_asks_for_a_database_only_where_an_indexer_is_configured() {
    let folder = Folder::sound();
    folder.change("admin_listen = \"127.0.0.1:0\"", "admin_listen = \"{admin}\"");
    folder.change("url = \"postgres://127.0.0.1:9/x\"\n", "");
    folder.change("audit_log_path =", "audit_index_days = 4000\naudit_log_path =");
    let ended = folder.run("millrace-audit").await;
    let wanted = ["compliance.audit_index_days", "database.url"].map(str::to_owned);
    assert_eq!((ended.code, ended.places()), (64, BTreeSet::from(wanted)), "{}", ended.err);
    folder.change("audit_index_days = 4000", "audit_index_days = 0");
    folder.change("indexer = { password_file = \"keys/db-indexer\" }\n", "");
    let ended = folder.run("millrace-audit").await;
    assert_eq!(ended.code, 70, "without an indexer it starts: {}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_numbers_in_order_or_off() {
    let folder = Folder::sound();
    let file = folder.path().display().to_string();
    let check = async |rates: [(&str, &str); 4]| {
        let rates = rates.map(|(key, rate)| (format!("MILLRACE__LIMITS__{key}"), rate.to_owned()));
        let mut environment: Vec<(&str, &str)> = rates.iter().map(|(key, rate)| (&**key, &**rate)).collect();
        environment.push(("MILLRACE_CONFIG", &file));
        run("millrace", &["check-config"], &environment).await
    };
    let keys = ["SOFT_RATE", "HARD_RATE", "WEBHOOK_SOFT_RATE", "SOURCE_HARD_RATE"];
    for sound in [["off"; 4], ["1", "1", "1000000", "1000000"], ["off", "5", "9", "off"]] {
        let ended = check(std::array::from_fn(|n| (keys[n], sound[n]))).await;
        assert_eq!(ended.code, 0, "{sound:?}: {}", ended.err);
    }
    let mistaken = [
        (["fast", "0", "9", "3"], ["soft_rate", "hard_rate", "webhook_soft_rate"]),
        (["6", "5", "-1", "1000001"], ["soft_rate", "webhook_soft_rate", "source_hard_rate"]),
    ];
    for (rates, places) in mistaken {
        let ended = check(std::array::from_fn(|n| (keys[n], rates[n]))).await;
        let places = places.map(|key| format!("limits.{key}"));
        assert_eq!((ended.code, ended.places()), (64, BTreeSet::from(places)), "{}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_and_a_file_that_is_no_toml_end_with_64() {
    let folder = Folder::sound();
    let nowhere = folder.folder.path().join("nowhere.toml").display().to_string();
    for program in PROGRAMS {
        let check: &[&str] = if program == "millrace" { &["check-config"] } else { &[] };
        let missing = run(program, &[check, &["--config", &nowhere]].concat(), &[]).await;
        assert_eq!(missing.code, 64, "{program}: {}", missing.err);
        assert!(missing.err.contains(&nowhere) && missing.err.contains("MILLRACE_CONFIG"), "{}", missing.err);
    }
    folder.write("[http]\nmax_body_bytes = 5\nlisten = = 3\n");
    for program in PROGRAMS {
        let broken = folder.run(program).await;
        assert_eq!(broken.code, 64, "{program}: {}", broken.err);
        assert!(broken.err.contains("is not TOML") && broken.err.contains("line 3"), "{program}: {}", broken.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_line_says_is_not_repeated() {
    let folder = Folder::new("[amqp.logins.worker]\npassword = hush-hush\n");
    for program in PROGRAMS {
        let broken = folder.run(program).await;
        assert_eq!(broken.code, 64, "{program}: {}", broken.err);
        assert!(!broken.err.contains("hush"), "{program} tells a secret: {}", broken.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_the_environment_are_not_told_when_they_are_wrong() {
    let folder = Folder::sound();
    let wrong = [
        ("MILLRACE_CONFIG", folder.path().display().to_string()),
        ("MILLRACE__DATABASE__CONTEXT_KEY", SECRET.to_owned()),
        ("MILLRACE__COMPLIANCE__EVENT_ID_KEY", SECRET.to_owned()),
        ("MILLRACE__PUBLISHERS__WORKER-1__SECRET", SECRET.to_owned()),
        ("MILLRACE__AMQP__ADDRESSES", format!("amqp://me:{SECRET}@127.0.0.1/x")),
        ("MILLRACE__DATABASE__URL", format!("postgres://me:{SECRET}@127.0.0.1/x")),
    ];
    let wrong: Vec<(&str, &str)> = wrong.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let ended = run("millrace", &["check-config"], &wrong).await;
    assert_eq!(ended.code, 64, "{}", ended.err);
    let places = ["database.context_key", "compliance.event_id_key", "publishers.worker-1.secret", "amqp.addresses"];
    for place in places.into_iter().chain(["database.url"]) {
        assert!(ended.places().contains(place), "{place}: {}", ended.err);
    }
    assert!(!ended.err.contains(SECRET), "it tells a secret: {}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_wins_over_the_file() {
    let folder = Folder::sound();
    folder.change("[amqp]\n", "max_body_bytes = 0\n[amqp]\n");
    let file = folder.path().display().to_string();
    let config = ("MILLRACE_CONFIG", file.as_str());
    let mistaken = run("millrace", &["check-config"], &[config]).await;
    assert_eq!(mistaken.places(), BTreeSet::from(["http.max_body_bytes".to_owned()]), "{}", mistaken.err);
    let healed = [config, ("MILLRACE__HTTP__MAX_BODY_BYTES", "1000")];
    let ended = run("millrace", &["check-config"], &healed).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    let spoilt = [config, ("MILLRACE__HTTP__MAX_BODY_BYTES", "1000"), ("MILLRACE__HTTP__MAX_CONNECTIONS", "many")];
    let ended = run("millrace", &["check-config"], &spoilt).await;
    assert_eq!(ended.places(), BTreeSet::from(["http.max_connections".to_owned()]), "{}", ended.err);

    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let environment = [("MILLRACE_CONFIG", file.clone()), ("MILLRACE__HTTP__MAX_BODY_BYTES", "9".to_owned())];
    let environment = environment.into_iter().chain([("MILLRACE__HTTP__LISTEN", port.to_string())]);
    let environment: Vec<_> = environment.map(|(name, value)| (name.to_owned(), value)).collect();
    let mut ingress = Program::start("millrace-ingress", &environment, &folder.folder.path().join("log"));
    assert!(ingress.first_line().await.contains(&format!("\"listening\":\"{port}\"")));
    ingress.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn help_is_no_fault_and_an_unknown_argument_is() {
    for program in PROGRAMS {
        let help = run(program, &["--help"], &[]).await;
        assert_eq!((help.code, help.err.as_str()), (0, ""), "{program}");
        assert!(help.out.contains("Usage:") && help.out.contains("64"), "{program}: {}", help.out);
        assert_eq!(run(program, &["--no-such-thing"], &[]).await.code, 64, "{program}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_speaks_json_to_programs() {
    let folder = Folder::sound();
    let path = folder.path().display().to_string();
    let arguments = ["check-config", "--json", "--config", &path];
    let ended = run("millrace", &arguments, &[]).await;
    let facts: serde_json::Value = serde_json::from_str(&ended.out).expect("one JSON document");
    assert_eq!((ended.code, &facts["mistakes"]), (0, &serde_json::json!([])), "{facts}");

    folder.write(MISTAKEN);
    let ended = run("millrace", &arguments, &[]).await;
    let facts: serde_json::Value = serde_json::from_str(&ended.out).expect("one JSON document");
    assert_eq!(ended.code, 64, "{facts}");
    let mistakes = facts["mistakes"].as_array().expect("a list of mistakes");
    assert!(mistakes.iter().all(|mistake| mistake["place"].is_string() && mistake["problem"].is_string()), "{facts}");
    let told = facts.to_string();
    for place in expected("millrace") {
        assert!(told.contains(&place), "{place}: {told}");
    }
    assert!(!told.contains(SECRET), "it tells a secret: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_checks_what_one_process_needs() {
    let folder = Folder::new(MISTAKEN);
    let path = folder.path().display().to_string();
    for (process, program) in
        [("ingress", "millrace-ingress"), ("worker", "millrace-billing"), ("audit", "millrace-audit")]
    {
        let ended = run("millrace", &["check-config", "--for", process, "--config", &path], &[]).await;
        assert_eq!((ended.code, ended.places()), (64, expected(program)), "{process}: {}", ended.err);
    }
}

#[test]
fn production_is_quiet_by_default_and_development_is_not() {
    let folder = Folder::sound();
    let level = |lines: &str| {
        let text = std::fs::read_to_string(folder.path()).expect("a configuration");
        let (before, _) = text.split_once("[observability]").expect("the section");
        std::fs::write(folder.path(), format!("{before}[observability]\n{lines}")).expect("a configuration");
        let config = start(millrace::builtin(), &folder.path(), Process::All).expect("a configuration").1;
        (config.observability.environment, config.observability.log_level)
    };
    assert_eq!(level(""), (Environment::Production, "warn".to_owned()), "nothing said is production");
    assert_eq!(level("environment = \"production\""), (Environment::Production, "warn".to_owned()));
    assert_eq!(level("environment = \"development\""), (Environment::Development, "debug".to_owned()));
    let told = level("environment = \"production\"\nlog_level = \"info\"");
    assert_eq!(told, (Environment::Production, "info".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_logs_at_the_level_of_its_environment() {
    let folder = Folder::sound();
    folder.change("environment = \"development\"\nlog_level = \"info\"", "environment = \"{environment}\"");
    for (name, quiet) in [("production", true), ("development", false)] {
        let environment = [
            ("MILLRACE_CONFIG".to_owned(), folder.path().display().to_string()),
            ("MILLRACE__OBSERVABILITY__ENVIRONMENT".to_owned(), name.to_owned()),
        ];
        let log = folder.folder.path().join(name);
        let mut ingress = Program::start("millrace-ingress", &environment, &log);
        ingress.first_line().await;
        // Its broker is away, which is a warning everywhere.
        eventually("a warning", async || ingress.log_text().contains("\"level\":\"WARN\"").then_some(())).await;
        assert_eq!(ingress.terminate().await, 0);
        // It has told all of its life by now: where it listened is information.
        let said = std::fs::read_to_string(&log).expect("a log");
        assert_eq!(said.contains("\"level\":\"INFO\""), !quiet, "{name}: {said}");
    }
}

#[test]
fn mistakes_of_services_are_listed_with_the_others() {
    let folder = Folder::sound();
    let places = |process| match start(millrace::builtin(), &folder.path(), process) {
        Err(StartFault::Config(ConfigFault::Mistakes(mistakes))) => {
            mistakes.into_iter().map(|mistake| mistake.place).collect::<BTreeSet<_>>()
        }
        other => panic!("{other:?}"),
    };
    let mistaken = r#"
[services.worker]
consumes = ["projects.*"]
[services.idle]
password_file = "keys/amqp-crm"
[services.copy]
user = "millrace-worker"
password_file = "keys/amqp-crm"
publishes = true
consumes = ["project.*"]
[services.typo]
password_file = "keys/nowhere"
consumes = ["projects.**"]
surprise = 1
[sources.stripe]
"#;
    folder.change("[sources.stripe]\n", mistaken);
    let everywhere = [
        "services.worker.",
        "services.idle.consumes",
        "services.copy.consumes",
        "services.typo.consumes",
        "services.typo.surprise",
    ];
    // Only what sets up the broker has the passwords, every login's name and every key.
    let whole =
        ["services.worker.password", "services.typo.password_file", "services.copy.user", "services.copy.publishes"];
    let texts = |places: &[&str]| places.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(places(Process::Worker), texts(&everywhere));
    assert_eq!(places(Process::All), texts(&[everywhere.as_slice(), &whole].concat()));
}
