//! Internal services on the broker: what each may publish and consume, by its own user and through its own queue.

use super::{Exchange, Lane, MessageType, Permissions, PublisherName, QueueSpec, Topology};

/// Which events a queue takes: words between dots, where `*` stands for one word and `#` for any number of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPattern(String);

impl EventPattern {
    /// Longest pattern in bytes: that of a routing key.
    pub const LONGEST: usize = 255;

    /// Reads a pattern; `None` outside the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let word = |word: &str| matches!(word, "*" | "#") || (!word.is_empty() && word.bytes().all(letter));
        (text.len() <= Self::LONGEST && text.split('.').all(word)).then(|| Self(text.to_owned()))
    }

    /// The text as a binding takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does the events exchange route this type by the pattern?
    pub fn matches(&self, event: &MessageType) -> bool {
        let (pattern, name): (Vec<&str>, Vec<&str>) =
            (self.0.split('.').collect(), event.as_str().split('.').collect());
        fits(&pattern, &name)
    }
}

fn fits(pattern: &[&str], name: &[&str]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((&"#", rest)) => (0..=name.len()).any(|taken| fits(rest, &name[taken..])),
        Some((word, rest)) => {
            name.split_first().is_some_and(|(first, others)| (*word == "*" || word == first) && fits(rest, others))
        }
    }
}

/// A service that has a user on the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name, which is that of its seal keys' publisher too.
    pub name: PublisherName,
    /// The best lane it may publish to; `None` for one that only listens.
    pub publishes: Option<Lane>,
    /// The events it takes.
    pub consumes: Vec<EventPattern>,
}

impl Service {
    /// Name of a service's queue.
    pub fn queue_name(name: &PublisherName) -> String {
        format!("events.{name}")
    }

    /// Its queue with a binding for each pattern, if it consumes.
    pub fn queue(&self) -> Option<QueueSpec> {
        let bindings: Vec<_> =
            self.consumes.iter().map(|pattern| (Exchange::Events, pattern.as_str().to_owned())).collect();
        let name = Self::queue_name(&self.name);
        (!bindings.is_empty()).then_some(QueueSpec { name, bindings, single_active_consumer: false })
    }

    /// The narrowest permissions that work. The letters of a name need no escape in a regular expression.
    pub fn permissions(&self) -> Permissions {
        let write = match self.publishes {
            None => "^$",
            Some(Lane::Overflow) => r"^millrace\.direct$",
            Some(Lane::Main) => r"^millrace\.(direct|work)$",
        };
        let read = if self.consumes.is_empty() { "^$".into() } else { format!(r"^events\.{}$", self.name).into() };
        Permissions { configure: "^$", write, read }
    }
}

impl Topology {
    /// The queues of services, one for each that consumes.
    pub fn of_services<'s>(services: impl IntoIterator<Item = &'s Service>) -> Self {
        Self { queues: services.into_iter().filter_map(Service::queue).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, event: &str) -> bool {
        EventPattern::parse(pattern).unwrap().matches(&MessageType::parse(event).unwrap())
    }

    #[test]
    fn patterns_route_as_a_topic_exchange_does() {
        assert!(matches("projects.*", "projects.created"));
        assert!(!matches("projects.*", "projects"));
        assert!(!matches("projects.*", "projects.created.again"));
        assert!(matches("projects.#", "projects"));
        assert!(matches("#", "projects.created"));
        assert!(matches("#.created", "projects.created"));
        assert!(matches("*.created", "projects.created"));
        assert!(matches("billing.plan_changed", "billing.plan_changed"));
        assert!(!matches("billing.plan_changed", "billing.plan"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", ".", "projects.", "projects.**", "projects.cre*", "Projects.*", "a b", &"a".repeat(256)] {
            assert_eq!(EventPattern::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn permissions_follow_what_a_service_does() {
        let name = PublisherName::parse("crm").unwrap();
        let all = EventPattern::parse("#").unwrap();
        let mut service = Service { name, publishes: None, consumes: Vec::new() };
        let texts = |service: &Service| {
            let may = service.permissions();
            (may.write, may.read.into_owned())
        };
        assert_eq!(texts(&service), ("^$", "^$".to_owned()));
        assert_eq!(service.queue(), None);
        service.publishes = Some(Lane::Overflow);
        service.consumes.push(all);
        assert_eq!(texts(&service), (r"^millrace\.direct$", r"^events\.crm$".to_owned()));
        service.publishes = Some(Lane::Main);
        assert_eq!(service.permissions().write, r"^millrace\.(direct|work)$");
        assert_eq!(Topology::of_services([&service]).queues[0].name, "events.crm");
    }
}
