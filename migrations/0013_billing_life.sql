-- The whole life of subscriptions, invoices and access; and messages that become due.

-- A tie is an event of the same second and rank that says something else. Each has its number, so that an answer of the
-- provider settles the tie that it was asked about and no later one.
ALTER TABLE app.subscriptions
  ADD COLUMN source text NOT NULL DEFAULT 'event' CHECK (source IN ('event', 'refetch')),
  ADD COLUMN ties int NOT NULL DEFAULT 0;

-- What an event of a subscription said, so that one that comes late can still move the time since which a status holds.
ALTER TABLE app.billing_history
  ADD COLUMN status text,
  ADD COLUMN happened_at timestamptz,
  ADD COLUMN rank smallint;
CREATE INDEX ON app.billing_history (org_id, object_id) WHERE status IS NOT NULL;
-- What was known before: since when each subscription has had its status.
ALTER TABLE app.billing_history NO FORCE ROW LEVEL SECURITY;
ALTER TABLE app.subscriptions NO FORCE ROW LEVEL SECURITY;
INSERT INTO app.billing_history (org_id, id, event_id, event_type, object_id, change, status, happened_at, rank)
  SELECT org_id, gen_random_uuid(), 'before-0013', 'customer.subscription.updated', subscription_id, 'changed', status,
    status_since, 0 FROM app.subscriptions;
ALTER TABLE app.billing_history FORCE ROW LEVEL SECURITY;
ALTER TABLE app.subscriptions FORCE ROW LEVEL SECURITY;

-- Invoices: draft < open < uncollectible < void < paid. A payment is a fact, so nothing is above it.
ALTER TABLE app.invoices DROP CONSTRAINT invoices_status_check;
ALTER TABLE app.invoices
  ADD CONSTRAINT invoices_status_check CHECK (status IN ('draft', 'open', 'uncollectible', 'void', 'paid')),
  ADD COLUMN rank smallint NOT NULL DEFAULT 1,
  ADD COLUMN state_created timestamptz NOT NULL DEFAULT '-infinity';
-- Row-level security is forced on the owner too, who is in no tenant's scope here.
ALTER TABLE app.invoices NO FORCE ROW LEVEL SECURITY;
UPDATE app.invoices SET rank = 4 WHERE status = 'paid';
ALTER TABLE app.invoices FORCE ROW LEVEL SECURITY;
ALTER TABLE app.invoices ALTER COLUMN rank DROP DEFAULT, ALTER COLUMN state_created DROP DEFAULT;

-- What somebody entitled to it has decided instead of the rule; for good, or for a time.
ALTER TABLE app.access
  ADD COLUMN override_level text CHECK (override_level IN ('full', 'grace', 'read_only', 'suspended')),
  ADD COLUMN override_until timestamptz;

-- Messages that are sealed when they are due, by a worker that takes them: nobody else holds a key. Written across the
-- tenants of a batch, outside every scope, as settlements are.
CREATE TABLE engine.due (
  org_id text COLLATE "C" NOT NULL,
  message_type text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  id uuid NOT NULL,
  schema_version int NOT NULL,
  body bytea NOT NULL,
  cause text COLLATE "C" NOT NULL,
  due_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, message_type, subject)
);
CREATE INDEX ON engine.due (message_type, due_at);
ALTER TABLE engine.due ENABLE ROW LEVEL SECURITY;
ALTER TABLE engine.due FORCE ROW LEVEL SECURITY;
CREATE POLICY schedule ON engine.due TO millrace_app
  USING ((SELECT app.cur_org()) IS NULL) WITH CHECK ((SELECT app.cur_org()) IS NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON engine.due TO millrace_app;

SELECT millrace.tag('app.subscriptions', '{source,ties}', 'pii: none, what an organisation subscribed to');
SELECT millrace.tag('app.billing_history', '{status,happened_at,rank}', 'pii: none, what the provider''s events said');
SELECT millrace.tag('app.invoices', '{rank,state_created}', 'pii: none, what an organisation owes, kept by law');
SELECT millrace.tag('app.access', '{override_level,override_until}', 'pii: none, of an organisation');
SELECT millrace.tag('engine.due', '{org_id,message_type,subject,id,schema_version,cause,due_at}',
  'pii: none, ids and times; export: no, on its way');
SELECT millrace.tag('engine.due', '{body}',
  'pii: content; erase: kept, it names rows, which are looked at when it is due; export: no, on its way');
