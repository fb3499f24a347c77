-- Erasing a whole tenant, in bounded steps; and erasures that nothing undoes, whatever comes at the same time.

-- A tenant that was erased keeps its row: it denies everybody, for ever, and nobody takes the id again.
ALTER TABLE app.tenants ADD COLUMN erased_at timestamptz CHECK (erased_at IS NULL OR state = 'closed');

CREATE OR REPLACE FUNCTION app.standing() RETURNS text LANGUAGE plpgsql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  state text;
  level text;
  erased boolean;
BEGIN
  SELECT t.state, a.level, t.erased_at IS NOT NULL INTO state, level, erased
    FROM app.tenants t LEFT JOIN app.access a ON a.org_id = t.org_id WHERE t.org_id = org;
  RETURN CASE
    WHEN state IS NULL THEN 'unknown'
    WHEN erased THEN 'tenant_erased'
    WHEN state <> 'active' THEN 'tenant_' || state
    WHEN level IN ('read_only', 'suspended') THEN 'access_' || level
    ELSE 'good' END;
END $$;

-- An erasure is of a subject, as so far, or of the whole tenant, which takes many steps. The tag is that of the tombstone:
-- whoever asks again finds the last certificate by it.
ALTER TABLE app.erasures
  ADD COLUMN scope text NOT NULL DEFAULT 'subject' CHECK (scope IN ('subject', 'org')),
  ADD COLUMN subject_tag bytea CHECK (length(subject_tag) = 32),
  ADD COLUMN erased jsonb NOT NULL DEFAULT '{}',   -- rows by table that are gone so far
  ALTER COLUMN pseudonym DROP NOT NULL,
  DROP CONSTRAINT erasures_state_check,
  DROP CONSTRAINT erasures_check,
  DROP CONSTRAINT erasures_check1;
ALTER TABLE app.erasures
  ADD CONSTRAINT erasures_state CHECK (state IN ('planned', 'executing', 'executed', 'canceled')),
  ADD CONSTRAINT erasures_named CHECK ((scope = 'subject' AND state = 'planned') = (subject IS NOT NULL)),
  ADD CONSTRAINT erasures_pseudonym CHECK (scope = 'org' OR pseudonym IS NOT NULL),
  ADD CONSTRAINT erasures_settled CHECK ((state IN ('planned', 'executing')) = (settled_at IS NULL));
CREATE UNIQUE INDEX erasures_of_org ON app.erasures (org_id) WHERE scope = 'org' AND state IN ('planned', 'executing');
CREATE INDEX erasures_by_tag ON app.erasures (org_id, subject_tag) WHERE subject_tag IS NOT NULL;

-- As before, but whoever is erased at the same moment is named by neither. An erasure waits on the key of the mapping for one
-- that is being made, and takes it away; one that is made while the erasure commits is taken away here, by a statement that
-- sees the tombstone. A tenant's tombstone is waited for by the lock on its row.
CREATE OR REPLACE FUNCTION app.pseudonyms(users text[]) RETURNS TABLE (user_id text, pseudonym uuid)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  org text := app.cur_org();
  erased boolean;
BEGIN
  SELECT t.erased_at IS NOT NULL INTO erased FROM app.tenants t WHERE t.org_id = org FOR SHARE;
  IF erased THEN RETURN; END IF;
  INSERT INTO app.subjects (org_id, subject)
    SELECT org, u.user_id FROM UNNEST(users) AS u (user_id)
    WHERE NOT EXISTS (SELECT 1 FROM app.removed_members r
      WHERE r.org_id = org AND r.subject = app.subject_tag(u.user_id) AND r.erased_at IS NOT NULL)
    ORDER BY u.user_id ON CONFLICT DO NOTHING;
  IF FOUND THEN
    DELETE FROM app.subjects s WHERE s.org_id = org AND s.subject = ANY (users) AND EXISTS (
      SELECT 1 FROM app.removed_members r
      WHERE r.org_id = org AND r.subject = app.subject_tag(s.subject) AND r.erased_at IS NOT NULL);
  END IF;
  RETURN QUERY SELECT s.subject, s.pseudonym FROM app.subjects s WHERE s.org_id = org AND s.subject = ANY (users);
END $$;

CREATE OR REPLACE FUNCTION app.erase_person(person text, really boolean) RETURNS jsonb LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  place text;
  rows_by_table jsonb := '{}';
  made bigint := 0;
BEGIN
  IF really THEN
    -- Holds the key of the mapping, so that nobody makes it until the tombstone is there; waits for who makes it now.
    INSERT INTO app.subjects (org_id, subject) VALUES (org, person) ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS made = ROW_COUNT;
  END IF;
  FOR place IN SELECT * FROM app.erasure_tables() LOOP
    rows_by_table := rows_by_table || jsonb_build_object(place, app.erase_in(place, person, really));
  END LOOP;
  rows_by_table := rows_by_table || engine.erase_person(person, really);
  IF really THEN
    rows_by_table := rows_by_table || jsonb_build_object('app.subjects', (rows_by_table->>'app.subjects')::bigint - made);
    UPDATE app.usage_counters u SET used = u.used - (rows_by_table->>'app.members')::bigint
      WHERE u.org_id = org AND u.metric = 'members';
    INSERT INTO app.removed_members AS r (org_id, subject, erased_at) VALUES (org, app.subject_tag(person), now())
      ON CONFLICT (org_id, subject) DO UPDATE SET erased_at = coalesce(r.erased_at, EXCLUDED.erased_at);
  END IF;
  RETURN (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(rows_by_table) WHERE value <> '0');
END $$;

-- Who of the tenant in scope has one of these tombstones: every id of a person that the catalogue knows, and those in
-- envelopes. For a database that was restored from before they were erased.
CREATE FUNCTION app.people_tagged(tags bytea[]) RETURNS TABLE (person text, tag bytea) LANGUAGE plpgsql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  org text := app.cur_org();
  place text;
  name text;
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  FOR place, name IN SELECT p.place, p.name FROM app.personal_columns() p WHERE p.kind = 'person' LOOP
    RETURN QUERY EXECUTE format('SELECT t.person, t.tag FROM (SELECT c.person, app.subject_tag(c.person) AS tag FROM '
      '(SELECT DISTINCT %2$I::text AS person FROM %1$s WHERE org_id = $1 AND %2$I IS NOT NULL) AS c) AS t WHERE t.tag = ANY ($2)',
      place, name) USING org, tags;
  END LOOP;
  RETURN QUERY SELECT t.person, t.tag FROM (SELECT c.person, app.subject_tag(c.person) AS tag FROM (
      SELECT l.fields->>'actor_id' AS person FROM engine.dead_letters l
        WHERE l.org_id = org AND l.fields->>'actor_kind' = 'user'
      UNION SELECT p.fields->>'actor_id' FROM engine.parked p
        WHERE p.fields->>'org_id' = org AND p.fields->>'actor_kind' = 'user') AS c) AS t
    WHERE t.tag = ANY (tags);
END $$;
REVOKE ALL ON FUNCTION app.people_tagged(bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.people_tagged(bytea[]) TO millrace_maintenance;

-- Every table of tenants, those that refer to others before those, and why its rows outlive the tenant's erasure, if they do:
-- the tag of org_id says so, '; org: kept, <why>'. What says nothing goes.
CREATE FUNCTION app.org_tables() RETURNS TABLE (place text, kept text) LANGUAGE sql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE deep (oid, depth) AS (
    SELECT c.oid, 0 FROM pg_class c
      WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    UNION
    SELECT f.conrelid, d.depth + 1 FROM deep d
      JOIN pg_constraint f ON f.confrelid = d.oid AND f.contype = 'f' AND f.conrelid <> f.confrelid WHERE d.depth < 16)
  SELECT p.place, substring(p.tag FROM '; org: kept, ([^;]+)')
  FROM app.personal_columns() p JOIN deep d ON d.oid = p.place::regclass
  WHERE p.name = 'org_id' AND p.place LIKE 'app.%'
  GROUP BY p.place, p.tag ORDER BY max(d.depth) DESC, p.place
$$;

-- Deletes so many rows of the tenant in scope from one table; those of a table that refers to itself leaves first, and a ring of
-- them at once.
CREATE FUNCTION app.erase_org_in(place text, most bigint) RETURNS bigint LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  tab regclass := place::regclass;
  rest_of_key text;
  referred text;
  statement text;
  gone bigint;
  all_gone bigint := 0;
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  SELECT string_agg(format('%I', a.attname), ', ' ORDER BY k.n) INTO rest_of_key
    FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (attnum, n), pg_attribute a
    WHERE i.indrelid = tab AND i.indisprimary AND a.attrelid = tab AND a.attnum = k.attnum AND a.attname <> 'org_id';
  SELECT string_agg(format(' AND NOT EXISTS (SELECT 1 FROM %s y WHERE %s)', tab, (
      SELECT string_agg(format('y.%I = x.%I', here.attname, there.attname), ' AND ')
      FROM unnest(f.conkey, f.confkey) AS u (mine, theirs)
        JOIN pg_attribute here ON here.attrelid = tab AND here.attnum = u.mine
        JOIN pg_attribute there ON there.attrelid = tab AND there.attnum = u.theirs)), '') INTO referred
    FROM pg_constraint f WHERE f.conrelid = tab AND f.confrelid = tab AND f.contype = 'f';
  IF rest_of_key IS NULL THEN
    statement := format('DELETE FROM %s WHERE org_id = $1 AND $2 > 0', tab);
  ELSE
    statement := format('DELETE FROM %1$s WHERE org_id = $1 AND (%2$s) IN (SELECT %2$s FROM %1$s x WHERE x.org_id = $1%3$s LIMIT $2)',
      tab, rest_of_key, coalesce(referred, ''));
  END IF;
  LOOP
    EXECUTE statement USING org, most - all_gone;
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone = 0 AND referred IS NOT NULL THEN
      EXECUTE format('DELETE FROM %s WHERE org_id = $1', tab) USING org;
      GET DIAGNOSTICS gone = ROW_COUNT;
      RETURN all_gone + gone;
    END IF;
    all_gone := all_gone + gone;
    EXIT WHEN referred IS NULL OR gone = 0 OR all_gone >= most;
  END LOOP;
  RETURN all_gone;
END $$;

-- Rows of the tenant in scope by table: what an erasure of it will take, and what it will keep.
CREATE FUNCTION app.org_rows() RETURNS TABLE (place text, kept text, amount bigint) LANGUAGE plpgsql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  org text := app.cur_org();
BEGIN
  FOR place, kept IN SELECT t.place, t.kept FROM app.org_tables() t LOOP
    EXECUTE format('SELECT count(*) FROM %s WHERE org_id = $1', place::regclass) INTO amount USING org;
    IF amount > 0 THEN RETURN NEXT; END IF;
  END LOOP;
END $$;

-- Takes what the engine keeps of the tenant in scope, so many rows of a kind; the steps of the erasure itself stay. What is
-- parked comes due where the erasure begins: it is denied, and its row goes with that.
CREATE FUNCTION engine.erase_org(most bigint, beginning boolean) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  letters bigint;
  answers bigint;
  put_off bigint;
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  IF beginning THEN
    UPDATE engine.parked p SET not_before = now() WHERE p.not_before > now() AND p.fields->>'org_id' = org;
  END IF;
  UPDATE engine.dead_letters l SET erased_at = now(), body = '', fields = l.fields - ARRAY['actor_id', 'token_id', 'dedupe_key'],
      state = CASE l.state WHEN 'open' THEN 'discarded' ELSE l.state END,
      marked_at = coalesce(l.marked_at, now()), marked_by = coalesce(l.marked_by, 'erasure'),
      because = CASE WHEN l.state = 'open' OR l.because IS NOT NULL THEN 'personal data erased' END
    WHERE l.id IN (SELECT d.id FROM engine.dead_letters d WHERE d.org_id = org AND d.erased_at IS NULL LIMIT most);
  GET DIAGNOSTICS letters = ROW_COUNT;
  UPDATE engine.operations o SET resource_id = NULL WHERE o.org_id = org AND (o.publisher, o.message_id) IN (
    SELECT p.publisher, p.message_id FROM engine.operations p
    WHERE p.org_id = org AND p.resource_id IS NOT NULL AND p.resource_type NOT IN ('erasure', 'export') LIMIT most);
  GET DIAGNOSTICS answers = ROW_COUNT;
  DELETE FROM engine.due d WHERE d.org_id = org AND (d.message_type, d.subject) IN (
    SELECT e.message_type, e.subject FROM engine.due e
    WHERE e.org_id = org AND e.message_type NOT IN ('compliance.erase_org', 'compliance.expire_export') LIMIT most);
  GET DIAGNOSTICS put_off = ROW_COUNT;
  RETURN jsonb_build_object('engine.dead_letters', letters, 'engine.operations', answers, 'engine.due', put_off);
END $$;

-- What of the tenant in scope is still on its way: an erasure is over when it has arrived. Lines of the audit log name nobody.
CREATE FUNCTION engine.org_on_its_way() RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  RETURN (SELECT count(*) FROM engine.parked p
      WHERE p.fields->>'org_id' = org AND p.fields->>'type' <> 'compliance.erase_org')
    + (SELECT count(*) FROM engine.outbox o WHERE o.fields->>'org_id' = org AND o.exchange <> 'millrace.audit');
END $$;

-- One bounded step of the erasure of the tenant in scope: rows by table, and whether more are left. A table is begun when those
-- that refer to it are empty.
CREATE FUNCTION app.erase_org(most bigint, beginning boolean) RETURNS jsonb LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  place text;
  gone bigint;
  room bigint := most;
  rows_by_table jsonb := '{}';
BEGIN
  IF app.standing() <> 'tenant_erased' THEN
    RAISE EXCEPTION 'the tenant is not closed for its erasure' USING ERRCODE = '55000';
  END IF;
  FOR place IN SELECT t.place FROM app.org_tables() t WHERE t.kept IS NULL LOOP
    gone := app.erase_org_in(place, room);
    rows_by_table := rows_by_table || jsonb_build_object(place, gone);
    room := room - gone;
    EXIT WHEN room <= 0;
  END LOOP;
  IF room > 0 OR beginning THEN
    rows_by_table := rows_by_table || engine.erase_org(greatest(room, 1), beginning);
    SELECT room - sum(value::bigint) INTO room FROM jsonb_each_text(rows_by_table) WHERE key LIKE 'engine.%';
  END IF;
  RETURN jsonb_build_object('more', room <= 0, 'erased',
    (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(rows_by_table) WHERE value <> '0'));
END $$;
REVOKE ALL ON FUNCTION app.org_tables(), app.erase_org_in(text, bigint), app.org_rows(),
  app.erase_org(bigint, boolean), engine.erase_org(bigint, boolean), engine.org_on_its_way() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.org_tables(), app.erase_org_in(text, bigint), app.org_rows(),
  app.erase_org(bigint, boolean), engine.erase_org(bigint, boolean), engine.org_on_its_way()
  TO millrace_app, millrace_maintenance;
GRANT EXECUTE ON FUNCTION app.standing() TO millrace_maintenance;

-- What a hold pinned: the SHA-256 of its bundle's manifest.
ALTER TABLE engine.holds
  ADD COLUMN evidence_sha256 bytea CHECK (length(evidence_sha256) = 32),
  ADD COLUMN evidence_lines bigint,
  ADD COLUMN pinned_at timestamptz,
  ADD CHECK ((evidence_sha256 IS NULL) = (pinned_at IS NULL));
GRANT UPDATE (evidence_sha256, evidence_lines, pinned_at) ON engine.holds TO millrace_maintenance;

-- A letter of somebody who is erased is buried without its body.
ALTER POLICY bury ON engine.dead_letters WITH CHECK (state = 'open' OR erased_at IS NOT NULL);

-- Foreign keys and rights that would stop an erasure, which millrace coverage names before one is asked for: rows that refer to
-- what goes and neither go themselves nor let go of it; tables whose rows the workers may not delete.
CREATE FUNCTION app.erasure_obstacles() RETURNS TABLE (place text, obstacle text, stops text) LANGUAGE sql STABLE
  SET search_path = pg_catalog, pg_temp AS $$
  WITH keys AS (
    SELECT f.conname::text AS name, f.conkey, f.conrelid AS referring, f.confrelid AS referred
    FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid
    WHERE f.contype = 'f' AND f.conparentid = 0 AND f.confdeltype IN ('a', 'r') AND f.conrelid <> f.confrelid
      AND c.relnamespace = 'app'::regnamespace AND NOT c.relispartition)
  SELECT k.referring::regclass::text, k.name, 'person' FROM keys k
    WHERE EXISTS (SELECT 1 FROM app.personal_columns() p
        WHERE p.place::regclass = k.referred AND p.kind = 'person' AND p.erasure = 'row')
      AND NOT EXISTS (SELECT 1 FROM app.personal_columns() p
        JOIN pg_attribute a ON a.attrelid = k.referring AND a.attname = p.name AND a.attnum = ANY (k.conkey)
        WHERE p.place::regclass = k.referring AND p.kind = 'person' AND p.erasure IN ('row', 'column'))
  UNION ALL
  SELECT k.referring::regclass::text, k.name, 'org' FROM keys k
    WHERE EXISTS (SELECT 1 FROM app.org_tables() t WHERE t.place::regclass = k.referring AND t.kept IS NOT NULL)
      AND EXISTS (SELECT 1 FROM app.org_tables() t WHERE t.place::regclass = k.referred AND t.kept IS NULL)
  UNION ALL
  SELECT t.place, 'DELETE', 'right' FROM app.org_tables() t
    WHERE t.kept IS NULL AND NOT has_table_privilege('millrace_app', t.place::regclass, 'DELETE')
$$;
REVOKE ALL ON FUNCTION app.erasure_obstacles() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.erasure_obstacles() TO millrace_app, millrace_maintenance;

SELECT millrace.tag('app.tenants', '{org_id}', 'pii: none, of an organisation; org: kept, the tombstone that denies');
SELECT millrace.tag('app.tenants', '{erased_at}', 'pii: none, of an organisation');
SELECT millrace.tag('app.erasures', '{org_id}', 'pii: none, of an organisation; org: kept, the evidence that it was done');
SELECT millrace.tag('app.erasures', '{scope,erased}', 'pii: none, counts');
SELECT millrace.tag('app.erasures', '{subject_tag}',
  'pii: none, a tag from which nobody can read the person; export: no, it says nothing to anybody');
SELECT millrace.tag('app.removed_members', '{org_id}', 'pii: none, an organisation; org: kept, tombstones that deny');
SELECT millrace.tag('app.audit_index', '{org_id}',
  'pii: none, the audit log''s own words; org: kept, it is made again from the log and expires with it');
SELECT millrace.tag('app.invoices', '{org_id}', 'pii: none, what an organisation owes; org: kept, bookkeeping that the law asks for');
SELECT millrace.tag('app.invoice_payments', '{org_id}', 'pii: none, the provider''s ids; org: kept, bookkeeping that the law asks for');
SELECT millrace.tag('app.refunds', '{org_id}', 'pii: none, amounts; org: kept, bookkeeping that the law asks for');
SELECT millrace.tag('app.fee_ledger', '{org_id}', 'pii: none, amounts; org: kept, bookkeeping that the law asks for');
SELECT millrace.tag('engine.holds', '{evidence_sha256,evidence_lines,pinned_at}', 'pii: none, hashes, counts and times');

-- Exports of a tenant that is erased can neither go on nor be fetched, and their objects go as soon as no page can be under way
-- any more. Their rows stay, without whoever they are about, and say that the objects are gone.
CREATE FUNCTION app.revoke_every_export() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  revoked text[];
BEGIN
  UPDATE app.exports e SET after_key = NULL, subject = NULL,
      state = CASE WHEN e.state IN ('running', 'ready') THEN 'revoked' ELSE e.state END
    WHERE e.org_id = NEW.org_id;
  SELECT array_agg(e.id::text) INTO revoked FROM app.exports e WHERE e.org_id = NEW.org_id AND e.gone_at IS NULL;
  IF revoked IS NOT NULL THEN PERFORM engine.hasten_expiry(revoked); END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION app.revoke_every_export() FROM PUBLIC;
CREATE TRIGGER revoke_every_export AFTER UPDATE OF erased_at ON app.tenants FOR EACH ROW
  WHEN (OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL) EXECUTE FUNCTION app.revoke_every_export();
SELECT millrace.tag('app.exports', '{org_id}', 'pii: none, an organisation; org: kept, that its objects are gone');
SELECT millrace.tag('app.export_files', '{org_id}', 'pii: none, an organisation; org: kept, that its objects are gone');
