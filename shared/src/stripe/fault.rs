//! Why Stripe did not answer what was asked, by what can be done about it.

use std::time::Duration;

use hyper::StatusCode;

/// An exchange without the answer that was wanted. No variant holds the key, a body or an address with a query.
#[derive(Debug, thiserror::Error)]
pub enum StripeFault {
    /// Nobody has given a key.
    #[error("there is no key for Stripe: set billing.api.secret_key_file")]
    NoKey,
    /// Nobody has said where Stripe is.
    #[error("there is no address of Stripe: set billing.api.base_url")]
    NoAddress,
    /// The key is no header's value.
    #[error("the key for Stripe must be printable ASCII")]
    Key,
    /// The system's certificates cannot be read.
    #[error("cannot load the system's root certificates")]
    Roots(#[from] std::io::Error),
    /// The address and the request do not fit.
    #[error("the request cannot be made")]
    Request(#[from] hyper::http::Error),
    /// No connection, or one that broke.
    #[error("Stripe cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("Stripe did not answer in time")]
    TimedOut,
    /// Too many requests, a conflict, or a fault of theirs.
    #[error("Stripe answered {status}: try again later")]
    Later {
        /// The answer.
        status: StatusCode,
        /// What `Retry-After` asked for.
        after: Option<Duration>,
    },
    /// The key is not accepted, or may not do this.
    #[error("Stripe does not accept the key: {0}")]
    Unauthorized(StatusCode),
    /// There is no such object in this account and mode.
    #[error("Stripe knows no such object")]
    NotFound,
    /// Any other answer, a redirect among them: none is followed, since the key would go along.
    #[error("Stripe refused the request with {0}")]
    Refused(StatusCode),
    /// The answer is not what was asked for.
    #[error("Stripe's answer has not the shape of what was asked for: {0}")]
    Shape(&'static str),
}

impl StripeFault {
    /// The code of a call that failed, for audit lines and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey | Self::NoAddress | Self::Key | Self::Roots(_) | Self::Request(_) => "provider_not_configured",
            Self::Unreachable(_) => "provider_unreachable",
            Self::TimedOut => "provider_timed_out",
            Self::Later { .. } => "provider_busy",
            Self::Unauthorized(_) => "provider_key_refused",
            Self::NotFound => "provider_object_unknown",
            Self::Refused(_) => "provider_refused",
            Self::Shape(_) => "provider_answer_unreadable",
        }
    }

    /// Can the same request do better later? A key may be put right; an object that is not there stays away.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::NotFound | Self::Refused(_))
    }

    /// Is it Stripe's own state, whatever was asked? Another request would have fared no better.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut | Self::Later { .. })
    }

    /// How long Stripe asked to be left alone.
    pub fn after(&self) -> Option<Duration> {
        if let Self::Later { after, .. } = self { *after } else { None }
    }
}
