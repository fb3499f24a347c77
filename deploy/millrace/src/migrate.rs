//! `millrace migrate`

use std::str::FromStr;

use clap::Args;
use millrace::config::{Config, DatabaseUser, Process, start};
use millrace::db::{ContextKey, connect_options};
use secrecy::ExposeSecret;
use serde_json::json;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::commands::ConfigFile;
use crate::operator::Usage;
use crate::screen::Screen;
use crate::{App, CommandFault};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// Where an adopter's migrations are remembered. In Millrace's own table its version 1 would be Millrace's.
pub(crate) const ADOPTERS_TABLE: &str = "public._adopter_migrations";

/// Environment variable with the URL of a login that may make roles and databases.
pub(crate) const ADMIN_URL: &str = "MILLRACE_ADMIN_DATABASE_URL";

#[derive(Debug, Args)]
#[command(after_help = "With $MILLRACE_ADMIN_DATABASE_URL set (a superuser; needed once), roles, passwords and the \
    database are made first. Without it only the migrator's own login is used.")]
pub(crate) struct Migrate {
    #[command(flatten)]
    config: ConfigFile,
}

impl Migrate {
    pub(crate) async fn run(&self, app: App, screen: &Screen) -> Result<(), CommandFault> {
        let admin = std::env::var(ADMIN_URL).ok();
        // Only those who make the logins need every password.
        let process = if admin.is_some() { Process::All } else { Process::Operator };
        let (_, config) = start(app.contract, &self.config.path(), process)?;
        if let Some(admin) = admin {
            screen.step("making roles and database");
            bootstrap(&config, &admin).await?;
        }
        let applied = migrate_with(&config, app.migrations.as_ref()).await?;
        let own = app.migrations.map_or(0, |migrations| migrations.iter().count());
        let of_adopter = if own > 0 { format!(", {own} of them your own") } else { String::new() };
        screen.done(
            &format!("schema is up to date ({applied} migrations{of_adopter})"),
            json!({ "migrations": applied, "own": own }),
        );
        Ok(())
    }
}

/// Makes the roles with the configured passwords, and the database. What is there stays; passwords are set anew.
///
/// # Errors
/// The login may not do this, or the server is away.
pub async fn bootstrap(config: &Config, admin_url: &str) -> Result<(), CommandFault> {
    let url = config.database.url.as_ref().ok_or_else(|| Usage("database.url is missing".to_owned()))?;
    let database = url.path().trim_start_matches('/').to_owned();
    let mut admin = PgConnectOptions::from_str(admin_url)?.connect().await?;
    // Passwords are about to stand in statements, and must not stand in the server's log. A managed server may forbid
    // this; its log is its provider's then.
    for quiet in ["log_statement = 'none'", "log_min_duration_statement = -1", "log_min_error_statement = panic"] {
        let _ = sqlx::raw_sql(AssertSqlSafe(format!("SET {quiet}"))).execute(&mut admin).await;
    }
    sqlx::raw_sql(include_str!("roles.sql")).execute(&mut admin).await?;
    for user in DatabaseUser::ALL {
        if let Some(login) = config.database.logins.get(&user) {
            let statement: String = sqlx::query_scalar("SELECT format('ALTER ROLE %I PASSWORD %L', $1, $2)")
                .bind(&login.user)
                .bind(login.password.expose_secret())
                .fetch_one(&mut admin)
                .await?;
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
        }
    }
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
        .bind(&database)
        .fetch_one(&mut admin)
        .await?;
    if !there {
        for template in [
            "CREATE DATABASE %I OWNER millrace_owner",
            "REVOKE ALL ON DATABASE %I FROM PUBLIC",
            "GRANT CONNECT ON DATABASE %I TO millrace_migrator, millrace_app, millrace_reader, millrace_relay, \
             millrace_indexer",
        ] {
            let statement: String = sqlx::query_scalar("SELECT format($1, $2)")
                .bind(template)
                .bind(&database)
                .fetch_one(&mut admin)
                .await?;
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
        }
    }
    admin.close().await?;
    Ok(())
}

/// Applies what is missing of the schema, as the owner, and gives the database the pads of the context key. Returns
/// how many migrations the schema has.
///
/// # Errors
/// The migrator may not log in, or a migration fails; it is rolled back then.
pub async fn migrate(config: &Config) -> Result<usize, CommandFault> {
    migrate_with(config, None).await
}

/// As [`migrate`], with an adopter's own migrations after Millrace's.
pub(crate) async fn migrate_with(config: &Config, adopters: Option<&Migrator>) -> Result<usize, CommandFault> {
    let key = config.database.context_key.as_ref().map(ContextKey::new);
    let key = key.ok_or_else(|| Usage("database.context_key is missing".to_owned()))?;
    let mut connection: PgConnection = connect_options(&config.database, DatabaseUser::Migrator)?.connect().await?;
    sqlx::raw_sql("SET ROLE millrace_owner").execute(&mut connection).await?;
    MIGRATIONS.run(&mut connection).await?;
    let (inner, outer) = key.pads();
    sqlx::query!("INSERT INTO priv.k (ipad, opad) VALUES ($1, $2) ON CONFLICT DO NOTHING", inner, outer)
        .execute(&mut connection)
        .await?;
    if let Some(adopters) = adopters {
        adopters.run(&mut connection).await?;
    }
    connection.close().await?;
    Ok(MIGRATIONS.iter().count() + adopters.map_or(0, |migrations| migrations.iter().count()))
}
