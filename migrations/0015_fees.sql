-- The platform's fee on what a tenant's invoices brought in. Everything here is written once and never changed.

-- Which payment (a charge or a payment intent) paid which invoice: from basil on a charge does not say so itself.
CREATE TABLE app.invoice_payments (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  payment_id text COLLATE "C" NOT NULL,
  invoice_id text COLLATE "C" NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, payment_id)
);
SELECT millrace.protect('invoice_payments');
CREATE INDEX ON app.invoice_payments (org_id, invoice_id);

-- Money that went back, whether or not its invoice is known yet. An amount is a step of one object's total: from
-- before to after, so each step has a fee of its own, whatever came first.
CREATE TABLE app.refunds (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  source_id text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('refund', 'credit_note')),
  invoice_id text COLLATE "C",      -- NULL: only the payment is known
  payment_ids text[] NOT NULL,
  refunded_before bigint NOT NULL,  -- minor units
  refunded_after bigint NOT NULL,   -- minor units
  currency text COLLATE "C" NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, source_id, kind)
);
SELECT millrace.protect('refunds');
CREATE INDEX ON app.refunds (org_id, invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX ON app.refunds USING gin (payment_ids);

CREATE TABLE app.fee_ledger (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  source_id text COLLATE "C" NOT NULL,  -- the invoice, the step of the charge, or the credit note
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('fee', 'refund', 'credit_note')),
  invoice_id text COLLATE "C" NOT NULL,
  amount bigint NOT NULL CHECK (amount > 0),  -- minor units that were paid, or went back
  fee bigint NOT NULL,                        -- minor units; negative for what went back
  currency text COLLATE "C" NOT NULL,
  basis_points integer,                       -- the rates behind a fee
  fixed bigint,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, source_id, kind),
  CHECK (abs(fee) <= amount),
  CHECK (CASE kind WHEN 'fee' THEN fee >= 0 ELSE fee <= 0 END)
);
SELECT millrace.protect('fee_ledger');
CREATE INDEX ON app.fee_ledger (org_id, invoice_id);

REVOKE UPDATE, DELETE ON app.invoice_payments, app.refunds, app.fee_ledger FROM millrace_app, millrace_maintenance;

SELECT millrace.tag('app.invoice_payments', '{org_id,payment_id,invoice_id,created_at}', 'pii: none, the provider''s ids');
SELECT millrace.tag('app.refunds', '{org_id,source_id,kind,invoice_id,payment_ids,refunded_before,refunded_after,currency,created_at}',
  'pii: none, amounts and the provider''s ids, kept by law');
SELECT millrace.tag('app.fee_ledger', '{org_id,source_id,kind,invoice_id,amount,fee,currency,basis_points,fixed,created_at}',
  'pii: none, amounts and the provider''s ids, kept by law');
