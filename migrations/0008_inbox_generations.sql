-- The inbox for years: two generations of 36 days and a spare, so that a key is remembered for 36 to 72 days and no row
-- is ever deleted. It also keeps idempotency keys, which are claims like any other.

-- The key of a claim: the first 16 bytes of SHA-256 over what it stands for, so that an index entry has one short length
-- whatever the ids are. The holder is the message that made the claim; the publisher is empty for an idempotency key.
CREATE TABLE engine.inbox_a (
  key uuid PRIMARY KEY,
  holder text COLLATE "C" NOT NULL,
  org_id text COLLATE "C" NOT NULL,
  publisher text COLLATE "C" NOT NULL,
  claimed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE engine.inbox_b (LIKE engine.inbox_a INCLUDING ALL);
CREATE TABLE engine.inbox_c (LIKE engine.inbox_a INCLUDING ALL);

-- Which generation takes claims. The one before it in the circle a, b, c is asked as well; the one after it is the spare.
CREATE TABLE engine.inbox_turn (
  generation text NOT NULL CHECK (generation IN ('a', 'b', 'c')),
  since timestamptz NOT NULL,
  one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO engine.inbox_turn (generation, since) SELECT 'a', coalesce(min(claimed_at), now()) FROM engine.inbox;

-- Claims held by an earlier build. Parts of a key are separated by NUL, which no text here can hold.
INSERT INTO engine.inbox_a (key, holder, org_id, publisher, claimed_at)
  SELECT encode(substr(sha256('message' || '\x00'::bytea || convert_to(org_id, 'UTF8') || '\x00'::bytea
      || convert_to(publisher, 'UTF8') || '\x00'::bytea || key), 1, 16), 'hex')::uuid,
    message_id, org_id, publisher, claimed_at FROM engine.inbox;
INSERT INTO engine.inbox_a (key, holder, org_id, publisher, claimed_at)
  SELECT encode(substr(sha256('idempotency' || '\x00'::bytea || convert_to(org_id, 'UTF8') || '\x00'::bytea
      || convert_to(actor, 'UTF8') || '\x00'::bytea || convert_to(key, 'UTF8')), 1, 16), 'hex')::uuid,
    message_id, org_id, '', created_at FROM app.idempotency_keys
  ON CONFLICT DO NOTHING;
-- From now on a command with an idempotency key is one message whoever publishes it. Which of the old ones had a key nobody
-- knows any more; for the others the row does no harm.
INSERT INTO engine.inbox_a (key, holder, org_id, publisher, claimed_at)
  SELECT encode(substr(sha256('message' || '\x00'::bytea || convert_to(i.org_id, 'UTF8') || '\x00'::bytea
      || '\x00'::bytea || i.key), 1, 16), 'hex')::uuid,
    i.message_id, i.org_id, '', i.claimed_at
  FROM engine.inbox i JOIN engine.operations o USING (org_id, publisher, message_id)
  ON CONFLICT DO NOTHING;
DROP TABLE engine.inbox, app.idempotency_keys;

-- Everything that was settled and is remembered, for operators and for whoever counts. Idempotency keys are no messages.
CREATE VIEW engine.inbox WITH (security_invoker = true) AS
  SELECT org_id, publisher, holder AS message_id, claimed_at FROM (
    TABLE engine.inbox_a UNION ALL TABLE engine.inbox_b UNION ALL TABLE engine.inbox_c) AS generations
  WHERE publisher <> '';

-- Claims keys in the order they are given, and says who holds each: the message itself for what it has just claimed,
-- with fresh true. Plans are pinned to the indexes, because a plan made while a generation is small would read all of it
-- once it has grown; what that makes look expensive must not be compiled. Only the engine calls it, outside every scope.
CREATE FUNCTION engine.claim(keys uuid[], holders text[], orgs text[], publishers text[])
  RETURNS TABLE (claimed uuid, holder text, fresh boolean) LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  present text;
  won uuid[];
BEGIN
  IF app.cur_org() IS NOT NULL THEN RAISE EXCEPTION 'a tenant is in scope' USING ERRCODE = '42501'; END IF;
  PERFORM pg_advisory_xact_lock_shared(1835625580, 1);  -- excludes turn_inbox
  SELECT generation INTO STRICT present FROM engine.inbox_turn WHERE one;
  IF present = 'a' THEN
    WITH fresh AS (
      INSERT INTO engine.inbox_a AS i (key, holder, org_id, publisher)
      SELECT n.key, n.holder, n.org_id, n.publisher
      FROM UNNEST(keys, holders, orgs, publishers) WITH ORDINALITY AS n (key, holder, org_id, publisher, place)
      WHERE NOT EXISTS (SELECT 1 FROM engine.inbox_c p WHERE p.key = n.key)
      ORDER BY n.key, n.place ON CONFLICT DO NOTHING RETURNING i.key)
    SELECT array_agg(key) INTO won FROM fresh;
  ELSIF present = 'b' THEN
    WITH fresh AS (
      INSERT INTO engine.inbox_b AS i (key, holder, org_id, publisher)
      SELECT n.key, n.holder, n.org_id, n.publisher
      FROM UNNEST(keys, holders, orgs, publishers) WITH ORDINALITY AS n (key, holder, org_id, publisher, place)
      WHERE NOT EXISTS (SELECT 1 FROM engine.inbox_a p WHERE p.key = n.key)
      ORDER BY n.key, n.place ON CONFLICT DO NOTHING RETURNING i.key)
    SELECT array_agg(key) INTO won FROM fresh;
  ELSE
    WITH fresh AS (
      INSERT INTO engine.inbox_c AS i (key, holder, org_id, publisher)
      SELECT n.key, n.holder, n.org_id, n.publisher
      FROM UNNEST(keys, holders, orgs, publishers) WITH ORDINALITY AS n (key, holder, org_id, publisher, place)
      WHERE NOT EXISTS (SELECT 1 FROM engine.inbox_b p WHERE p.key = n.key)
      ORDER BY n.key, n.place ON CONFLICT DO NOTHING RETURNING i.key)
    SELECT array_agg(key) INTO won FROM fresh;
  END IF;
  -- Nothing to look up: every key was claimed just now, once.
  IF coalesce(cardinality(won), 0) = cardinality(keys) THEN
    RETURN QUERY SELECT * FROM UNNEST(keys, holders) AS n (key, holder), LATERAL (SELECT true) AS f;
    RETURN;
  END IF;
  RETURN QUERY
    SELECT n.key, coalesce(a.holder, b.holder, c.holder), n.key = ANY (won) AND won IS NOT NULL
    FROM (SELECT DISTINCT u.key FROM UNNEST(keys) AS u (key)) AS n
      LEFT JOIN engine.inbox_a a ON a.key = n.key AND present <> 'c'
      LEFT JOIN engine.inbox_b b ON b.key = n.key AND present <> 'a'
      LEFT JOIN engine.inbox_c c ON c.key = n.key AND present <> 'b';
END $$;
REVOKE ALL ON FUNCTION engine.claim(uuid[], text[], text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.claim(uuid[], text[], text[], text[]) TO millrace_app;

-- Begins the next generation when the present one is 36 days old: a message may be 35 days old, and clocks differ. Claims
-- stop for as long as one row takes to change; where claims in flight do not let it in soon, it fails and is tried again.
-- Says whether it turned.
CREATE FUNCTION engine.turn_inbox() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
  present text;
  in_use boolean;
BEGIN
  SELECT generation INTO present FROM engine.inbox_turn WHERE since < now() - interval '36 days';
  IF NOT FOUND THEN RETURN false; END IF;
  in_use := CASE present
    WHEN 'a' THEN EXISTS (SELECT 1 FROM engine.inbox_b)
    WHEN 'b' THEN EXISTS (SELECT 1 FROM engine.inbox_c)
    ELSE EXISTS (SELECT 1 FROM engine.inbox_a) END;
  IF in_use THEN RETURN false; END IF;
  PERFORM pg_advisory_xact_lock(1835625580, 1);
  UPDATE engine.inbox_turn SET since = now(), generation = CASE present WHEN 'a' THEN 'b' WHEN 'b' THEN 'c' ELSE 'a' END
    WHERE generation = present AND since < now() - interval '36 days';
  RETURN FOUND;
END $$;

-- Empties the spare, in which no claim has looked for anything since the turn that made it one. Says whether there was anything.
CREATE FUNCTION engine.clear_spare_inbox() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
  present text;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1835625580, 1);  -- excludes turn_inbox
  SELECT generation INTO STRICT present FROM engine.inbox_turn;
  IF present = 'a' AND EXISTS (SELECT 1 FROM engine.inbox_b) THEN
    TRUNCATE engine.inbox_b;
  ELSIF present = 'b' AND EXISTS (SELECT 1 FROM engine.inbox_c) THEN
    TRUNCATE engine.inbox_c;
  ELSIF present = 'c' AND EXISTS (SELECT 1 FROM engine.inbox_a) THEN
    TRUNCATE engine.inbox_a;
  ELSE
    RETURN false;
  END IF;
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION engine.turn_inbox(), engine.clear_spare_inbox() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.turn_inbox(), engine.clear_spare_inbox() TO millrace_relay;

-- Who a tenant's callers are at present: one row for each user, or one without a user when nobody asks as one.
-- In PL/pgSQL, which keeps its plans; SQL functions are planned anew in every statement.
CREATE FUNCTION app.presence(users text[])
  RETURNS TABLE (standing text, user_id text, member_role text, session_epoch timestamptz, removed boolean)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  org text := app.cur_org();
  now_standing text := app.standing();
BEGIN
  IF cardinality(users) = 0 THEN
    RETURN QUERY SELECT now_standing, NULL::text, NULL::text, NULL::timestamptz, false;
    RETURN;
  END IF;
  RETURN QUERY
    SELECT now_standing, u.user_id, m.role, m.session_epoch, r.subject IS NOT NULL
    FROM UNNEST(users) AS u (user_id)
      LEFT JOIN app.members m ON m.org_id = org AND m.user_id = u.user_id
      LEFT JOIN app.removed_members r ON r.org_id = org AND r.subject = app.subject_tag(u.user_id);
END $$;
REVOKE ALL ON FUNCTION app.presence(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.presence(text[]) TO millrace_app, millrace_reader;

-- From one tenant to the next in one round trip: verifies that the context is still the one that was left in place, puts
-- the next one there, and says who its callers are. Refuses with MR001 when somebody has changed it in between.
CREATE FUNCTION app.enter(leaving text, entering text, users text[])
  RETURNS TABLE (standing text, user_id text, member_role text, session_epoch timestamptz, removed boolean)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF coalesce(current_setting('app.ctx', true), '') <> leaving THEN
    RAISE EXCEPTION 'the tenant context was changed' USING ERRCODE = 'MR001';
  END IF;
  PERFORM set_config('app.ctx', entering, true);
  RETURN QUERY SELECT * FROM app.presence(users);
END $$;
REVOKE ALL ON FUNCTION app.enter(text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.enter(text, text, text[]) TO millrace_app;

-- The same answers as before, from kept plans.
CREATE OR REPLACE FUNCTION app.standing() RETURNS text LANGUAGE plpgsql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  state text;
  level text;
BEGIN
  SELECT t.state, a.level INTO state, level
    FROM app.tenants t LEFT JOIN app.access a ON a.org_id = t.org_id WHERE t.org_id = org;
  RETURN CASE
    WHEN state IS NULL THEN 'unknown'
    WHEN state <> 'active' THEN 'tenant_' || state
    WHEN level IN ('read_only', 'suspended') THEN 'access_' || level
    ELSE 'good' END;
END $$;
CREATE OR REPLACE FUNCTION app.entitlement(wanted text) RETURNS jsonb LANGUAGE plpgsql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  found_value jsonb;
BEGIN
  SELECT e.value INTO found_value FROM app.entitlements e
    WHERE e.org_id = org AND e.feature = wanted AND e.valid_from <= now() AND (e.valid_to IS NULL OR e.valid_to > now())
    ORDER BY e.source = 'override' DESC, e.valid_from DESC, e.id LIMIT 1;
  IF NOT FOUND THEN
    SELECT p.value INTO found_value FROM app.tenants t JOIN ref.plan_entitlements p ON p.plan = t.plan AND p.feature = wanted
      WHERE t.org_id = org;
  END IF;
  RETURN found_value;
END $$;
CREATE OR REPLACE FUNCTION app.limit_of(metric text) RETURNS bigint LANGUAGE plpgsql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  value jsonb := app.entitlement(metric);
BEGIN
  RETURN CASE WHEN value = '"unlimited"' THEN 9223372036854775807 WHEN jsonb_typeof(value) = 'number' THEN value::bigint ELSE 0 END;
END $$;
CREATE OR REPLACE FUNCTION app.subject_tag(user_id text) RETURNS bytea LANGUAGE plpgsql STABLE STRICT
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
BEGIN
  RETURN (SELECT sha256(k.opad || sha256(k.ipad || convert_to(org, 'UTF8') || '\x00'::bytea || convert_to(user_id, 'UTF8')))
    FROM priv.subject_key k);
END $$;
