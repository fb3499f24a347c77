-- What the pipeline keeps. These tables are written across tenants, so grants bound them, not tenant policies.

-- Every settled message, by publisher and key: the insert is the claim, its refusal a duplicate.
CREATE TABLE engine.inbox (
  org_id text COLLATE "C" NOT NULL,
  publisher text COLLATE "C" NOT NULL,
  key bytea NOT NULL CHECK (length(key) = 32),
  message_id text COLLATE "C" NOT NULL,
  claimed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, publisher, key)
);
GRANT INSERT, SELECT (org_id, publisher, key) ON engine.inbox TO millrace_app;

-- Sealed messages to publish. Workers can add to it and see nothing; the relay can send and delete, and holds
-- no key to change what it sends.
CREATE TABLE engine.outbox (
  id uuid PRIMARY KEY,
  exchange text NOT NULL,
  routing_key text NOT NULL,
  fields jsonb NOT NULL,
  body bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON engine.outbox (created_at);
GRANT INSERT ON engine.outbox TO millrace_app, millrace_maintenance;
GRANT SELECT, DELETE ON engine.outbox TO millrace_relay;

-- Messages that wait for their next attempt, and the attempts of those in flight (a time further away, when they are sent again).
CREATE TABLE engine.parked (
  publisher text COLLATE "C" NOT NULL,
  message_id text COLLATE "C" NOT NULL,
  exchange text NOT NULL,
  routing_key text NOT NULL,
  fields jsonb NOT NULL,
  body bytea NOT NULL,
  attempts int NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  waits int NOT NULL DEFAULT 0 CHECK (waits >= 0),
  reason text NOT NULL,
  first_parked_at timestamptz NOT NULL DEFAULT now(),
  not_before timestamptz NOT NULL,
  PRIMARY KEY (publisher, message_id)
);
CREATE INDEX ON engine.parked (not_before);
GRANT INSERT, DELETE, SELECT (publisher, message_id, attempts, waits, reason, first_parked_at, not_before),
  UPDATE (attempts, waits, reason, not_before) ON engine.parked TO millrace_app;
GRANT SELECT, UPDATE (not_before) ON engine.parked TO millrace_relay;
GRANT SELECT, UPDATE (not_before) ON engine.parked TO millrace_maintenance;

-- Messages set aside for an operator, with their raw bytes. Marked, never deleted.
CREATE TABLE engine.dead_letters (
  id uuid PRIMARY KEY,
  org_id text COLLATE "C" NOT NULL,
  identity bytea NOT NULL CHECK (length(identity) = 32),
  redrives int NOT NULL DEFAULT 0,
  publisher text COLLATE "C",
  message_id text COLLATE "C",
  message_type text COLLATE "C",
  queue text NOT NULL,
  reason text NOT NULL,
  attempts int NOT NULL,
  fields jsonb NOT NULL,
  body bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (identity, redrives)
);
CREATE INDEX ON engine.dead_letters (org_id, created_at DESC, id);
ALTER TABLE engine.dead_letters ENABLE ROW LEVEL SECURITY;
ALTER TABLE engine.dead_letters FORCE ROW LEVEL SECURITY;
CREATE POLICY bury ON engine.dead_letters FOR INSERT TO millrace_app WITH CHECK (true);
CREATE POLICY tenant_read ON engine.dead_letters FOR SELECT TO millrace_reader USING (org_id = (SELECT app.cur_org()));
-- ON CONFLICT DO NOTHING has to see its own arbiter columns, and nothing else.
CREATE POLICY bury_once ON engine.dead_letters FOR SELECT TO millrace_app USING (true);
GRANT INSERT, SELECT (identity, redrives) ON engine.dead_letters TO millrace_app;
GRANT SELECT ON engine.dead_letters TO millrace_reader, millrace_maintenance;

-- Bodies are stored as they are: compressing a large hostile one takes longer than a statement may.
ALTER TABLE engine.outbox ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE engine.parked ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE engine.dead_letters ALTER COLUMN body SET STORAGE EXTERNAL;

-- Whose turn it is to sweep: the relay locks the row, and nobody else may.
CREATE TABLE engine.relay_turn (turn boolean PRIMARY KEY DEFAULT true CHECK (turn));
INSERT INTO engine.relay_turn DEFAULT VALUES;
GRANT SELECT, UPDATE ON engine.relay_turn TO millrace_relay;

-- Which tenant a provider's customer is. Links come from operators and service principals, never from a
-- tenant's free text; workers ask through a function that returns the org and nothing else.
CREATE TABLE engine.provider_links (
  provider text COLLATE "C" NOT NULL,
  account text COLLATE "C" NOT NULL DEFAULT '',
  livemode boolean NOT NULL,
  external_id text COLLATE "C" NOT NULL,
  org_id text COLLATE "C" NOT NULL REFERENCES app.tenants (org_id),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (provider, account, livemode, external_id)
);
CREATE INDEX ON engine.provider_links (org_id);
GRANT SELECT, INSERT ON engine.provider_links TO millrace_maintenance;

CREATE FUNCTION engine.resolve_link(provider text, account text, livemode boolean, external_id text) RETURNS text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT l.org_id FROM engine.provider_links l
  WHERE l.provider = $1 AND l.account = $2 AND l.livemode = $3 AND l.external_id = $4
$$;
REVOKE ALL ON FUNCTION engine.resolve_link(text, text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.resolve_link(text, text, boolean, text) TO millrace_app;
