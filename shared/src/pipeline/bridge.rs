//! The bridge: drains the broker's dead-letter queue into `dead_letters`, which is the record.

use super::fate::Fate;
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
        parcel.given_up = true;
        match &parcel.fate {
            None => parcel.condemned = Some((GAVE_UP, 0)),
            // Another kind of worker, or a newer one, knows what it is; whether that has settled it the inbox knows, where
            // the envelope names the tenant.
            Some(fate) if fate.outcome().is_none() && parcel.names_tenant() => {
                parcel.fate = None;
                parcel.condemned = Some((GAVE_UP, 0));
            }
            Some(fate) if fate.outcome().is_none() => parcel.fate = Some(Fate::Dead { code: GAVE_UP, attempts: 0 }),
            Some(_) => {}
        }
        parcel
    }
}
