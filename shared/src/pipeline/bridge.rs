//! The bridge: drains the broker's dead-letter queue into `dead_letters`, which is the record.

use super::open::Parcel;
use super::road::Road;
use crate::amqp::Delivered;
use crate::contract::Timestamp;

/// Code of a message that the broker gave up on: redelivered too often, expired, or refused by the audit worker.
const GAVE_UP: &str = "broker_gave_up";

impl Road {
    /// Opens a message from the dead-letter queue. One that could be handled is condemned: dead, unless its inbox row
    /// shows that it was settled after all. One with its own reason keeps it.
    pub(super) fn given_up(&self, delivered: &Delivered, now: Timestamp) -> Parcel {
        let mut parcel = self.open(delivered, now);
        match &parcel.fate {
            None => parcel.condemned = Some((GAVE_UP, 0)),
            Some(fate) if fate.outcome().is_none() || parcel.prepared.is_none() && parcel.opened.is_some() => {
                parcel.fate = Some(super::fate::Fate::Dead { code: GAVE_UP, attempts: 0 });
            }
            Some(_) => {}
        }
        parcel
    }
}
