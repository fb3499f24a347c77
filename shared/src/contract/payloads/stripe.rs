//! Stripe events, in the shapes before and after `2025-03-31.basil`.
//!
//! An event's `api_version` is fixed when the event is made, so both shapes arrive: every moved value is read
//! from its new place first, then from its old one.

mod refunds;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use refunds::{RefundChange, RefundKind};

use crate::contract::{Action, Callers, Gate, Link, Malformed, Payload, Permission, Tenancy, Timestamp};

/// What the ingress needs of an event, thin events included: they have no `data.object`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeHead {
    /// `evt_…`: signed, and alone the dedupe key within its source.
    pub id: String,
    /// Event type: free text, since thin events have brackets in theirs.
    pub event_type: String,
    /// Live or test mode; absent in some thin events.
    pub livemode: Option<bool>,
    /// The connected account (Connect).
    pub account: Option<String>,
}

#[derive(Deserialize)]
struct Head<'a> {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    livemode: Option<bool>,
    account: Option<String>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl StripeHead {
    fn of(head: &Head<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: clean("id", &head.id)?,
            event_type: clean("type", &head.event_type)?,
            livemode: head.livemode,
            account: head.account.as_deref().map(|a| clean("account", a)).transpose()?,
        })
    }
}

/// One event with the state it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeEvent {
    /// Id, type, mode and account.
    pub head: StripeHead,
    /// What changed; `None` for a type nobody handles.
    pub change: Option<StripeChange>,
}

/// The object states that billing mirrors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StripeChange {
    /// `customer.subscription.*`
    Subscription(SubscriptionChange),
    /// `invoice.*`
    Invoice(InvoiceChange),
    /// `charge.refunded`, `credit_note.created`, and refunds that failed.
    Refund(RefundChange),
}

impl StripeChange {
    /// By which of the provider's ids the tenant is found: `cus_…`, or for a refund that failed the charge, which is all
    /// that names anybody there.
    pub fn owner(&self) -> &str {
        match self {
            Self::Subscription(change) => &change.customer,
            Self::Invoice(change) => &change.customer,
            Self::Refund(change) => &change.owner,
        }
    }
}

/// Order of the subscription events that share a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubscriptionRank {
    /// `customer.subscription.created`
    Created = 0,
    /// `customer.subscription.updated`
    Updated = 1,
    /// `customer.subscription.deleted`
    Deleted = 2,
}

/// A subscription as an event shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// `sub_…`
    pub id: String,
    /// `cus_…`
    pub customer: String,
    /// Stripe's status text, not judged here.
    pub status: String,
    /// Price of the first item.
    pub plan: Option<String>,
    /// End of the paid period: the latest of the items (from basil on), else the subscription's own.
    pub period_end: Option<Timestamp>,
    /// The event's second.
    pub created: Timestamp,
    /// Its place among events of that second.
    pub rank: SubscriptionRank,
}

/// An invoice as an event shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceChange {
    /// `in_…`
    pub id: String,
    /// `cus_…`
    pub customer: String,
    /// The subscription it bills; `None` for a one-off invoice.
    pub subscription: Option<String>,
    /// What the event proves: its own word where it has one, else the object's.
    pub status: InvoiceStatus,
    /// A payment of it went through.
    pub succeeded: bool,
    /// A payment of it failed.
    pub failed: bool,
    /// Minor units due.
    pub amount_due: i64,
    /// Minor units paid.
    pub amount_paid: i64,
    /// ISO 4217, lower case as Stripe writes it.
    pub currency: String,
    /// The charges and payment intents that it names as its payments: later a refund knows no more than these.
    pub payments: Vec<String>,
    /// The event's second.
    pub created: Timestamp,
}

/// Where an invoice is on its way. Later ones are further; none goes back, and a payment is a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InvoiceStatus {
    /// Not final yet.
    Draft = 0,
    /// Final, to be paid.
    Open = 1,
    /// Given up, and may still be paid.
    Uncollectible = 2,
    /// Withdrawn.
    Void = 3,
    /// Paid.
    Paid = 4,
}

impl InvoiceStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Draft, Self::Open, Self::Uncollectible, Self::Void, Self::Paid];

    /// Stripe's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Open => "open",
            Self::Uncollectible => "uncollectible",
            Self::Void => "void",
            Self::Paid => "paid",
        }
    }

    /// Reads Stripe's text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Nothing is due on it any more.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Paid | Self::Void)
    }
}

/// A subscription as Stripe shows it, in an event or when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionObject {
    /// `sub_…`
    pub id: String,
    /// `cus_…`
    pub customer: String,
    /// Stripe's status text, not judged here.
    pub status: String,
    /// Price of the first item.
    pub plan: Option<String>,
    /// End of the paid period: the latest of the items (from basil on), else the subscription's own.
    pub period_end: Option<Timestamp>,
}

impl SubscriptionObject {
    /// Reads the object.
    ///
    /// # Errors
    /// It is no subscription.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let shape = serde_json::from_slice(body).map_err(|_| Malformed::new("body", "is no subscription"))?;
        Self::of(shape)
    }

    fn of(object: Subscription) -> Result<Self, Malformed> {
        let items = object.items.map(|list| list.data).unwrap_or_default();
        let of_items = items.iter().filter_map(|item| item.current_period_end).max();
        let plan = items.first().and_then(|item| item.price.as_ref().or(item.plan.as_ref()));
        Ok(Self {
            id: clean("data.object.id", &object.id)?,
            customer: clean("data.object.customer", object.customer.id())?,
            status: clean("data.object.status", &object.status)?,
            plan: plan.map(|p| clean("data.object.items.data.price", p.id())).transpose()?,
            period_end: of_items.or(object.current_period_end).and_then(Timestamp::from_unix),
        })
    }
}

impl StripeEvent {
    /// Reads a verified body once: its head, without which it is no event, and its change, which the edge can do without
    /// and only a worker judges.
    ///
    /// # Errors
    /// No JSON object, or no id and type of a sane length.
    pub fn read(body: &[u8]) -> Result<(StripeHead, Result<Option<StripeChange>, Malformed>), Malformed> {
        let raw = head(body)?;
        let head = StripeHead::of(&raw)?;
        let change = change(&raw, &head);
        Ok((head, change))
    }
}

impl Payload for StripeEvent {
    const NAME: &'static str = "stripe.event";
    const PERMISSION: Permission = Permission::new("billing", Action::Write);
    const CALLERS: Callers = Callers::Webhooks;
    // A payment is what brings a suspended tenant back.
    const GATE: Gate = Gate::Open;

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let (head, change) = Self::read(body)?;
        Ok(Self { head, change: change? })
    }

    fn signed_at(&self) -> Option<Timestamp> {
        self.change.as_ref().map(|change| match change {
            StripeChange::Subscription(subscription) => subscription.created,
            StripeChange::Invoice(invoice) => invoice.created,
            StripeChange::Refund(refund) => refund.created,
        })
    }

    fn tenancy(&self) -> Tenancy {
        let Some(change) = &self.change else { return Tenancy::Unhandled };
        Tenancy::Link(Link {
            provider: "stripe".to_owned(),
            account: self.head.account.clone().unwrap_or_default(),
            livemode: self.head.livemode.unwrap_or(false),
            external_id: change.owner().to_owned(),
        })
    }

    fn action(&self) -> &str {
        &self.head.event_type
    }
}

/// Ids of a sane length that can be stored and shown: no control character, so no NUL either.
fn clean(field: &'static str, text: &str) -> Result<String, Malformed> {
    if text.is_empty() || text.len() > 200 || text.chars().any(char::is_control) {
        return Err(Malformed::new(field, "must be 1 to 200 bytes without control characters"));
    }
    Ok(text.to_owned())
}

fn head(body: &[u8]) -> Result<Head<'_>, Malformed> {
    serde_json::from_slice(body).map_err(|_| Malformed::new("body", "is no Stripe event"))
}

/// `"cus_1"` or the expanded `{"id": "cus_1", ..}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(String),
    Expanded { id: String },
}

impl Reference {
    fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Expanded { id } => id,
        }
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    object: T,
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    data: Vec<T>,
}

#[derive(Deserialize)]
struct Subscription {
    id: String,
    customer: Reference,
    status: String,
    current_period_end: Option<i64>,
    items: Option<List<Item>>,
}

#[derive(Deserialize)]
struct Item {
    current_period_end: Option<i64>,
    price: Option<Reference>,
    plan: Option<Reference>,
}

#[derive(Deserialize)]
struct Invoice {
    id: String,
    customer: Reference,
    status: Option<String>,
    subscription: Option<Reference>,
    parent: Option<Parent>,
    amount_due: i64,
    amount_paid: i64,
    currency: String,
    charge: Option<Reference>,
    payment_intent: Option<Reference>,
    payments: Option<List<InvoicePayment>>,
}

/// From basil on an invoice lists its payments where they are expanded; before, it named one of each kind.
#[derive(Deserialize)]
struct InvoicePayment {
    payment: Option<PaymentOf>,
}

#[derive(Deserialize)]
struct PaymentOf {
    charge: Option<Reference>,
    payment_intent: Option<Reference>,
}

#[derive(Deserialize)]
struct Parent {
    subscription_details: Option<SubscriptionDetails>,
}

#[derive(Deserialize)]
struct SubscriptionDetails {
    subscription: Option<Reference>,
}

fn change(raw: &Head<'_>, head: &StripeHead) -> Result<Option<StripeChange>, Malformed> {
    let change = match head.event_type.as_str() {
        "customer.subscription.created" => subscription(raw, SubscriptionRank::Created)?,
        "customer.subscription.updated"
        | "customer.subscription.paused"
        | "customer.subscription.resumed"
        | "customer.subscription.trial_will_end"
        | "customer.subscription.pending_update_applied"
        | "customer.subscription.pending_update_expired" => subscription(raw, SubscriptionRank::Updated)?,
        "customer.subscription.deleted" => subscription(raw, SubscriptionRank::Deleted)?,
        "charge.refunded" => match refunds::charge(raw)? {
            Some(refund) => StripeChange::Refund(refund),
            // A charge of nobody's belongs to no tenant.
            None => return Ok(None),
        },
        "refund.failed" | "refund.updated" | "charge.refund.updated" => match refunds::failed(raw)? {
            Some(refund) => StripeChange::Refund(refund),
            // It goes on as it should, or has no charge that could say whose it is.
            None => return Ok(None),
        },
        "credit_note.created" => StripeChange::Refund(refunds::credit_note(raw)?),
        "invoice.payment_succeeded" => invoice(raw, Proof { succeeded: true, ..Proof::of(InvoiceStatus::Paid) })?,
        "invoice.payment_failed" => invoice(raw, Proof { failed: true, ..Proof::of(InvoiceStatus::Open) })?,
        "invoice.paid" => invoice(raw, Proof::of(InvoiceStatus::Paid))?,
        "invoice.voided" => invoice(raw, Proof::of(InvoiceStatus::Void))?,
        "invoice.marked_uncollectible" => invoice(raw, Proof::of(InvoiceStatus::Uncollectible))?,
        "invoice.finalized" => invoice(raw, Proof::of(InvoiceStatus::Open))?,
        "invoice.created" | "invoice.updated" => invoice(raw, Proof::of(InvoiceStatus::Draft))?,
        _ => return Ok(None),
    };
    if head.livemode.is_none() {
        return Err(Malformed::new("livemode", "is missing"));
    }
    Ok(Some(change))
}

fn object<'a, T: Deserialize<'a>>(raw: &Head<'a>) -> Result<T, Malformed> {
    let data = raw.data.ok_or(Malformed::new("data", "is missing"))?;
    serde_json::from_str::<Envelope<T>>(data.get())
        .map(|envelope| envelope.object)
        .map_err(|_| Malformed::new("data.object", "has not the shape of its type"))
}

fn created(raw: &Head<'_>) -> Result<Timestamp, Malformed> {
    raw.created
        .and_then(|text| text.get().parse().ok())
        .and_then(Timestamp::from_unix)
        .ok_or(Malformed::new("created", "is no unix time"))
}

fn subscription(raw: &Head<'_>, rank: SubscriptionRank) -> Result<StripeChange, Malformed> {
    let SubscriptionObject { id, customer, status, plan, period_end } = SubscriptionObject::of(object(raw)?)?;
    let change = SubscriptionChange { id, customer, status, plan, period_end, created: created(raw)?, rank };
    Ok(StripeChange::Subscription(change))
}

/// What the type of an invoice's event says by itself.
struct Proof {
    status: InvoiceStatus,
    succeeded: bool,
    failed: bool,
}

impl Proof {
    fn of(status: InvoiceStatus) -> Self {
        Self { status, succeeded: false, failed: false }
    }
}

fn invoice(raw: &Head<'_>, proof: Proof) -> Result<StripeChange, Malformed> {
    let object: Invoice = object(raw)?;
    let of_parent = object.parent.and_then(|p| p.subscription_details).and_then(|d| d.subscription);
    let subscription = of_parent.or(object.subscription);
    let listed = object.payments.map(|list| list.data).unwrap_or_default().into_iter().filter_map(|one| one.payment);
    let named = listed.flat_map(|payment| [payment.charge, payment.payment_intent]);
    let named = named.chain([object.charge, object.payment_intent]).flatten();
    let payments = named.map(|payment| clean("data.object.payments", payment.id())).collect::<Result<_, _>>()?;
    // The object may be further than its event, never less far. A word that is none of the five says nothing.
    let says = object.status.as_deref().and_then(InvoiceStatus::parse);
    let status = says.map_or(proof.status, |says| says.max(proof.status));
    Ok(StripeChange::Invoice(InvoiceChange {
        id: clean("data.object.id", &object.id)?,
        customer: clean("data.object.customer", object.customer.id())?,
        subscription: subscription.map(|s| clean("data.object.subscription", s.id())).transpose()?,
        status,
        succeeded: proof.succeeded,
        failed: proof.failed,
        amount_due: object.amount_due,
        amount_paid: object.amount_paid,
        currency: clean("data.object.currency", &object.currency)?,
        payments,
        created: created(raw)?,
    }))
}

#[cfg(test)]
mod tests;
