//! The world's internal services, as their own programs would have them.

use millrace::client::{Account, CommandPublisher, EventConsumer, OwnKey};
use millrace::config::Process;
use millrace::contract::{CheckedContract, KeyId, Lane, PublisherName, SealKey};

use crate::World;

impl World {
    /// Where and as whom a service of `[services]` connects.
    ///
    /// # Panics
    /// When the world has no such service.
    pub fn account(&self, service: &str) -> Account {
        let config = self.config(Process::All);
        let found = config.services.iter().find(|found| found.name.as_str() == service);
        let login = found.and_then(|found| found.login.clone()).expect("a service of this world");
        Account {
            addresses: config.amqp.addresses,
            user: login.user,
            password: login.password,
            deployment: config.deployment,
            name: PublisherName::parse(service).expect("a name"),
        }
    }

    /// A seal key of this world by its id.
    ///
    /// # Panics
    /// When there is none.
    pub fn seal_key(&self, key_id: &str) -> (KeyId, SealKey) {
        let file = self.config_path().with_file_name("keys").join(format!("seal-{key_id}"));
        let bytes = hex::decode(std::fs::read_to_string(file).expect("a key").trim()).expect("hex");
        (KeyId::parse(key_id).expect("a key id"), SealKey::new(&bytes).expect("a key"))
    }

    /// The contract that every process of this world has.
    ///
    /// # Panics
    /// When it has mistakes.
    pub fn contract(&self) -> CheckedContract {
        millrace::builtin().check().expect("a contract")
    }

    /// Connects a service's publisher with its key `<service>-1`.
    ///
    /// # Panics
    /// When the broker does not let it in.
    pub async fn commands_of(&self, service: &str, lane: Lane) -> CommandPublisher {
        let (id, key) = self.seal_key(&format!("{service}-1"));
        let (account, contract) = (self.account(service), self.contract());
        CommandPublisher::connect(&account, OwnKey { id, key, lane }, &contract).await.expect("a publisher")
    }

    /// Connects a service's consumer of events, with the worker's key.
    ///
    /// # Panics
    /// When the broker does not let it in.
    pub async fn events_of(&self, service: &str) -> EventConsumer {
        let keys = vec![self.seal_key("worker-1")];
        EventConsumer::connect(&self.account(service), keys, &self.contract()).await.expect("a consumer")
    }
}
