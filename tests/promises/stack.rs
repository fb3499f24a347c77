//! One command brings up a whole deployment of its own, and one takes it down without a trace.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use hyper::Method;
use lapin::ConnectionProperties;
use millrace_cli::local::{Guard, Place};
use millrace_tests::{HttpClient, Sample, audit_text, binary, eventually, run_cli, signature};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use time::OffsetDateTime;

/// What `env` promises to shells and tests.
const VARIABLES: [&str; 9] = [
    "MILLRACE_HTTP_URL",
    "MILLRACE_ADMIN_URL",
    "MILLRACE_AMQP_URL",
    "MILLRACE_DATABASE_URL",
    "MILLRACE_OWNER_DATABASE_URL",
    "MILLRACE_STRIPE_SECRET",
    "MILLRACE_AUDIT_LOG",
    "MILLRACE_DEMO_ORG",
    "MILLRACE_DEMO_CUSTOMER",
];
/// The servers of a stack and the processes beside its workers.
const OTHERS: [&str; 6] = ["postgres", "beam.smp", "epmd", "millrace-ingress", "millrace-relay", "millrace-audit"];

/// A folder for a stack. Dropped it is taken down with everything it has, also when the test fails or is killed.
struct Stack {
    folder: TempDir,
    guard: Option<Guard>,
}

impl Stack {
    /// In a folder that the servers' accounts can enter, or in one they cannot.
    fn new(mode: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("millrace-stack-").tempdir_in("/tmp").expect("a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).expect("permissions");
        Self { folder, guard: None }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    async fn millrace(&self, arguments: &[&str]) -> (i32, String) {
        let state = self.state().display().to_string();
        let Output { status, stdout, stderr } = run_cli(&[arguments, &["--state", &state]].concat(), &[]).await;
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.code().expect("an exit code"), said)
    }

    /// Runs a command that must succeed.
    async fn must(&self, arguments: &[&str]) -> String {
        let (code, said) = self.millrace(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    }

    /// Brings it up, and ties it to the life of this process.
    async fn up(&mut self, arguments: &[&str]) -> String {
        // Two that start in the same moment may choose the same free port.
        static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _alone = ONE.lock().await;
        let said = self.must(&[&["up", "--detach"], arguments].concat()).await;
        let place = self.place();
        let folders = [place.data.clone(), self.folder.path().to_owned()];
        self.guard.get_or_insert_with(|| Guard::tie(&place, &folders).expect("a guard"));
        said
    }

    fn id(&self) -> String {
        let text = std::fs::read(self.state().join("stack.json")).expect("the stack");
        let stack: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        stack["id"].as_str().expect("an id").to_owned()
    }

    fn place(&self) -> Place {
        Place::reachable_for_servers(&self.state().canonicalize().expect("the folder"), &self.id()).expect("a place")
    }

    fn env(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.state().join("env")).expect("env");
        let pairs = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }

    /// Its processes: those that carry its marker, work in its folders or were told its folder. No zombies.
    fn processes(&self, id: &str, place: &Place) -> Vec<(u32, String)> {
        let marker = format!("MILLRACE_STATE={id}");
        let state = self.state().display().to_string();
        let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let holds = |what: &str, wanted: &str| {
                let content = std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
                content.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
            };
            let inside = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default().starts_with(&place.data);
            is_alive(*pid) && (inside || holds("environ", &marker) || holds("cmdline", &state))
        })
        .map(|pid| (pid, program(pid)))
        .collect()
    }

    /// How many processes of a program it has.
    fn count(&self, name: &str) -> usize {
        self.processes(&self.id(), &self.place()).iter().filter(|(_, program)| program == name).count()
    }

    async fn is_ready(&self) -> bool {
        let url = format!("{}/api/health/ready", self.env()["MILLRACE_ADMIN_URL"]);
        let answer = HttpClient::default().send(Method::GET, &url, &[], Vec::new()).await;
        answer.is_some_and(|answer| answer.status == 200)
    }

    /// Rows of the demo's tenant, as the superuser sees them.
    async fn events(&self) -> Vec<String> {
        let mut owner = PgConnection::connect(&self.env()["MILLRACE_OWNER_DATABASE_URL"]).await.expect("the owner");
        let events = "SELECT event_id FROM app.billing_history WHERE org_id = $1 ORDER BY created_at";
        let org = self.env()["MILLRACE_DEMO_ORG"].clone();
        sqlx::query_scalar(events).bind(org).fetch_all(&mut owner).await.expect("events")
    }

    /// Posts an event of the demo's customer, signed with a secret.
    async fn post(&self, secret: &str) -> (u16, String) {
        let env = self.env();
        let event = Sample::paid_invoice(&env["MILLRACE_DEMO_CUSTOMER"], "sub_1");
        let body = event.body();
        let signed = signature(secret, OffsetDateTime::now_utc().unix_timestamp(), &body);
        let url = format!("{}/api/billing/webhooks", env["MILLRACE_HTTP_URL"]);
        let headers = [("stripe-signature", signed.as_str())];
        let answer = HttpClient::default().send(Method::POST, &url, &headers, body).await.expect("an answer");
        (answer.status, event.id)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let mut down = std::process::Command::new(binary("millrace"));
        let _ = down.args(["down", "--purge", "--state"]).arg(self.state()).output();
    }
}

/// Neither gone nor a zombie.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// File name of the program, since the kernel's own name is cut off.
fn program(pid: u32) -> String {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The demo's journey as `up` shows it; returns the event's id.
fn journey(said: &str) -> String {
    for leg in ["the journey of evt_", "accepted in ", "queued: ", "applied after ", "audit line after "] {
        assert!(said.contains(leg), "{leg:?} is missing: {said}");
    }
    let line = said.lines().map(str::trim).find(|line| line.starts_with('{')).expect("the audit line");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&line["org_id"], &line["outcome"]), (&"org_demo".into(), &"applied".into()), "{line}");
    let event = said.split("the journey of ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an event");
    assert!(line.to_string().contains(event), "{line}");
    event.to_owned()
}

/// Every variable is there, and true.
async fn variables_are_true(stack: &Stack) {
    let env = stack.env();
    for name in VARIABLES {
        assert!(env.get(name).is_some_and(|value| !value.is_empty()), "{name} is missing in env");
    }
    let mode = std::fs::metadata(stack.state().join("env")).expect("env").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "env holds passwords");
    let mut app = PgConnection::connect(&env["MILLRACE_DATABASE_URL"]).await.expect("the workers' login");
    let role: String = sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut app).await.expect("a role");
    assert_eq!(role, "millrace_app");
    let broker = lapin::Connection::connect(&env["MILLRACE_AMQP_URL"], ConnectionProperties::default()).await;
    broker.expect("the broker").create_channel().await.expect("a channel");
    let log = audit_text(Path::new(&env["MILLRACE_AUDIT_LOG"]));
    assert!(log.contains(&stack.events().await[0]), "{log}");
    assert!(stack.is_ready().await);
    let (status, id) = stack.post(&env["MILLRACE_STRIPE_SECRET"]).await;
    assert_eq!(status, 200);
    eventually("the event is applied", async || stack.events().await.contains(&id).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stacks_run_side_by_side_and_one_goes_without_a_trace() {
    let (mut first, mut second) = (Stack::new(0o700), Stack::new(0o755));
    let demo = journey(&first.up(&["--workers", "billing=2"]).await);
    variables_are_true(&first).await;
    assert_eq!(first.count("millrace-billing"), 2);

    journey(&second.up(&[]).await);
    assert!(first.is_ready().await && second.is_ready().await, "they do not run side by side");
    assert_eq!(second.count("millrace-billing"), 1);
    assert_eq!(second.post(&first.env()["MILLRACE_STRIPE_SECRET"]).await.0, 400, "two stacks share a secret");

    for (count, argument) in [(3, "billing=3"), (1, "billing=1"), (2, "billing=2")] {
        first.must(&["scale", argument]).await;
        assert_eq!(first.count("millrace-billing"), count, "after {argument}");
    }
    assert_eq!(first.millrace(&["scale", "nothing=1"]).await.0, 64, "a worker that is not there");
    let again = first.must(&["up", "--detach"]).await;
    assert!(again.contains("runs already") && again.contains(&first.env()["MILLRACE_HTTP_URL"]), "{again}");
    assert_eq!(first.count("millrace-billing"), 2, "a second up changes nothing");

    let (id, place, events) = (first.id(), first.place(), first.events().await);
    let found: Vec<String> = first.processes(&id, &place).into_iter().map(|(_, name)| name).collect();
    assert!(OTHERS.iter().all(|name| found.iter().any(|f| f == name)), "the processes are not seen: {found:?}");
    first.must(&["down"]).await;
    assert_eq!(first.processes(&id, &place), [], "left by down");
    assert_eq!(first.millrace(&["scale", "billing=1"]).await.0, 64, "nothing runs that could be scaled");
    assert!(second.is_ready().await, "down took the other stack with it");
    let secret = second.env()["MILLRACE_STRIPE_SECRET"].clone();
    assert_eq!(second.post(&secret).await.0, 200, "down took the other stack with it");

    let next = journey(&first.up(&[]).await);
    let now = first.events().await;
    assert_eq!(now[0], demo, "the data is gone");
    assert_eq!(now, [events, vec![next]].concat());
    purged(&first).await;
    assert!(second.is_ready().await, "down took the other stack with it");
    purged(&second).await;
}

/// Takes a stack down with its data, and looks for what is left of it.
async fn purged(stack: &Stack) {
    let (id, place) = (stack.id(), stack.place());
    stack.must(&["down", "--purge"]).await;
    assert_eq!(stack.processes(&id, &place), [], "left by down --purge");
    assert!(!stack.state().exists() && !place.data.exists(), "data left by down --purge");
    assert_eq!(stack.millrace(&["down"]).await.0, 0, "a second down has nothing to do");
}

/// `kill -9`, and waits until the process is gone.
async fn kill(pid: u32) {
    std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill");
    eventually("it is dead", async || (!is_alive(pid)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_supervisor_leaves_is_taken_down_too() {
    let mut stack = Stack::new(0o700);
    stack.up(&["--workers", "billing=2"]).await;
    let supervisor = std::fs::read_to_string(stack.state().join("supervisor.pid")).expect("its pid");
    let supervisor: u32 = supervisor.trim().parse().expect("a pid");
    assert_eq!(program(supervisor), "millrace");
    kill(supervisor).await;
    assert!(stack.is_ready().await, "the processes go on without their supervisor");
    let (id, place) = (stack.id(), stack.place());
    let said = stack.must(&["down"]).await;
    assert!(said.contains("leftover"), "{said}");
    assert_eq!(stack.processes(&id, &place), [], "left by down");
    purged(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_is_started_again() {
    let mut stack = Stack::new(0o755);
    stack.up(&[]).await;
    let (id, place) = (stack.id(), stack.place());
    let worker = |name: &str| stack.processes(&id, &place).into_iter().find(|(_, program)| program == name);
    for name in ["millrace-billing", "millrace-ingress", "millrace-audit"] {
        let (dead, _) = worker(name).expect("a process");
        kill(dead).await;
        eventually("another one runs", async || worker(name).filter(|(pid, _)| *pid != dead)).await;
    }
    let secret = stack.env()["MILLRACE_STRIPE_SECRET"].clone();
    eventually("the ingress is ready", async || stack.is_ready().await.then_some(())).await;
    let (status, event) = stack.post(&secret).await;
    assert_eq!(status, 200);
    let log = PathBuf::from(&stack.env()["MILLRACE_AUDIT_LOG"]);
    eventually("the audit line", async || audit_text(&log).contains(&event).then_some(())).await;
    purged(&stack).await;
}
