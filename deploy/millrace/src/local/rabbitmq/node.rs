use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::identity::RunAs;
use super::super::place::write_secret;
use super::super::{LocalError, Place, ports};

/// Name of the administrator of every local node.
pub(super) const ADMIN: &str = "millrace-admin";

/// What must stay the same when a node is started again: RabbitMQ keeps its data under the node's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) cookie: String,
    pub(super) password: String,
    pub(super) ports: Ports,
    /// The node whose cluster it joins at its first start, and whose port mapper it uses.
    #[serde(default)]
    pub(super) joins: Option<String>,
}

/// Ports on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) amqp: u16,
    pub(super) management: u16,
    pub(super) distribution: u16,
    pub(super) epmd: u16,
}

impl Node {
    /// Reads the place's node, replacing ports that are in use now, or makes a new one, and stores it.
    pub(super) fn load_or_create(place: &Place) -> Result<Self, LocalError> {
        let path = place.data.join("rabbitmq.json");
        let mut node = if path.is_file() { Self::load(&path)? } else { Self::create()? };
        node.ports.replace_taken()?;
        node.store(&path)?;
        Ok(node)
    }

    /// Makes a further node for a place of its own, which will join the cluster of `first`.
    pub(super) fn beside(first: &Self, place: &Place) -> Result<Self, LocalError> {
        let mut node = Self::create()?;
        node.cookie.clone_from(&first.cookie);
        node.password.clone_from(&first.password);
        node.ports.epmd = first.ports.epmd;
        node.joins = Some(first.name.clone());
        node.store(&place.data.join("rabbitmq.json"))?;
        Ok(node)
    }

    fn store(&self, path: &Path) -> Result<(), LocalError> {
        let stored =
            serde_json::to_vec_pretty(self).map_err(|source| LocalError::Damaged { path: path.to_owned(), source })?;
        write_secret(path, &stored)
    }

    fn load(path: &Path) -> Result<Self, LocalError> {
        let stored = fs::read(path).map_err(LocalError::file("read", path))?;
        serde_json::from_slice(&stored).map_err(|source| LocalError::Damaged { path: path.to_owned(), source })
    }

    fn create() -> Result<Self, LocalError> {
        Ok(Self {
            name: format!("millrace-{}@localhost", hex::encode(rand::random::<[u8; 4]>())),
            cookie: hex::encode_upper(rand::random::<[u8; 16]>()),
            password: hex::encode(rand::random::<[u8; 24]>()),
            ports: Ports::pick()?,
            joins: None,
        })
    }

    /// Writes what RabbitMQ reads from its directory: the Erlang cookie, the plugins and the configuration.
    pub(super) fn write_files(&self, home: &Path, runner: RunAs) -> Result<(), LocalError> {
        let files = [
            (".erlang.cookie", self.cookie.clone()),
            ("enabled_plugins", "[rabbitmq_management].\n".to_owned()),
            ("rabbitmq.conf", self.configuration()),
        ];
        for (name, content) in files {
            let path = home.join(name);
            write_secret(&path, content.as_bytes())?;
            runner.give(&path)?;
        }
        Ok(())
    }

    fn configuration(&self) -> String {
        let Ports { amqp, management, .. } = self.ports;
        let password = &self.password;
        let cluster = self.joins.as_ref().map_or_else(String::new, |first| {
            format!(
                "cluster_formation.peer_discovery_backend = classic_config\n\
                 cluster_formation.classic_config.nodes.1 = {first}\n\
                 cluster_formation.classic_config.nodes.2 = {}\n",
                self.name
            )
        });
        format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {management}\n\
             loopback_users.guest = true\n\
             default_user = {ADMIN}\n\
             default_pass = {password}\n\
             default_user_tags.administrator = true\n\
             disk_free_limit.absolute = 50MB\n\
             vm_memory_high_watermark.relative = 0.4\n\
             max_message_size = 134217728\n\
             log.file = false\n\
             log.console = true\n\
             log.console.level = info\n\
             {cluster}"
        )
    }

    /// What server and command line tools have in common. Every path that RabbitMQ would otherwise look up in the
    /// system's directories is named, so that a node of the system and its settings are never seen.
    pub(super) fn environment(&self, home: &Path) -> Vec<(&'static str, PathBuf)> {
        let inside = |name: &str| home.join(name);
        vec![
            ("RABBITMQ_NODENAME", PathBuf::from(&self.name)),
            ("RABBITMQ_CONF_ENV_FILE", PathBuf::from("/dev/null")),
            ("RABBITMQ_CONFIG_FILE", inside("rabbitmq.conf")),
            ("RABBITMQ_CONFIG_FILES", inside("none")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", inside("none.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", inside("enabled_plugins")),
            ("RABBITMQ_PLUGINS_EXPAND_DIR", inside("plugins")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", inside("config")),
            ("RABBITMQ_MNESIA_BASE", inside("nodes")),
            ("RABBITMQ_LOG_BASE", inside("logs")),
            ("RABBITMQ_LOGS", PathBuf::from("-")),
            ("RABBITMQ_PID_FILE", inside("broker.pid")),
            ("RABBITMQ_DIST_PORT", PathBuf::from(self.ports.distribution.to_string())),
            ("ERL_EPMD_PORT", PathBuf::from(self.ports.epmd.to_string())),
            ("ERL_EPMD_ADDRESS", PathBuf::from("127.0.0.1")),
            ("ERL_CRASH_DUMP", inside("erl_crash.dump")),
        ]
    }

    /// What only the server gets. `detached` makes the start script become the broker instead of waiting for it.
    /// Naming the node on Erlang's own command line spares RabbitMQ a second Erlang machine, which it would start
    /// just to see whether the port mapper runs: a second and a half of each start.
    pub(super) fn server_environment(&self) -> [(&'static str, String); 2] {
        let (name, port) = (&self.name, self.ports.distribution);
        let arguments = format!(
            "-sname {name} -start_epmd false -kernel inet_dist_use_interface {{127,0,0,1}} \
             -kernel inet_dist_listen_min {port} -kernel inet_dist_listen_max {port}"
        );
        [("detached", "true".to_owned()), ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", arguments)]
    }
}

impl Ports {
    fn pick() -> Result<Self, LocalError> {
        let mut picked = ports::pick(4)?.into_iter();
        let mut next = || picked.next().unwrap_or_default();
        Ok(Self { amqp: next(), management: next(), distribution: next(), epmd: next() })
    }

    fn replace_taken(&mut self) -> Result<(), LocalError> {
        let fresh = Self::pick()?;
        let pairs = [
            (&mut self.amqp, fresh.amqp),
            (&mut self.management, fresh.management),
            (&mut self.distribution, fresh.distribution),
            (&mut self.epmd, fresh.epmd),
        ];
        for (port, replacement) in pairs {
            if !ports::is_free(*port) {
                *port = replacement;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> Place {
        let path = std::env::temp_dir().join(format!("millrace-node-{}", hex::encode(rand::random::<[u8; 4]>())));
        Place { data: path.join("data"), logs: path.join("logs"), marker: "node".to_owned() }.prepare().unwrap()
    }

    #[test]
    fn a_node_comes_back_as_it_was_but_for_ports_taken_in_the_meantime() {
        let place = scratch();
        let first = Node::load_or_create(&place).unwrap();
        assert_eq!(Node::load_or_create(&place).unwrap(), first);
        let taken = std::net::TcpListener::bind(("127.0.0.1", first.ports.amqp)).unwrap();
        let second = Node::load_or_create(&place).unwrap();
        drop(taken);
        assert_ne!(second.ports.amqp, first.ports.amqp);
        assert_eq!((second.ports.epmd, &second.name, &second.cookie), (first.ports.epmd, &first.name, &first.cookie));
        fs::remove_dir_all(place.data.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_further_node_shares_what_a_cluster_has_to_share_and_nothing_else() {
        let place = scratch();
        let first = Node::create().unwrap();
        let further = Node::beside(&first, &place).unwrap();
        assert_eq!((&further.cookie, further.ports.epmd), (&first.cookie, first.ports.epmd));
        assert_ne!((&further.name, further.ports.amqp), (&first.name, first.ports.amqp));
        assert!(further.configuration().contains(&format!("nodes.1 = {}\n", first.name)));
        assert!(!first.configuration().contains("cluster"));
        fs::remove_dir_all(place.data.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_configuration_listens_on_loopback_only() {
        let configuration = Node::create().unwrap().configuration();
        let listeners: Vec<&str> =
            configuration.lines().filter(|line| line.starts_with("listeners") || line.contains(".ip")).collect();
        assert_eq!(listeners.len(), 2);
        assert!(listeners.iter().all(|line| line.contains("127.0.0.1")));
    }
}
