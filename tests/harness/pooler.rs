//! PgBouncer in transaction mode before a world's database, with fewer sessions than it has clients.

use std::path::Path;
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::{World, eventually};

/// Sessions that each login has at the server, however many connections it has here.
const SESSIONS: u32 = 2;

/// A private PgBouncer. Dropped it is killed.
pub struct PgBouncer {
    port: u16,
    _child: Child,
}

impl PgBouncer {
    /// Starts one before the world's PostgreSQL. A lenient one ignores a start-up parameter that it cannot keep track of,
    /// as many are configured to.
    ///
    /// # Panics
    /// When it is not installed: `deploy/packages --tests` installs it.
    pub async fn start(world: &World, lenient: bool) -> Self {
        let port = millrace_cli::local::ports::pick(1).expect("a port")[0];
        let postgres = world.servers().postgres.lock().await.port();
        let folder = world.config_path().with_file_name(format!("pgbouncer-{port}"));
        std::fs::create_dir(&folder).expect("a folder");
        let users = folder.join("users.txt");
        let logins =
            ["app", "relay", "reader", "migrator"].map(|role| format!("\"millrace_{role}\" \"only for tests\"\n"));
        std::fs::write(&users, logins.concat()).expect("users");
        let ignored = if lenient { "ignore_startup_parameters = extra_float_digits\n" } else { "" };
        let file = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={postgres}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = {SESSIONS}\nmax_client_conn = 200\n{ignored}",
            users.display()
        );
        std::fs::write(&file, text).expect("a configuration");
        let child = spawn(world, &file, &folder.join("log"));
        eventually("PgBouncer listens", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        Self { port, _child: child }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// It refuses to run as root, and becomes PostgreSQL's account then, after it has read its files.
fn spawn(world: &World, file: &Path, log: &Path) -> Child {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let log = std::fs::File::create(log).expect("a log");
    let mut command = Command::new("pgbouncer");
    command.args(if root { &["-u", "postgres"][..] } else { &[] }).arg(file);
    command.envs(world.environment()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command.spawn().expect("pgbouncer; install it with: deploy/packages --tests")
}
