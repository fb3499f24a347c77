-- What became of each command, for whoever sent it.

-- Which message an idempotency key stands for: the same key with another body is another message, and rejected. No
-- foreign key to the tenant, since the command that makes it has a key as well.
CREATE TABLE app.idempotency_keys (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() CHECK (org_id ~ '^[A-Za-z0-9_.:@-]{1,64}$'),
  actor text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  message_id text COLLATE "C" NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, actor, key)
);
SELECT millrace.protect('idempotency_keys');

-- Written by the pipeline with each settlement, across the tenants of a batch; read by one tenant under RLS. What was
-- dead and is applied after all overwrites its row, which is why workers may update what they cannot read. Only the
-- pipeline does that, outside every scope: while a tenant is in scope, handlers reach no row.
CREATE TABLE engine.operations (
  org_id text COLLATE "C" NOT NULL,
  publisher text COLLATE "C" NOT NULL,
  message_id text COLLATE "C" NOT NULL,
  command text COLLATE "C" NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('applied', 'rejected', 'denied', 'dead')),
  code text,
  resource_type text,
  resource_id text,
  settled_at timestamptz NOT NULL,
  PRIMARY KEY (org_id, publisher, message_id)
);
-- One command may have come over two publishers' keys; whoever asks knows its message.
CREATE INDEX ON engine.operations (org_id, message_id);
ALTER TABLE engine.operations ENABLE ROW LEVEL SECURITY;
ALTER TABLE engine.operations FORCE ROW LEVEL SECURITY;
CREATE POLICY settle ON engine.operations FOR INSERT TO millrace_app
  WITH CHECK ((SELECT app.cur_org()) IS NULL);
CREATE POLICY settle_again ON engine.operations FOR UPDATE TO millrace_app
  USING ((SELECT app.cur_org()) IS NULL) WITH CHECK ((SELECT app.cur_org()) IS NULL);
-- ON CONFLICT has to see its own arbiter columns, and nothing else.
CREATE POLICY settle_once ON engine.operations FOR SELECT TO millrace_app USING ((SELECT app.cur_org()) IS NULL);
CREATE POLICY tenant_read ON engine.operations FOR SELECT TO millrace_reader USING (org_id = (SELECT app.cur_org()));
GRANT INSERT, SELECT (org_id, publisher, message_id),
  UPDATE (outcome, code, resource_type, resource_id, settled_at) ON engine.operations TO millrace_app;
GRANT SELECT ON engine.operations TO millrace_reader, millrace_maintenance;
