use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Plugins that neither the broker nor its management depends on. RabbitMQ reads all it can find several times while it
/// starts; without these it is up in two thirds of the time.
const UNUSED: &[&str] = &[
    "rabbitmq_amqp1_0",
    "rabbitmq_auth_",
    "rabbitmq_aws",
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_event_exchange",
    "rabbitmq_federation",
    "rabbitmq_jms_topic_exchange",
    "rabbitmq_mqtt",
    "rabbitmq_peer_discovery_",
    "rabbitmq_prometheus",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
    "rabbitmq_shovel",
    "rabbitmq_stomp",
    "rabbitmq_stream",
    "rabbitmq_top",
    "rabbitmq_tracing",
    "rabbitmq_trust_store",
    "rabbitmq_web_mqtt",
    "rabbitmq_web_stomp",
];

/// Makes a view of the installation, out of links, that lacks the plugins nobody uses here, and returns its script
/// directory for `RABBITMQ_SCRIPTS_DIR`. `None` when the installation is laid out differently or the path would be
/// split by RabbitMQ's scripts: then the node just starts more slowly.
pub(super) fn without_unused_plugins(scripts: &Path, home: &Path) -> Option<PathBuf> {
    let view = home.join("server");
    let fits = !view.to_string_lossy().contains(char::is_whitespace);
    let installation = scripts.join("rabbitmq-server").canonicalize().ok()?.parent()?.parent()?.to_owned();
    (fits && link(&installation, &view).is_ok()).then(|| view.join("sbin"))
}

fn link(installation: &Path, view: &Path) -> io::Result<()> {
    if view.exists() {
        fs::remove_dir_all(view)?;
    }
    let plugins = fs::read_dir(installation.join("plugins"))?;
    fs::create_dir_all(view.join("plugins"))?;
    for part in ["sbin", "escript"] {
        symlink(installation.join(part).canonicalize()?, view.join(part))?;
    }
    for plugin in plugins {
        let plugin = plugin?;
        if !is_unused(&plugin.file_name().to_string_lossy()) {
            symlink(plugin.path(), view.join("plugins").join(plugin.file_name()))?;
        }
    }
    Ok(())
}

fn is_unused(plugin: &str) -> bool {
    UNUSED.iter().any(|prefix| plugin.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_has_what_the_broker_needs_and_can_be_made_again() {
        let base = std::env::temp_dir().join(format!("millrace-view-{}", std::process::id()));
        let installation = base.join("installed");
        for part in
            ["sbin", "escript", "plugins/rabbit-3.10.8", "plugins/rabbitmq_management-3.10.8", "plugins/rabbitmq_top-3"]
        {
            fs::create_dir_all(installation.join(part)).unwrap();
        }
        fs::write(installation.join("sbin/rabbitmq-server"), "").unwrap();
        for _ in 0..2 {
            let scripts = without_unused_plugins(&installation.join("sbin"), &base).unwrap();
            assert!(scripts.join("rabbitmq-server").is_file());
            assert!(scripts.with_file_name("plugins").join("rabbit-3.10.8").is_dir());
            assert!(scripts.with_file_name("plugins").join("rabbitmq_management-3.10.8").is_dir());
            assert!(!scripts.with_file_name("plugins").join("rabbitmq_top-3").exists());
        }
        assert!(installation.join("plugins/rabbitmq_top-3").is_dir());
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_path_with_a_space_gets_no_view() {
        assert_eq!(without_unused_plugins(Path::new("/usr/lib/rabbitmq/bin"), Path::new("/tmp/a b")), None);
    }
}
