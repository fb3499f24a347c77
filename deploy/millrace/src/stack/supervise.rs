//! The supervisor: brings everything up in order, keeps it up, takes it down in order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace::config::{Process, start};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::control::StateDir;
use super::files::{self, Ports};
use super::journey::{self, Watch};
use super::processes::Processes;
use crate::local::{self, Durability, Postgres, RabbitMq, stop_leftovers};
use crate::migrate::migrate_with;
use crate::screen::Screen;
use crate::topology::BrokerAdmin;
use crate::{App, CommandFault, apply_topology, bootstrap};

/// How often processes are looked after, and how often a status line is printed.
const LOOK: Duration = Duration::from_millis(500);
const STATUS_EVERY: u32 = 60;

/// Runs a stack until it is told to stop.
pub(super) async fn run(
    app: App,
    state: StateDir,
    counts: BTreeMap<String, usize>,
    screen: &Screen,
    detached: bool,
) -> Result<(), CommandFault> {
    state.write_pid()?;
    state.set_ready(false)?;
    state.write_counts(&counts)?;
    let (mut stop, mut rescale) = (Stop::listen()?, signal(SignalKind::user_defined1())?);
    let place = state.place()?;
    let mut servers = tokio::select! {
        started = Servers::start(&state, screen) => started?,
        () = stop.stopped() => {
            stop_leftovers(&place.marker, &place).await?;
            return Ok(());
        }
    };
    let mut processes = Processes::new(state.clone(), servers.marker.clone())?;
    let stack = Stack { state: &state, servers: &servers, screen, detached };
    let ended = tokio::select! {
        ended = stack.serve(app, counts, &mut processes, &mut rescale) => ended,
        () = stop.stopped() => Ok(()),
    };
    screen.step("draining");
    state.set_ready(false)?;
    processes.stop_all().await;
    servers.stop().await;
    stop_leftovers(&place.marker, &place).await?;
    screen.tell("stopped");
    ended
}

/// Ctrl-C, SIGTERM, or a terminal that was closed.
struct Stop {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn stopped(&mut self) {
        tokio::select! { _ = self.int.recv() => {}, _ = self.term.recv() => {}, _ = self.hup.recv() => {} }
    }
}

struct Servers {
    postgres: Postgres,
    rabbit: RabbitMq,
    ports: Ports,
    marker: String,
}

impl Servers {
    async fn start(state: &StateDir, screen: &Screen) -> Result<Self, CommandFault> {
        let place = state.place()?;
        stop_leftovers(&place.marker, &place).await?;
        screen.step("starting a private PostgreSQL and a private RabbitMQ");
        let began = Instant::now();
        // A failure of one drops the other, which stops it.
        let (postgres, rabbit) = tokio::try_join!(Postgres::start(&place, Durability::Full), RabbitMq::start(&place))?;
        screen.tell(&format!(
            "  PostgreSQL on port {}, RabbitMQ on port {}, after {:.1} s",
            postgres.port(),
            rabbit.amqp_address().1,
            began.elapsed().as_secs_f64()
        ));
        let ports = Ports::choose(state)?;
        Ok(Self { postgres, rabbit, ports, marker: place.marker })
    }

    async fn stop(&mut self) {
        tokio::join!(self.postgres.stop(local::Stop::Fast), self.rabbit.stop());
    }
}

/// A stack whose servers run.
struct Stack<'a> {
    state: &'a StateDir,
    servers: &'a Servers,
    screen: &'a Screen,
    detached: bool,
}

impl Stack<'_> {
    /// Prepares the servers, starts the processes, shows the demo's journey, and then watches.
    async fn serve(
        &self,
        app: App,
        counts: BTreeMap<String, usize>,
        processes: &mut Processes,
        rescale: &mut Signal,
    ) -> Result<(), CommandFault> {
        self.prepare(&app).await?;
        self.screen.step("starting ingress, relay, audit and workers");
        for name in ["audit", "relay", "ingress"] {
            processes.ensure(name, 0)?;
        }
        self.apply(processes, &counts).await?;
        let watch = Watch::new(self.state, &self.servers.postgres, self.servers.ports)?;
        watch.ingress_ready(processes, self.screen).await?;
        journey::show(app.contract, self.state, &watch, self.screen).await?;
        self.state.set_ready(true)?;
        if !self.detached {
            self.screen.tell(&format!(
                "\nhttp  {}\nadmin {}\nenv   . {}\n\nCtrl-C drains and stops all of it.",
                watch.public_url(),
                watch.admin_url(),
                self.state.env_file().display()
            ));
        }
        self.look_after(processes, &watch, rescale).await
    }

    /// Configuration, schema, topology: the same functions that serve servers of one's own choice.
    async fn prepare(&self, app: &App) -> Result<(), CommandFault> {
        let Servers { postgres, rabbit, ports, .. } = self.servers;
        files::write(self.state, postgres, rabbit, *ports)?;
        let (contract, config) = start(app.contract.clone(), &self.state.config_file(), Process::All)?;
        self.screen.step("migrating the database");
        bootstrap(&config, &postgres.superuser_url("postgres")).await?;
        migrate_with(&config, app.migrations.as_ref()).await?;
        self.screen.step("declaring queues, policies, users and permissions");
        let (user, password) = rabbit.admin();
        let management = rabbit.management_url().parse().map_err(|_| "the management address is no URL")?;
        let admin = BrokerAdmin::new(management, user, password.to_owned().into());
        apply_topology(&contract, &config, &admin).await?;
        files::write_env(self.state, postgres, rabbit, *ports)
    }

    async fn apply(&self, processes: &mut Processes, counts: &BTreeMap<String, usize>) -> Result<(), CommandFault> {
        for (name, count) in counts {
            processes.scale(name, *count).await?;
        }
        self.state.write_running(counts)
    }

    /// Until somebody says stop: changes counts when told, revives what died, and prints a line now and then.
    async fn look_after(
        &self,
        processes: &mut Processes,
        watch: &Watch,
        rescale: &mut Signal,
    ) -> Result<(), CommandFault> {
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                _ = rescale.recv() => self.apply(processes, &self.state.read_counts()?).await?,
                () = tokio::time::sleep(LOOK) => {}
            }
            for (name, log) in processes.revive()? {
                self.screen.tell(&format!("{name} had died and was started again: read {}", log.display()));
            }
            looks += 1;
            if looks.is_multiple_of(STATUS_EVERY) {
                self.screen.tell(&watch.status(&self.state.read_counts()?).await);
            }
        }
    }
}
