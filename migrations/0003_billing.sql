-- A tenant's billing state, mirrored from the provider's events in any order.

CREATE TABLE app.subscriptions (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  provider text COLLATE "C" NOT NULL,
  subscription_id text COLLATE "C" NOT NULL,
  status text NOT NULL CHECK (status IN
    ('incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'canceled', 'unpaid', 'paused')),
  plan text,
  period_end timestamptz,
  status_since timestamptz NOT NULL,  -- the provider's second of the event that first showed this status
  last_created timestamptz NOT NULL,  -- the provider's second of the event that wrote this state
  last_rank smallint NOT NULL,        -- its place among the events of that second
  needs_refetch boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, provider, subscription_id)
);
SELECT millrace.protect('subscriptions');

CREATE TABLE app.invoices (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  provider text COLLATE "C" NOT NULL,
  invoice_id text COLLATE "C" NOT NULL,
  subscription_id text COLLATE "C",   -- NULL for a one-off invoice
  status text NOT NULL CHECK (status IN ('open', 'paid')),
  amount_due bigint NOT NULL,         -- minor units
  amount_paid bigint NOT NULL,        -- minor units
  currency text NOT NULL,
  unpaid_since timestamptz,           -- first failed payment, until paid
  paid_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, provider, invoice_id)
);
CREATE INDEX ON app.invoices (org_id, unpaid_since) WHERE unpaid_since IS NOT NULL;
SELECT millrace.protect('invoices');

-- What the tenant may do at present: a pure function of the rows above and the time, kept for readers.
CREATE TABLE app.access (
  org_id text COLLATE "C" PRIMARY KEY DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  level text NOT NULL CHECK (level IN ('full', 'grace', 'read_only', 'suspended')),
  unpaid_since timestamptz,
  evaluated_at timestamptz NOT NULL
);
SELECT millrace.protect('access');

-- One row for each event applied. Nothing makes it unique on purpose: an event applied twice would show.
CREATE TABLE app.billing_history (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  id uuid NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  event_type text COLLATE "C" NOT NULL,
  object_id text COLLATE "C" NOT NULL,
  change text NOT NULL CHECK (change IN ('changed', 'stale', 'ambiguous')),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id)
);
SELECT millrace.protect('billing_history');
