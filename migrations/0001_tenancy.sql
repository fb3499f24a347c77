-- Who is who: schemas, the sealed tenant context, and the protection of tenant tables.
-- The roles exist already (millrace migrate makes them when $MILLRACE_ADMIN_DATABASE_URL is set); migrations run as millrace_owner.

CREATE SCHEMA app;       -- tenant tables
CREATE SCHEMA engine;    -- inbox, outbox, parked, dead letters, provider links
CREATE SCHEMA millrace;  -- functions for migrations, adopters' migrations included
CREATE SCHEMA priv;      -- secrets; no run-time role may look inside

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA app, engine TO millrace_app, millrace_reader, millrace_relay, millrace_maintenance;

-- Inner and outer pads of HMAC-SHA256, one row per active key; equivalent to the key itself.
CREATE TABLE priv.k (
  ipad bytea NOT NULL CHECK (length(ipad) = 64),
  opad bytea NOT NULL CHECK (length(opad) = 64),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (ipad)
);

-- The tenant in scope, or NULL. The context is '<hex HMAC of org_id>.<org_id>': injected SQL can set the
-- setting, but cannot make the tag of another tenant.
CREATE FUNCTION app.cur_org() RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  context text := nullif(current_setting('app.ctx', true), '');
  tag bytea;
  org text;
BEGIN
  IF context IS NULL THEN RETURN NULL; END IF;
  tag := decode(split_part(context, '.', 1), 'hex');
  org := substr(context, 66);
  IF EXISTS (SELECT 1 FROM priv.k WHERE sha256(opad || sha256(ipad || convert_to(org, 'UTF8'))) = tag) THEN
    RETURN org;
  END IF;
  RAISE EXCEPTION 'tenant context rejected' USING ERRCODE = '42501';
END $$;
REVOKE ALL ON FUNCTION app.cur_org() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.cur_org() TO millrace_app, millrace_reader, millrace_maintenance;

-- Gives a table of schema app everything isolation needs: RLS, FORCE, policies, grants, and the index for
-- keyset paging by age where it has created_at. The table has org_id as the first column of its primary key.
CREATE FUNCTION millrace.protect(name text) RETURNS void LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  tab regclass := format('app.%I', name)::regclass;
  last_key text;
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tab);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tab);
  EXECUTE format('CREATE POLICY tenant ON %s FOR ALL TO millrace_app '
    'USING (org_id = (SELECT app.cur_org())) WITH CHECK (org_id = (SELECT app.cur_org()))', tab);
  EXECUTE format('CREATE POLICY tenant_read ON %s FOR SELECT TO millrace_reader '
    'USING (org_id = (SELECT app.cur_org()))', tab);
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO millrace_app, millrace_maintenance', tab);
  EXECUTE format('GRANT SELECT ON %s TO millrace_reader', tab);
  IF EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = tab AND attname = 'created_at' AND NOT attisdropped) THEN
    SELECT a.attname INTO last_key FROM pg_index i
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[i.indnkeyatts - 1]
      WHERE i.indrelid = tab AND i.indisprimary;
    EXECUTE format('CREATE INDEX ON %s (org_id, created_at DESC%s)', tab,
      CASE WHEN last_key = 'org_id' THEN '' ELSE format(', %I', last_key) END);
  END IF;
END $$;
REVOKE ALL ON FUNCTION millrace.protect(text) FROM PUBLIC;

CREATE TABLE app.tenants (
  org_id text COLLATE "C" PRIMARY KEY DEFAULT app.cur_org() CHECK (org_id ~ '^[A-Za-z0-9_.:@-]{1,64}$'),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  created_at timestamptz NOT NULL DEFAULT now()
);
SELECT millrace.protect('tenants');
