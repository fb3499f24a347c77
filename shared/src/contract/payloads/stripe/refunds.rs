//! Money that goes back: what a charge says of its refunds, what a credit note gives beyond them, and what came back because
//! a refund failed.
//!
//! From basil on a charge does not name its invoice; the invoice names its payments, where they are expanded. A credit
//! note names its invoice in every version. What it gives back through a refund shows in the charge too, so of a credit
//! note only the rest counts: credit to the customer's balance, and money that went another way.

use serde::Deserialize;

use super::{Head, Reference, Timestamp, clean, created, object};
use crate::contract::Malformed;

/// Which object says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundKind {
    /// A charge that was refunded in part or whole.
    Charge,
    /// A credit note on a paid invoice.
    CreditNote,
    /// A refund that did not go through, or was canceled: its money came back.
    Failed,
}

/// One step of an object's refunds. What came back goes from its amount to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundChange {
    /// The object: `ch_…`, `cn_…` or `re_…`.
    pub id: String,
    /// Which kind of object.
    pub kind: RefundKind,
    /// `cus_…`, or of a refund that failed its charge: see [`super::StripeChange::owner`].
    pub owner: String,
    /// The invoice, where the object names it.
    pub invoice: Option<String>,
    /// The payment, by its charge and its payment intent.
    pub payments: Vec<String>,
    /// Minor units that had gone back before.
    pub before: i64,
    /// Minor units that have gone back now.
    pub after: i64,
    /// ISO 4217, lower case as Stripe writes it.
    pub currency: String,
    /// The event's second.
    pub created: Timestamp,
}

impl RefundChange {
    /// Equal for every event of the same step, and for no other. After a refund that failed a charge may take the same step
    /// once more, at a later second.
    pub fn step(&self) -> String {
        match self.kind {
            RefundKind::Charge => format!("{}:{}@{}", self.id, self.after, self.created.moment().unix_timestamp()),
            RefundKind::CreditNote | RefundKind::Failed => self.id.clone(),
        }
    }
}

#[derive(Deserialize)]
struct Charge {
    id: String,
    customer: Option<Reference>,
    invoice: Option<Reference>,
    payment_intent: Option<Reference>,
    amount_refunded: i64,
    currency: String,
}

/// What stood there before the event.
#[derive(Deserialize)]
struct Changes {
    previous_attributes: Option<Previous>,
}

#[derive(Deserialize)]
struct Previous {
    amount_refunded: Option<i64>,
}

#[derive(Deserialize)]
struct CreditNote {
    id: String,
    customer: Reference,
    invoice: Reference,
    currency: String,
    amount: i64,
    #[serde(rename = "type")]
    kind: Option<String>,
    post_payment_amount: Option<i64>,
    out_of_band_amount: Option<i64>,
    refund: Option<Reference>,
    #[serde(default)]
    refunds: Vec<RefundOf>,
}

#[derive(Deserialize)]
struct Refund {
    id: String,
    charge: Option<Reference>,
    payment_intent: Option<Reference>,
    amount: i64,
    currency: String,
    status: Option<String>,
}

#[derive(Deserialize)]
struct RefundOf {
    amount_refunded: i64,
}

/// `None` for a charge without a customer.
pub(super) fn charge(raw: &Head<'_>) -> Result<Option<RefundChange>, Malformed> {
    let charge: Charge = object(raw)?;
    let Some(customer) = charge.customer else { return Ok(None) };
    // Without it the step is unknown: a total alone cannot tell which refunds were counted before.
    let before = previous(raw).ok_or(Malformed::new("data.previous_attributes.amount_refunded", "is missing"))?;
    let id = clean("data.object.id", &charge.id)?;
    let intent = charge.payment_intent.map(|i| clean("data.object.payment_intent", i.id())).transpose()?;
    Ok(Some(RefundChange {
        kind: RefundKind::Charge,
        owner: clean("data.object.customer", customer.id())?,
        invoice: charge.invoice.map(|i| clean("data.object.invoice", i.id())).transpose()?,
        payments: std::iter::once(id.clone()).chain(intent).collect(),
        before,
        after: charge.amount_refunded,
        currency: clean("data.object.currency", &charge.currency)?,
        created: created(raw)?,
        id,
    }))
}

fn previous(raw: &Head<'_>) -> Option<i64> {
    let changes: Changes = serde_json::from_str(raw.data?.get()).ok()?;
    changes.previous_attributes?.amount_refunded
}

/// `None` for a refund that has not failed, and for one without a charge.
pub(super) fn failed(raw: &Head<'_>) -> Result<Option<RefundChange>, Malformed> {
    let refund: Refund = object(raw)?;
    let over = matches!(refund.status.as_deref(), Some("failed" | "canceled"));
    let Some(charge) = refund.charge.filter(|_| over) else { return Ok(None) };
    let charge = clean("data.object.charge", charge.id())?;
    let intent = refund.payment_intent.map(|i| clean("data.object.payment_intent", i.id())).transpose()?;
    Ok(Some(RefundChange {
        id: clean("data.object.id", &refund.id)?,
        kind: RefundKind::Failed,
        owner: charge.clone(),
        invoice: None,
        payments: std::iter::once(charge).chain(intent).collect(),
        before: refund.amount,
        after: 0,
        currency: clean("data.object.currency", &refund.currency)?,
        created: created(raw)?,
    }))
}

pub(super) fn credit_note(raw: &Head<'_>) -> Result<RefundChange, Malformed> {
    let note: CreditNote = object(raw)?;
    Ok(RefundChange {
        id: clean("data.object.id", &note.id)?,
        kind: RefundKind::CreditNote,
        owner: clean("data.object.customer", note.customer.id())?,
        invoice: Some(clean("data.object.invoice", note.invoice.id())?),
        payments: Vec::new(),
        before: 0,
        after: note.beyond_refunds(),
        currency: clean("data.object.currency", &note.currency)?,
        created: created(raw)?,
    })
}

impl CreditNote {
    fn beyond_refunds(&self) -> i64 {
        let paid = self.kind.as_deref() == Some("post_payment");
        let given = self.post_payment_amount.unwrap_or(if paid { self.amount } else { 0 });
        if !self.refunds.is_empty() {
            let refunded = self.refunds.iter().fold(0_i64, |sum, refund| sum.saturating_add(refund.amount_refunded));
            return given.saturating_sub(refunded).max(0);
        }
        match self.refund {
            // The old shape does not say how much its refund was, but how much went another way.
            Some(_) => self.out_of_band_amount.unwrap_or(0).max(0),
            None => given.max(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{StripeChange, StripeEvent};
    use super::*;
    use crate::contract::Payload;

    fn parse(kind: &str, object: Value, previous: Value) -> Result<Option<StripeChange>, Malformed> {
        let body = json!({ "id": "evt_1", "type": kind, "created": 1_700_000_000, "livemode": false,
                           "data": { "object": object, "previous_attributes": previous } });
        StripeEvent::parse(body.to_string().as_bytes()).map(|event| event.change)
    }

    fn refund(kind: &str, object: Value, previous: Value) -> RefundChange {
        match parse(kind, object, previous).unwrap() {
            Some(StripeChange::Refund(refund)) => refund,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_charge_says_one_step_and_names_its_payment_in_both_shapes() {
        let old = json!({ "id": "ch_1", "customer": "cus_1", "invoice": "in_1", "payment_intent": "pi_1",
                          "amount_refunded": 500, "currency": "eur" });
        let new = json!({ "id": "ch_1", "customer": { "id": "cus_1" }, "payment_intent": { "id": "pi_1" },
                          "amount_refunded": 500, "currency": "eur" });
        for (object, invoice) in [(old, Some("in_1")), (new, None)] {
            let step = refund("charge.refunded", object, json!({ "amount_refunded": 200, "refunded": false }));
            assert_eq!((step.before, step.after, step.step().as_str()), (200, 500, "ch_1:500@1700000000"));
            assert_eq!(step.invoice.as_deref(), invoice);
            assert_eq!(step.payments, ["ch_1", "pi_1"]);
        }
    }

    #[test]
    fn a_charge_without_customer_is_nobodys_and_one_without_its_former_total_is_malformed() {
        let object = json!({ "id": "ch_1", "customer": null, "amount_refunded": 1, "currency": "eur" });
        assert_eq!(parse("charge.refunded", object, json!({ "amount_refunded": 0 })).unwrap(), None);
        let object = json!({ "id": "ch_1", "customer": "cus_1", "amount_refunded": 1, "currency": "eur" });
        let fault = parse("charge.refunded", object, Value::Null).unwrap_err();
        assert_eq!(fault.field, "data.previous_attributes.amount_refunded");
    }

    #[test]
    fn a_refund_that_failed_says_so_under_each_type_and_all_others_are_nothing_to_do() {
        let object = |status: &str, charge: Value| {
            json!({ "id": "re_1", "object": "refund", "amount": 500, "currency": "eur", "charge": charge,
                    "payment_intent": "pi_1", "status": status })
        };
        for kind in ["refund.failed", "refund.updated", "charge.refund.updated"] {
            for status in ["failed", "canceled"] {
                let step = refund(kind, object(status, json!("ch_1")), Value::Null);
                assert_eq!((step.kind, step.before, step.after), (RefundKind::Failed, 500, 0));
                assert_eq!((step.owner.as_str(), step.step().as_str()), ("ch_1", "re_1"));
                assert_eq!(step.payments, ["ch_1", "pi_1"]);
            }
            for (status, charge) in [("succeeded", json!("ch_1")), ("pending", json!("ch_1")), ("failed", Value::Null)]
            {
                assert_eq!(parse(kind, object(status, charge), Value::Null).unwrap(), None, "{kind} {status}");
            }
        }
    }

    #[test]
    fn of_a_credit_note_counts_what_no_refund_shows() {
        let note = |extra: Value| {
            let mut object = json!({ "id": "cn_1", "customer": "cus_1", "invoice": "in_1", "amount": 1_000, "currency": "eur",
                                     "type": "post_payment" });
            object.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            refund("credit_note.created", object, Value::Null)
        };
        for (extra, counted) in [
            (json!({}), 1_000),
            (json!({ "type": "pre_payment" }), 0),
            (json!({ "type": "mixed", "post_payment_amount": 300 }), 300),
            (json!({ "refund": "re_1" }), 0),
            (json!({ "refund": "re_1", "out_of_band_amount": 400 }), 400),
            (json!({ "post_payment_amount": 1_000, "refunds": [{ "refund": "re_1", "amount_refunded": 700 }] }), 300),
            (json!({ "refunds": [{ "refund": "re_1", "amount_refunded": 5_000 }] }), 0),
        ] {
            let step = note(extra.clone());
            assert_eq!((step.before, step.after), (0, counted), "{extra}");
            assert_eq!((step.invoice.as_deref(), step.step().as_str()), (Some("in_1"), "cn_1"));
        }
    }
}
