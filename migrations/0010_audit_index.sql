-- The search index of the audit log: the fields of each line and where it stands, never the line itself. The files are the
-- log; what stands here can be thrown away and made again from them. Needs the role millrace_indexer: where it is missing,
-- run millrace migrate once with $MILLRACE_ADMIN_DATABASE_URL.

DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO millrace_indexer', current_database()); END $$;
GRANT USAGE ON SCHEMA app, engine TO millrace_indexer;

-- By month, so that what is too old goes with its partition. Lines of the operator tenant stand here like any tenant's.
CREATE TABLE app.audit_index (
  org_id text COLLATE "C" NOT NULL CHECK (org_id ~ '^[A-Za-z0-9_.:@-]{1,64}$'),
  timestamp timestamptz NOT NULL,
  tenant_seq bigint NOT NULL CHECK (tenant_seq > 0),
  event_id uuid NOT NULL,
  actor text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  resource_type text COLLATE "C" NOT NULL,
  resource_id text COLLATE "C" NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  code text COLLATE "C",             -- why it was rejected, denied or set aside
  segment bigint NOT NULL,           -- first line of the file that it stands in
  byte_offset bigint NOT NULL,       -- in the file as it was written, whether or not that is compressed by now
  byte_length int NOT NULL,          -- without the line feed
  PRIMARY KEY (org_id, timestamp, tenant_seq)
) PARTITION BY RANGE (timestamp);
CREATE INDEX ON app.audit_index (org_id, actor, timestamp, tenant_seq);
CREATE INDEX ON app.audit_index (org_id, action, timestamp, tenant_seq);
CREATE INDEX ON app.audit_index (org_id, resource_id, timestamp, tenant_seq);
CREATE INDEX ON app.audit_index (org_id, outcome, timestamp, tenant_seq);
-- What no month has been made for. Partitions are nobody's to name but their owner's: they carry no grant.
CREATE TABLE app.audit_index_other PARTITION OF app.audit_index DEFAULT;
SELECT millrace.protect('audit_index');
-- Workers may look at their tenant's lines; the indexer alone adds any, and sees none.
REVOKE INSERT, UPDATE, DELETE ON app.audit_index FROM millrace_app, millrace_maintenance;
CREATE POLICY indexing ON app.audit_index FOR INSERT TO millrace_indexer WITH CHECK (true);
GRANT INSERT ON app.audit_index TO millrace_indexer;

-- How far the log is indexed. It moves in the transaction that adds the lines, so none is added twice.
CREATE TABLE engine.audit_index_position (
  lines bigint NOT NULL DEFAULT 0 CHECK (lines >= 0),              -- of the whole log
  segment bigint NOT NULL DEFAULT 0 CHECK (segment >= 0),
  byte_offset bigint NOT NULL DEFAULT 0 CHECK (byte_offset >= 0),
  one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO engine.audit_index_position DEFAULT VALUES;
GRANT SELECT, UPDATE (lines, segment, byte_offset) ON engine.audit_index_position TO millrace_indexer;
GRANT SELECT ON engine.audit_index_position TO millrace_maintenance;

-- Makes the partitions of these months and drops those that are older than so many days.
CREATE FUNCTION engine.tend_audit_index(days int, months date[]) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' SET timezone = 'UTC' AS $$
DECLARE
  wanted date;
  name text;
BEGIN
  FOR wanted IN SELECT DISTINCT date_trunc('month', m)::date FROM unnest(months) AS m LOOP
    name := 'audit_index_' || to_char(wanted, 'YYYY_MM');
    CONTINUE WHEN to_regclass(format('app.%I', name)) IS NOT NULL;
    EXECUTE format('CREATE TABLE app.%I (LIKE app.audit_index INCLUDING CONSTRAINTS)', name);
    EXECUTE format('WITH moved AS (DELETE FROM app.audit_index_other o WHERE o.timestamp >= %L AND o.timestamp < %L RETURNING o.*)
      INSERT INTO app.%I SELECT * FROM moved', wanted, wanted + interval '1 month', name);
    EXECUTE format('ALTER TABLE app.audit_index ATTACH PARTITION app.%I FOR VALUES FROM (%L) TO (%L)',
      name, wanted, wanted + interval '1 month');
  END LOOP;
  FOR name IN
    SELECT c.relname FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
    WHERE h.inhparent = 'app.audit_index'::regclass AND c.relname ~ '^audit_index_[0-9]{4}_[0-9]{2}$'
      AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= now() - make_interval(days => days)
  LOOP
    EXECUTE format('DROP TABLE app.%I', name);
  END LOOP;
  DELETE FROM app.audit_index_other o WHERE o.timestamp < now() - make_interval(days => days);
END $$;

-- Throws the index away; it is then made again from the first line that the files still have.
CREATE FUNCTION engine.reset_audit_index() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
  -- The position first, as the indexer does: whoever holds it adds lines.
  UPDATE engine.audit_index_position SET lines = 0, segment = 0, byte_offset = 0;
  TRUNCATE app.audit_index;
END $$;
REVOKE ALL ON FUNCTION engine.tend_audit_index(int, date[]), engine.reset_audit_index() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.tend_audit_index(int, date[]) TO millrace_indexer;
GRANT EXECUTE ON FUNCTION engine.reset_audit_index() TO millrace_indexer, millrace_maintenance;

-- A page of the tenant in scope, newest first. What is NULL narrows nothing. Planned for its values each time: a plan that
-- fits every combination of filters would use the index of none.
CREATE FUNCTION app.audit_page(by_actor text, by_action text, by_type text, by_resource text, by_outcome text,
    since timestamptz, until timestamptz, after_time timestamptz, after_seq bigint, most bigint)
  RETURNS SETOF app.audit_index LANGUAGE plpgsql STABLE
  SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  org text := app.cur_org();
BEGIN
  RETURN QUERY SELECT i.* FROM app.audit_index i WHERE i.org_id = org
    AND (by_actor IS NULL OR i.actor = by_actor) AND (by_action IS NULL OR i.action = by_action)
    AND (by_type IS NULL OR i.resource_type = by_type) AND (by_resource IS NULL OR i.resource_id = by_resource)
    AND (by_outcome IS NULL OR i.outcome = by_outcome)
    AND (since IS NULL OR i.timestamp >= since) AND (until IS NULL OR i.timestamp < until)
    AND (after_time IS NULL OR (i.timestamp, i.tenant_seq) < (after_time, after_seq))
    ORDER BY i.timestamp DESC, i.tenant_seq DESC LIMIT most;
END $$;
REVOKE ALL ON FUNCTION app.audit_page(text, text, text, text, text, timestamptz, timestamptz, timestamptz, bigint, bigint)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.audit_page(text, text, text, text, text, timestamptz, timestamptz, timestamptz, bigint, bigint)
  TO millrace_reader;

-- For millrace audit reconcile: which messages are settled, and which lines are on their way. Bodies on the audit exchange
-- are lines; the command reads no others.
GRANT SELECT ON engine.inbox, engine.inbox_a, engine.inbox_b, engine.inbox_c TO millrace_maintenance;
GRANT SELECT (exchange, body) ON engine.outbox TO millrace_maintenance;
