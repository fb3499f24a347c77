-- A tenant's life, its plan, and what it may use of it.

ALTER TABLE app.tenants
  ADD COLUMN state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'closed')),
  ADD COLUMN plan text COLLATE "C" NOT NULL DEFAULT 'free',
  ADD COLUMN closed_at timestamptz CHECK ((closed_at IS NOT NULL) = (state = 'closed'));

-- Plans and what they entitle to. The same for every tenant and public, so without row-level security.
CREATE SCHEMA ref;
GRANT USAGE ON SCHEMA ref TO millrace_app, millrace_reader, millrace_maintenance;
CREATE TABLE ref.plans (
  plan text COLLATE "C" PRIMARY KEY,
  self_service boolean NOT NULL   -- a tenant's own administrators may choose it
);
CREATE TABLE ref.plan_entitlements (
  plan text COLLATE "C" NOT NULL REFERENCES ref.plans,
  feature text COLLATE "C" NOT NULL,
  kind text NOT NULL CHECK (kind IN ('bool', 'limit', 'config')),
  value jsonb NOT NULL,   -- bool: true or false; limit: a whole number or "unlimited"; config: anything
  PRIMARY KEY (plan, feature)
);
GRANT SELECT ON ref.plans, ref.plan_entitlements TO millrace_app, millrace_reader, millrace_maintenance;
INSERT INTO ref.plans VALUES ('free', true), ('pro', true), ('enterprise', false);
INSERT INTO ref.plan_entitlements (plan, feature, kind, value) VALUES
  ('free', 'projects', 'limit', '3'), ('pro', 'projects', 'limit', '100'), ('enterprise', 'projects', 'limit', '"unlimited"'),
  ('free', 'members', 'limit', '5'), ('pro', 'members', 'limit', '50'), ('enterprise', 'members', 'limit', '"unlimited"'),
  ('free', 'audit_export', 'bool', 'false'), ('pro', 'audit_export', 'bool', 'true'), ('enterprise', 'audit_export', 'bool', 'true'),
  ('free', 'support', 'config', '"community"'), ('pro', 'support', 'config', '"business_day"'), ('enterprise', 'support', 'config', '"4h"');

-- What one tenant has beside its plan.
CREATE TABLE app.entitlements (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  id uuid NOT NULL,
  feature text COLLATE "C" NOT NULL,
  kind text NOT NULL CHECK (kind IN ('bool', 'limit', 'config')),
  value jsonb NOT NULL,
  source text NOT NULL CHECK (source IN ('trial', 'override')),
  valid_from timestamptz NOT NULL DEFAULT now(),
  valid_to timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id)
);
SELECT millrace.protect('entitlements');

-- How much of each limit is used up. Changed by one conditional statement, which is what makes a limit hold.
CREATE TABLE app.usage_counters (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  metric text COLLATE "C" NOT NULL,
  used bigint NOT NULL CHECK (used >= 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, metric)
);
SELECT millrace.protect('usage_counters');

-- The value in force for the tenant in scope: an override, else a trial, else its plan's; NULL when none names it.
CREATE FUNCTION app.entitlement(wanted text) RETURNS jsonb LANGUAGE sql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(
    (SELECT e.value FROM app.entitlements e
      WHERE e.org_id = (SELECT app.cur_org()) AND e.feature = wanted
        AND e.valid_from <= now() AND (e.valid_to IS NULL OR e.valid_to > now())
      ORDER BY e.source = 'override' DESC, e.valid_from DESC, e.id LIMIT 1),
    (SELECT p.value FROM app.tenants t JOIN ref.plan_entitlements p ON p.plan = t.plan AND p.feature = wanted
      WHERE t.org_id = (SELECT app.cur_org())))
$$;

-- A limit as a number; what nobody entitles to is none, and "unlimited" is the largest number there is.
CREATE FUNCTION app.limit_of(metric text) RETURNS bigint LANGUAGE sql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN value = '"unlimited"' THEN 9223372036854775807 WHEN jsonb_typeof(value) = 'number' THEN value::bigint ELSE 0 END
  FROM (SELECT app.entitlement(metric) AS value) AS e
$$;

-- What the tenant in scope may do at present: 'good', 'unknown', 'tenant_suspended', 'tenant_closed',
-- 'access_read_only' or 'access_suspended'.
CREATE FUNCTION app.standing() RETURNS text LANGUAGE sql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN t.org_id IS NULL THEN 'unknown'
    WHEN t.state <> 'active' THEN 'tenant_' || t.state
    WHEN a.level IN ('read_only', 'suspended') THEN 'access_' || a.level
    ELSE 'good' END
  FROM (SELECT app.cur_org() AS org_id) AS c
    LEFT JOIN app.tenants t ON t.org_id = c.org_id LEFT JOIN app.access a ON a.org_id = c.org_id
$$;
REVOKE ALL ON FUNCTION app.entitlement(text), app.limit_of(text), app.standing() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.entitlement(text), app.limit_of(text), app.standing() TO millrace_app, millrace_reader;

-- Links a customer to the tenant in scope, and to no other; says 'linked', 'already' or 'elsewhere'. A definer
-- function, since workers must neither read links nor write them for a tenant that is not in scope.
CREATE FUNCTION engine.link_customer(provider text, account text, livemode boolean, external_id text) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  holder text;
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  INSERT INTO engine.provider_links AS l (provider, account, livemode, external_id, org_id)
    VALUES ($1, $2, $3, $4, org) ON CONFLICT DO NOTHING;
  IF FOUND THEN
    UPDATE engine.parked SET not_before = now() WHERE reason = 'tenant_unresolved' AND not_before > now();
    RETURN 'linked';
  END IF;
  SELECT l.org_id INTO holder FROM engine.provider_links l
    WHERE l.provider = $1 AND l.account = $2 AND l.livemode = $3 AND l.external_id = $4;
  RETURN CASE WHEN holder = org THEN 'already' ELSE 'elsewhere' END;
END $$;
REVOKE ALL ON FUNCTION engine.link_customer(text, text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.link_customer(text, text, boolean, text) TO millrace_app;
