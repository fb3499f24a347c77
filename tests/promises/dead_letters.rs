//! What an operator makes of dead letters: each act is audited under the operator's name, a redriven message is applied
//! at most once, and one that dies again is a new letter.

mod choice;
mod many;
mod refusals;

use millrace::contract::{Field, WireMessage};
use millrace_tests::{Caller, Left, Program, World, eventually, run_cli};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How a command of the operator ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs `millrace dead …`.
async fn dead(world: &World, arguments: &[&str]) -> Said {
    let output = run_cli(&[&["dead"], arguments].concat(), &world.environment()).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().expect("an exit code"), out: text(&output.stdout), err: text(&output.stderr) }
}

impl Said {
    /// The JSON lines of a command that ended with this code.
    fn lines(&self, code: i32) -> Vec<Value> {
        assert_eq!(self.code, code, "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// The ids of letters, oldest first.
async fn letters(world: &World, condition: &str) -> Vec<String> {
    let statement = format!("SELECT id FROM engine.dead_letters WHERE {condition} ORDER BY id");
    let ids: Vec<Uuid> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_all(world.superuser()).await.expect("the letters");
    ids.into_iter().map(|id| id.to_string()).collect()
}

/// The audit lines of one of the operator's actions, once there are so many.
async fn acts(world: &World, action: &str, wanted: usize) -> Vec<Value> {
    let found = || world.lines().into_iter().filter(|line| line["action"] == action).collect::<Vec<_>>();
    eventually(&format!("{wanted} lines of {action}"), async || (found().len() >= wanted).then_some(())).await;
    let lines = found();
    assert_eq!(lines.len(), wanted, "more lines of {action} than acts");
    for line in &lines {
        assert_eq!((&line["actor_id"], &line["outcome"]), (&json!("operator:tester"), &json!("applied")), "{line}");
        assert_eq!(line["resource_type"], "dead_letter", "{line}");
    }
    lines
}

async fn until_outcome(world: &World, message_id: &str, wanted: &str) {
    eventually(&format!("{message_id} is {wanted}"), async || {
        (world.outcome("acme", message_id).await == wanted).then_some(())
    })
    .await;
}

const NAME: &str = "a name that nobody may see unasked";

fn editor() -> Caller {
    Caller::user("acme", "u1", "editor")
}

async fn command(world: &World, url: &str) -> String {
    world.command(url, &editor(), "projects.create", "k", &json!({ "name": NAME })).await
}

/// Everything a command needs, and a command that died because its tenant was not there for a day.
async fn a_dead_command(world: &World) -> (Vec<Program>, String, String) {
    let (ingress, url) = world.start_ingress().await;
    let others = ["millrace-projects", "millrace-relay", "millrace-audit"].map(|program| world.start(program));
    let message_id = command(world, &url).await;
    waits(world, "first_parked_at = now() - interval '25 hours', not_before = now()").await;
    until_outcome(world, &message_id, "dead:tenant_unknown").await;
    world.until_lines("dead", 1).await;
    (std::iter::once(ingress).chain(others).collect(), url, message_id)
}

/// Waits until the command is parked, and changes its row.
async fn waits(world: &World, change: &str) {
    let change = format!("UPDATE engine.parked SET {change} WHERE reason = 'tenant_unknown'");
    eventually("the command waits", async || {
        let changed =
            sqlx::query(sqlx::AssertSqlSafe(change.clone())).execute(world.superuser()).await.expect("a change");
        (changed.rows_affected() == 1).then_some(())
    })
    .await;
}

/// As `tenants create`, without waking what waits for it.
async fn make_the_tenant(world: &World) {
    world.execute("INSERT INTO app.tenants (org_id, name, plan) VALUES ('acme', 'Acme', 'enterprise')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_command_is_applied_once_though_a_copy_is_parked() {
    let world = World::new().await;
    let (programs, url, message_id) = a_dead_command(&world).await;
    assert_eq!(command(&world, &url).await, message_id);
    waits(&world, "not_before = now() + interval '1 hour'").await;
    make_the_tenant(&world).await;
    let id = &letters(&world, "reason = 'tenant_unknown' AND queue = 'work.projects.main'").await[0];

    let redriven = dead(&world, &["redrive", id, "--json", "--because", "the tenant is there now"]).await;
    assert_eq!(redriven.lines(0), [json!({ "redriven": 1, "refused": {}, "dry_run": false })]);
    until_outcome(&world, &message_id, "applied").await;
    world.until_lines("applied", 1).await;
    let marked = "select count(*) from engine.dead_letters where state = 'redriven' and marked_by = 'tester'
                  and because = 'the tenant is there now' and marked_at is not null and not forced";
    assert_eq!(world.count(marked).await, 1);

    let again = dead(&world, &["redrive", id]).await;
    assert_eq!(again.code, 65, "{again:?}");
    assert!(again.out.contains(&format!("{id}: redriven already, by tester at ")), "{again:?}");
    assert!(again.out.contains("0 letter(s) redriven, 1 left as they are"), "{again:?}");
    let discarded = dead(&world, &["discard", id, "--because", "x", "--json"]).await;
    assert_eq!(discarded.lines(65)[0]["refused"], "marked");

    let line = acts(&world, "dead.redrive", 1).await.remove(0);
    assert_eq!((&line["org_id"], line["resource_id"].as_str()), (&json!("acme"), Some(id.as_str())));
    let metadata = &line["metadata"];
    assert_eq!((&metadata["message_id"], &metadata["reason"]), (&json!(message_id), &json!("tenant_unknown")));
    assert!(metadata["because_sha256"].as_str().is_some_and(|hash| hash.len() == 64), "{line}");
    assert!(!line.to_string().contains("the tenant is there now"), "free text in a line: {line}");
    assert_eq!(command(&world, &url).await, message_id, "a copy once more");
    world.finish_with_projects(1).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_message_was_applied_through_a_copy_is_redriven_without_effect() {
    let world = World::new().await;
    let (programs, url, message_id) = a_dead_command(&world).await;
    make_the_tenant(&world).await;
    assert_eq!(command(&world, &url).await, message_id);
    until_outcome(&world, &message_id, "applied").await;
    let redriven = dead(&world, &["redrive", "--tenant", "acme", "--json"]).await;
    assert_eq!(redriven.lines(0)[0]["redriven"], 1);
    acts(&world, "dead.redrive", 1).await;
    world.until_lines("applied", 1).await;
    world.finish_with_projects(1).await;
    drop(programs);
}

/// Sealed commands of acme as dead letters, as a worker would have kept them.
async fn bury(world: &World, reason: &str, wires: Vec<WireMessage>) -> Vec<Uuid> {
    let (mut ids, mut identities, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    let (mut fields, mut bodies) = (Vec::new(), Vec::new());
    for wire in wires {
        let message_id = wire.get(Field::MessageId).expect("an id").to_owned();
        ids.push(Uuid::now_v7());
        identities.push(Sha256::digest(format!("ingress\0{message_id}")).to_vec());
        messages.push(message_id);
        fields.push(wire.fields_json());
        bodies.push(wire.body);
    }
    sqlx::query(
        "INSERT INTO engine.dead_letters
           (id, org_id, identity, publisher, message_id, message_type, queue, reason, attempts, fields, body)
         SELECT id, 'acme', identity, 'ingress', message_id, 'projects.create', 'work.projects.main', $6, 0, fields, body
         FROM UNNEST($1::uuid[], $2::bytea[], $3::text[], $4::jsonb[], $5::bytea[])
           AS n (id, identity, message_id, fields, body)",
    )
    .bind(&ids)
    .bind(&identities)
    .bind(&messages)
    .bind(&fields)
    .bind(&bodies)
    .bind(reason)
    .execute(world.superuser())
    .await
    .expect("letters");
    ids
}

/// The end of a test whose commands all made a project of acme.
trait Ending {
    async fn finish_with_projects(self, projects: i64);
}

impl Ending for World {
    async fn finish_with_projects(self, projects: i64) {
        self.until_count("select count(*) from engine.outbox", 0).await;
        for queue in ["work.projects.main", "work.projects.overflow"] {
            eventually("the queue is empty", async || (self.depth(queue).await == 0).then_some(())).await;
        }
        assert_eq!(self.count("select count(*) from app.projects where org_id = 'acme'").await, projects);
        assert_eq!(self.count("select count(*) from engine.dead_letters where state = 'open'").await, 0);
        let dead = self.count("select count(*) from engine.dead_letters").await;
        self.finish(Left { dead, parked: 0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_dies_again_is_a_second_letter_with_a_second_line_and_a_copy_is_neither() {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    let hollow =
        br#"{"id":"evt_hollow","type":"invoice.payment_failed","created":1,"livemode":false,"data":{"object":{}}}"#;
    let post = async || assert_eq!(world.post(&url, hollow.to_vec()).await.expect("an answer").status, 200);
    post().await;
    world.until_lines("dead", 1).await;
    for round in 1..3_i64 {
        // A copy before each redrive: it is known, and leaves nothing.
        post().await;
        let id = letters(&world, "state = 'open'").await.remove(0);
        assert_eq!(dead(&world, &["redrive", &id]).await.code, 0);
        let next = format!("select count(*) from engine.dead_letters where state = 'open' and redrives = {round}");
        world.until_count(&next, 1).await;
        world.until_lines("dead", usize::try_from(round).expect("a round") + 1).await;
    }
    post().await;
    world.accept(&url, &world.invoice_event("cus_1")).await;
    world.until_lines("applied", 1).await;
    let lines: Vec<Value> = world.lines().into_iter().filter(|line| line["outcome"] == "dead").collect();
    let redrives: Vec<&Value> = lines.iter().map(|line| &line["metadata"]["redrives"]).collect();
    assert_eq!(redrives, [&Value::Null, &json!(1), &json!(2)]);
    let mut ids: Vec<&str> = lines.iter().map(|line| line["event_id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each death has an event id of its own");
    let redriven = acts(&world, "dead.redrive", 2).await;
    let mut redrives: Vec<&Value> = redriven.iter().map(|line| &line["metadata"]["redrives"]).collect();
    redrives.sort_by_key(|number| number.as_i64());
    assert_eq!(redrives, [&json!(0), &json!(1)]);

    let last = letters(&world, "state = 'open'").await.remove(0);
    let discarded = dead(&world, &["discard", &last, "--because", "nobody can mend it"]).await;
    assert_eq!(discarded.code, 0, "{discarded:?}");
    assert!(discarded.out.contains("1 letter(s) discarded, 0 left as they are"), "{discarded:?}");
    let again = dead(&world, &["redrive", &last]).await;
    assert!(again.code == 65 && again.out.contains("discarded already, by tester"), "{again:?}");
    post().await;
    assert_eq!(acts(&world, "dead.discard", 1).await[0]["resource_id"], last);
    world.finish(Left { dead: 3, parked: 0 }).await;
    drop(programs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_shown_without_its_body_and_every_look_is_on_record_first() {
    let world = World::new().await;
    let (programs, _, message_id) = a_dead_command(&world).await;
    let id = &letters(&world, "true").await[0];
    let shown = dead(&world, &["show", id]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let text = ["tenant_unknown", &message_id, "millrace.work with key projects.overflow", "actor_id", "u1"];
    assert!(text.iter().all(|word| shown.out.contains(word)), "{shown:?}");
    let facts = dead(&world, &["show", id, "--json"]).await;
    let facts = &facts.lines(0)[0];
    assert_eq!((&facts["fields"]["type"], &facts["state"]), (&json!("projects.create"), &json!("open")));
    let listed = dead(&world, &["list"]).await;
    for said in [&shown.out, &facts.to_string(), &listed.out] {
        assert!(!said.contains(NAME), "a body that nobody asked for: {said}");
    }
    let body = json!({ "name": NAME }).to_string();
    let printed = dead(&world, &["show", id, "--body", "-"]).await;
    assert_eq!((printed.code, &printed.out), (0, &body), "{printed:?}");
    let file = world.config_path().with_file_name("body.json");
    let path = file.to_str().expect("a path");
    assert_eq!(dead(&world, &["show", id, "--body", path]).await.code, 0);
    assert_eq!(std::fs::read_to_string(&file).expect("the body"), body);
    let twice = dead(&world, &["show", id, "--body", path]).await;
    assert!(twice.code == 64 && twice.err.contains("cannot make"), "{twice:?}");

    let looks = acts(&world, "dead.show", 4).await;
    assert!(looks.iter().all(|line| line["org_id"] == "acme" && line["resource_id"] == id.as_str()));
    let bodies = looks.iter().filter(|line| line["metadata"] == json!({ "body": true })).count();
    assert_eq!(bodies, 2, "{looks:?}");
    assert_eq!(acts(&world, "dead.list", 1).await[0]["org_id"], "millrace:operator");
    world.finish(Left { dead: 1, parked: 0 }).await;
    drop(programs);
}
