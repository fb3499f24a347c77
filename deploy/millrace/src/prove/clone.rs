//! A scratch database with the schema of the live one and none of its rows.

use std::path::PathBuf;
use std::process::Stdio;
use std::str::FromStr;

use millrace::db::ContextKey;
use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use url::Url;
use uuid::Uuid;

use super::ProveFault;
use crate::local::postgres_programs;

/// Parameters of a URL that our driver alone knows.
const OURS: [&str; 1] = ["statement-cache-capacity"];

/// The scratch database. [`Scratch::drop_database`] removes it.
pub(super) struct Scratch {
    admin: PgConnectOptions,
    name: String,
}

impl Scratch {
    /// Makes an empty database of the same locale.
    pub(super) async fn create(admin_url: &str, live: &str) -> Result<Self, ProveFault> {
        let admin = PgConnectOptions::from_str(admin_url)?;
        let name = format!("millrace_prove_{}", Uuid::now_v7().simple());
        let mut connection = admin.connect().await?;
        let statement: Option<String> = sqlx::query_scalar(
            "SELECT format('CREATE DATABASE %I OWNER millrace_owner TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L',
               $1, pg_encoding_to_char(encoding), datcollate, datctype) FROM pg_database WHERE datname = $2",
        )
        .bind(&name)
        .bind(live)
        .fetch_optional(&mut connection)
        .await?;
        let statement = statement.ok_or_else(|| ProveFault::NoDatabase(live.to_owned()))?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(Self { admin, name })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A superuser's login to it.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.admin.clone().database(&self.name)
    }

    /// Copies the schema of the live database, and gives the clone the pads of a key of its own.
    pub(super) async fn fill(&self, admin_url: &str, live: &str, key: &ContextKey) -> Result<(), ProveFault> {
        let dump = Client::new("pg_dump", admin_url, live)?;
        let schema = dump.run(&["--schema-only", "--no-publications", "--no-subscriptions"], Vec::new()).await?;
        let restore = Client::new("psql", admin_url, &self.name)?;
        restore.run(&["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-"], schema).await?;
        let mut connection: PgConnection = self.options().connect().await?;
        let (inner, outer) = key.pads();
        sqlx::query!("INSERT INTO priv.k (ipad, opad) VALUES ($1, $2) ON CONFLICT DO NOTHING", inner, outer)
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        Ok(())
    }

    /// Plants rows for good.
    pub(super) async fn plant(&self, statements: &[String]) -> Result<(), ProveFault> {
        let mut connection: PgConnection = self.options().connect().await?;
        let mut tx = connection.begin().await?;
        for statement in statements {
            sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        connection.close().await?;
        Ok(())
    }

    /// Removes it, whoever is still connected.
    pub(super) async fn drop_database(&self) -> Result<(), ProveFault> {
        let mut connection = self.admin.connect().await?;
        // The name is our own: letters, digits and underscores.
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }
}

/// One of PostgreSQL's own programs, with a login. The password goes through its environment, since arguments can be
/// read by everybody on the host.
struct Client {
    program: &'static str,
    path: PathBuf,
    url: Url,
    password: String,
}

impl Client {
    fn new(program: &'static str, admin_url: &str, database: &str) -> Result<Self, ProveFault> {
        let path = postgres_programs().map(|folder| folder.join(program)).filter(|path| path.is_file());
        let path = path.unwrap_or_else(|| PathBuf::from(program));
        let mut url = Url::parse(admin_url)?;
        let password = percent_decode_str(url.password().unwrap_or_default()).decode_utf8_lossy().into_owned();
        let _ = url.set_password(None);
        url.set_path(database);
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(key, _)| !OURS.contains(&key.as_ref()))
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        Ok(Self { program, path, url, password })
    }

    /// Runs it to its end; returns what it wrote.
    async fn run(&self, arguments: &[&str], input: Vec<u8>) -> Result<Vec<u8>, ProveFault> {
        let mut command = Command::new(&self.path);
        command.args(arguments).arg("--dbname").arg(self.url.as_str()).env("PGCONNECT_TIMEOUT", "10");
        if !self.password.is_empty() {
            command.env("PGPASSWORD", &self.password);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let missing = |source| ProveFault::Missing { program: self.program, source };
        let mut child = command.spawn().map_err(missing)?;
        let stdin = child.stdin.take();
        let feed = async move {
            // A program that ended early says why itself.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(&input).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        let output = output.map_err(missing)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ProveFault::Client { program: self.program, said })
    }
}
