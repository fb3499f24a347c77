mod node;
mod view;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use self::node::Node;
use super::identity::RunAs;
use super::processes::with_environment;
use super::server::Server;
use super::{LocalError, Place, SERVER, ports, programs};

const ACCOUNT: &str = "rabbitmq";
const EPMD_LIMIT: Duration = Duration::from_secs(10);
const START_LIMIT: Duration = Duration::from_secs(120);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const CTL_LIMIT: Duration = Duration::from_secs(60);
/// RabbitMQ 3.10 spends five seconds of this in its management plugin alone.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const EPMD_PATIENCE: Duration = Duration::from_secs(2);
const KILL_PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A private RabbitMQ node with the management plugin and a port mapper of its own. When dropped while it runs it is
/// told to stop, without waiting for it.
#[derive(Debug)]
pub struct RabbitMq {
    place: Place,
    node: Node,
    runner: RunAs,
    scripts: PathBuf,
    broker: Option<Server>,
    epmd: Option<Server>,
}

impl RabbitMq {
    /// Starts a node for the place and waits until it accepts AMQP connections and answers management requests.
    ///
    /// Name, cookie and administrator of the node are chosen at the first start and kept; so are its ports, unless
    /// another program has taken one in the meantime.
    ///
    /// # Errors
    /// Any [`LocalError`]; nothing is left running then.
    pub async fn start(place: &Place) -> Result<Self, LocalError> {
        Self::start_node(place, Node::load_or_create).await
    }

    /// Starts a further node, which joins the cluster of `first`, in a fresh place of its own. It shares the port mapper
    /// of `first`, which must therefore not be stopped before it (killing is no stop).
    ///
    /// # Errors
    /// Any [`LocalError`]; nothing is left running then.
    pub async fn join(place: &Place, first: &Self) -> Result<Self, LocalError> {
        Self::start_node(place, |place| Node::beside(&first.node, place)).await
    }

    async fn start_node(
        place: &Place,
        node: impl FnOnce(&Place) -> Result<Node, LocalError>,
    ) -> Result<Self, LocalError> {
        let place = place.prepare()?;
        let (scripts, runner) = (programs::rabbitmq_scripts()?, RunAs::decide(ACCOUNT)?);
        let home = place.rabbitmq();
        runner.own_directory(&home)?;
        if let Some(found) = with_environment(SERVER, &home.to_string_lossy()).first() {
            return Err(LocalError::Running { server: "RabbitMQ", pid: found.pid });
        }
        let node = node(&place)?;
        node.write_files(&home, runner)?;
        let mut rabbitmq = Self { place, node, runner, scripts, broker: None, epmd: None };
        rabbitmq.start_again().await?;
        Ok(rabbitmq)
    }

    /// AMQP URL of the administrator for a virtual host, with its password. Virtual host `/` exists from the start.
    #[must_use]
    pub fn amqp_url(&self, vhost: &str) -> String {
        let (user, password) = self.admin();
        let vhost = utf8_percent_encode(vhost, NON_ALPHANUMERIC);
        format!("amqp://{user}:{password}@127.0.0.1:{}/{vhost}", self.node.ports.amqp)
    }

    /// Host and port of the AMQP listener, for users of their own.
    #[must_use]
    pub fn amqp_address(&self) -> (String, u16) {
        ("127.0.0.1".to_owned(), self.node.ports.amqp)
    }

    /// Base URL of the management API, without a trailing slash and without credentials.
    #[must_use]
    pub fn management_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.node.ports.management)
    }

    /// Name and password of the administrator, who has all permissions on `/` only.
    #[must_use]
    pub fn admin(&self) -> (&str, &str) {
        (node::ADMIN, &self.node.password)
    }

    /// The node's name, for example `millrace-1a2b3c4d@localhost`.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node.name
    }

    /// The broker's process id while it runs, for tests that stop or kill it from the outside.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.broker.as_ref()?.pid()
    }

    /// Runs `rabbitmqctl` against this node and returns its standard output. Each call starts an Erlang machine, about
    /// a second of processor time: the management API is quicker.
    ///
    /// # Errors
    /// [`LocalError::Ctl`] when it fails or takes longer than a minute.
    pub async fn ctl(&self, args: &[&str]) -> Result<String, LocalError> {
        let failed = |output: String| LocalError::Ctl { command: args.first().unwrap_or(&"").to_string(), output };
        let port = ports::pick(1)?.first().copied().unwrap_or_default();
        let mut command = self.runner.command(&self.place, &self.scripts.join("rabbitmqctl"), &self.place.rabbitmq());
        command.envs(self.node.environment(&self.place.rabbitmq())).env_remove(SERVER).args(args);
        command.env("RABBITMQ_CTL_DIST_PORT_MIN", port.to_string()).env("RABBITMQ_CTL_DIST_PORT_MAX", port.to_string());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
        let finished = tokio::time::timeout(CTL_LIMIT, command.output()).await;
        let output = finished.map_err(|_| failed(format!("no answer within {} s", CTL_LIMIT.as_secs())))?;
        let output = output.map_err(|source| LocalError::Spawn { program: "rabbitmqctl".to_owned(), source })?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Stops the node in order, then its port mapper, and waits until both and all their helpers are gone, escalating
    /// to SIGKILL when it takes too long. Does nothing when nothing is running.
    pub async fn stop(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            broker.end(&[(Signal::TERM, STOP_PATIENCE), (Signal::KILL, KILL_PATIENCE)]).await;
        }
        if let Some(mut epmd) = self.epmd.take() {
            epmd.end(&[(Signal::TERM, EPMD_PATIENCE), (Signal::KILL, KILL_PATIENCE)]).await;
        }
        self.wait_for_helpers().await;
    }

    /// Kills the broker with SIGKILL and waits until it is gone. The port mapper stays.
    pub async fn kill(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            broker.end(&[(Signal::KILL, KILL_PATIENCE)]).await;
        }
    }

    /// Starts the stopped (or killed, or crashed) node again with the same name, ports and data. Does nothing when it
    /// is running.
    ///
    /// # Errors
    /// Any [`LocalError`]; nothing is left running then.
    pub async fn start_again(&mut self) -> Result<(), LocalError> {
        if self.pid().is_some() {
            return Ok(());
        }
        let mut started = self.start_epmd().await;
        if started.is_ok() {
            started = self.start_broker().await;
        }
        if started.is_err() {
            self.kill().await;
            self.stop().await;
        }
        started
    }

    async fn start_epmd(&mut self) -> Result<(), LocalError> {
        if self.node.joins.is_some() || self.epmd.as_mut().is_some_and(Server::is_running) {
            return Ok(());
        }
        let (port, home) = (self.node.ports.epmd, self.place.rabbitmq());
        if !ports::is_free(port) {
            return Err(LocalError::PortTaken { port });
        }
        let mut command = self.runner.command(&self.place, &programs::epmd()?, &home);
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        let epmd = self.epmd.insert(Server::spawn("epmd", command, &self.place.logs.join("epmd.log"), Signal::TERM)?);
        epmd.wait_ready(EPMD_LIMIT, async |_| connect(port).await.is_some()).await
    }

    async fn start_broker(&mut self) -> Result<(), LocalError> {
        let (ports, home) = (self.node.ports, self.place.rabbitmq());
        if let Some(port) =
            [ports.amqp, ports.management, ports.distribution].into_iter().find(|port| !ports::is_free(*port))
        {
            return Err(LocalError::PortTaken { port });
        }
        let mut command = self.runner.command(&self.place, &self.scripts.join("rabbitmq-server"), &home);
        command.envs(self.node.environment(&home)).envs(self.node.server_environment());
        command.envs(view::without_unused_plugins(&self.scripts, &home).map(|view| ("RABBITMQ_SCRIPTS_DIR", view)));
        let log = self.place.logs.join("rabbitmq.log");
        let broker = self.broker.insert(Server::spawn("RabbitMQ", command, &log, Signal::TERM)?);
        broker.wait_ready(START_LIMIT, async |_| speaks_amqp(ports.amqp).await && manages(ports.management).await).await
    }

    /// The broker's helpers (name resolution, disk monitor) end when they notice that it is gone.
    async fn wait_for_helpers(&self) {
        let home = self.place.rabbitmq().to_string_lossy().into_owned();
        let begin = Instant::now();
        while begin.elapsed() < KILL_PATIENCE {
            let helpers = with_environment(SERVER, &home);
            if helpers.is_empty() {
                return;
            }
            if begin.elapsed() > EPMD_PATIENCE {
                helpers.iter().for_each(|helper| helper.signal(Signal::KILL));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn connect(port: u16) -> Option<TcpStream> {
    TcpStream::connect(("127.0.0.1", port)).await.ok()
}

/// Sends `request` and reads as many bytes as `answer` can hold.
async fn ask(port: u16, request: &[u8], answer: &mut [u8]) -> bool {
    let Some(mut stream) = connect(port).await else { return false };
    let exchange = async {
        stream.write_all(request).await?;
        stream.read_exact(answer).await
    };
    matches!(tokio::time::timeout(ANSWER_LIMIT, exchange).await, Ok(Ok(_)))
}

/// A broker answers the protocol header with `connection.start`: frame type 1 on channel 0.
async fn speaks_amqp(port: u16) -> bool {
    let mut frame = [0; 3];
    ask(port, b"AMQP\0\0\x09\x01", &mut frame).await && frame == [1, 0, 0]
}

/// The API refuses a request without credentials, which is an answer all the same.
async fn manages(port: u16) -> bool {
    let mut status = [0; 12];
    let request = b"GET /api/overview HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    ask(port, request, &mut status).await && &status == b"HTTP/1.1 401"
}
