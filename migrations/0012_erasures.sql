-- Erasing a person: what each column holds of anybody, the plan, the holds that suspend it, and the certificate.

-- Says of columns what they hold of a person, and what an erasure and an export make of it. A column without such a tag turns
-- millrace coverage red. The table with its schema; one tag for all the columns that it is true of:
--   pii: none, <why>                         nothing about anybody
--   pii: person; erase: row                  a person's id with the identity provider: the row goes
--   pii: person; erase: column               the same, in a row that stays: the column becomes NULL
--   pii: about; erase: row | column          something about the person whom another column of the row names: goes with it
--   pii: content; erase: kept, <why>         what the tenant wrote itself; it changes or deletes it by its own commands
--   pii: …; erase: engine                    tables of the engine alone, which engine.erase_person knows
-- each with '; export: no, <why>' where an export leaves it out.
CREATE FUNCTION millrace.tag(name text, columns text[], tag text) RETURNS void LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  one text;
BEGIN
  FOREACH one IN ARRAY columns LOOP
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', name::regclass, one, tag);
  END LOOP;
END $$;
REVOKE ALL ON FUNCTION millrace.tag(text, text[], text) FROM PUBLIC;

-- The tags of every table that a tenant's rows stand in, an adopter's included.
CREATE FUNCTION app.personal_columns() RETURNS TABLE (place text, name text, kind text, erasure text, exported boolean,
    nullable boolean, textual boolean, tag text) LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('%I.%I', n.nspname, c.relname), a.attname::text, substring(d.description FROM '^pii: ([a-z]+)'),
    substring(d.description FROM '; erase: ([a-z]+)'), coalesce(d.description, '') !~ '; export: no, ',
    NOT a.attnotnull, a.atttypid IN ('text'::regtype, 'varchar'::regtype), coalesce(d.description, '')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum
  WHERE n.nspname IN ('app', 'engine') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
$$;

-- Tables with rows of persons, those that refer to others before those.
CREATE FUNCTION app.erasure_tables() RETURNS SETOF text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE deep (oid, depth) AS (
    SELECT c.oid, 0 FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p')
    UNION
    SELECT f.conrelid, d.depth + 1 FROM deep d
      JOIN pg_constraint f ON f.confrelid = d.oid AND f.contype = 'f' AND f.conrelid <> f.confrelid WHERE d.depth < 16)
  SELECT p.place FROM app.personal_columns() p JOIN deep d ON d.oid = p.place::regclass
  WHERE p.kind = 'person' AND p.erasure IN ('row', 'column')
  GROUP BY p.place ORDER BY max(d.depth) DESC, p.place
$$;

-- Erases a person of the tenant in scope from one table, or counts its rows there.
CREATE FUNCTION app.erase_in(place text, person text, really boolean) RETURNS bigint LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  whole text;
  part text;
  cleared text;
  found_rows bigint := 0;
  more bigint := 0;
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  SELECT string_agg(hit, ' OR ') FILTER (WHERE erasure = 'row' AND kind = 'person'),
      string_agg(hit, ' OR ') FILTER (WHERE erasure = 'column' AND kind = 'person'),
      string_agg(CASE kind WHEN 'person' THEN format('%1$I = CASE WHEN %2$s THEN NULL ELSE %1$I END', name, hit)
        ELSE format('%I = NULL', name) END, ', ') FILTER (WHERE erasure = 'column')
    INTO whole, part, cleared
    FROM (SELECT p.name, p.kind, p.erasure, format(CASE WHEN p.textual THEN '%I = $2' ELSE '%I::text = $2' END, p.name) AS hit
      FROM app.personal_columns() p WHERE p.place = erase_in.place AND p.kind IN ('person', 'about')) AS tagged;
  IF NOT really THEN
    EXECUTE format('SELECT count(*) FROM %s WHERE org_id = $1 AND (%s)', place::regclass, concat_ws(' OR ', whole, part))
      INTO found_rows USING org, person;
    RETURN found_rows;
  END IF;
  IF whole IS NOT NULL THEN
    EXECUTE format('DELETE FROM %s WHERE org_id = $1 AND (%s)', place::regclass, whole) USING org, person;
    GET DIAGNOSTICS found_rows = ROW_COUNT;
  END IF;
  IF part IS NOT NULL THEN
    EXECUTE format('UPDATE %s SET %s WHERE org_id = $1 AND (%s)', place::regclass, cleared, part) USING org, person;
    GET DIAGNOSTICS more = ROW_COUNT;
  END IF;
  RETURN found_rows + more;
END $$;

-- A person's parked messages are found without reading those of others.
CREATE INDEX ON engine.parked ((fields->>'org_id'));

-- Does a message's body name the person? As a value anywhere in its JSON, however it is escaped; in bytes that are no JSON,
-- and for ids of eight characters and more, anywhere at all.
CREATE FUNCTION engine.mentions(body bytea, person text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  verbatim boolean := position(convert_to(person, 'UTF8') IN body) > 0;
BEGIN
  IF verbatim AND length(person) >= 8 THEN RETURN true; END IF;
  RETURN jsonb_path_exists(convert_from(body, 'UTF8')::jsonb, '$.** ? (@ == $person)', jsonb_build_object('person', person));
EXCEPTION WHEN OTHERS THEN
  RETURN verbatim;
END $$;

-- A dead letter of an erased person keeps its row, its reason and its mark; its body is empty, and nothing names the person.
-- No run-time role may change erased_at, so a mark stays final for all but the function below.
ALTER TABLE engine.dead_letters ADD COLUMN erased_at timestamptz;
DROP TRIGGER marked_once ON engine.dead_letters;
CREATE TRIGGER marked_once BEFORE UPDATE ON engine.dead_letters FOR EACH ROW
  WHEN (OLD.state <> 'open' AND (OLD.erased_at IS NOT DISTINCT FROM NEW.erased_at
    OR (OLD.state, OLD.marked_at, OLD.marked_by, OLD.forced) IS DISTINCT FROM (NEW.state, NEW.marked_at, NEW.marked_by, NEW.forced)))
  EXECUTE FUNCTION engine.refuse_second_mark();

-- The owner's functions reach the rows of the tenant in scope, and no others.
CREATE POLICY erase_find ON engine.dead_letters FOR SELECT TO millrace_owner USING (org_id = (SELECT app.cur_org()));
CREATE POLICY erase ON engine.dead_letters FOR UPDATE TO millrace_owner
  USING (org_id = (SELECT app.cur_org())) WITH CHECK (org_id = (SELECT app.cur_org()));
CREATE POLICY erase_find ON engine.operations FOR SELECT TO millrace_owner USING (org_id = (SELECT app.cur_org()));
CREATE POLICY erase ON engine.operations FOR UPDATE TO millrace_owner
  USING (org_id = (SELECT app.cur_org())) WITH CHECK (org_id = (SELECT app.cur_org()));

-- Erases a person of the tenant in scope from what the engine keeps, or counts. What is parked comes due at once: where
-- it is the person's own it is denied, and its row goes with that; what nobody authorizes waits on. A definer function,
-- because workers may read no body.
CREATE FUNCTION engine.erase_person(person text, really boolean) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  letters bigint;
  answers bigint;
  waiting bigint;
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  IF really THEN
    UPDATE engine.dead_letters l SET erased_at = now(), body = '', fields = l.fields - ARRAY['actor_id', 'token_id', 'dedupe_key'],
        state = CASE l.state WHEN 'open' THEN 'discarded' ELSE l.state END,
        marked_at = coalesce(l.marked_at, now()), marked_by = coalesce(l.marked_by, 'erasure'),
        because = CASE WHEN l.state = 'open' OR l.because IS NOT NULL THEN 'personal data erased' END
      WHERE l.org_id = org AND l.erased_at IS NULL
        AND (l.fields->>'actor_kind' = 'user' AND l.fields->>'actor_id' = person OR engine.mentions(l.body, person));
    GET DIAGNOSTICS letters = ROW_COUNT;
    UPDATE engine.operations o SET resource_id = NULL WHERE o.org_id = org AND o.resource_id = person;
    GET DIAGNOSTICS answers = ROW_COUNT;
    UPDATE engine.parked p SET not_before = now() WHERE p.not_before > now() AND p.fields->>'org_id' = org
      AND (p.fields->>'actor_kind' = 'user' AND p.fields->>'actor_id' = person OR engine.mentions(p.body, person));
    GET DIAGNOSTICS waiting = ROW_COUNT;
  ELSE
    SELECT count(*) INTO letters FROM engine.dead_letters l WHERE l.org_id = org AND l.erased_at IS NULL
      AND (l.fields->>'actor_kind' = 'user' AND l.fields->>'actor_id' = person OR engine.mentions(l.body, person));
    SELECT count(*) INTO answers FROM engine.operations o WHERE o.org_id = org AND o.resource_id = person;
    SELECT count(*) INTO waiting FROM engine.parked p WHERE p.fields->>'org_id' = org
      AND (p.fields->>'actor_kind' = 'user' AND p.fields->>'actor_id' = person OR engine.mentions(p.body, person));
  END IF;
  RETURN jsonb_build_object('engine.dead_letters', letters, 'engine.operations', answers, 'engine.parked', waiting);
END $$;
REVOKE ALL ON FUNCTION engine.mentions(bytea, text), engine.erase_person(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.erase_person(text, boolean) TO millrace_app, millrace_maintenance;

-- Erases a person of the tenant in scope everywhere, or counts: rows by table, without tables that have none. The tombstone
-- denies whoever comes with the person's token, and names nobody.
CREATE FUNCTION app.erase_person(person text, really boolean) RETURNS jsonb LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  place text;
  rows_by_table jsonb := '{}';
BEGIN
  FOR place IN SELECT * FROM app.erasure_tables() LOOP
    rows_by_table := rows_by_table || jsonb_build_object(place, app.erase_in(place, person, really));
  END LOOP;
  rows_by_table := rows_by_table || engine.erase_person(person, really);
  IF really THEN
    UPDATE app.usage_counters u SET used = u.used - (rows_by_table->>'app.members')::bigint
      WHERE u.org_id = org AND u.metric = 'members';
    INSERT INTO app.removed_members AS r (org_id, subject, erased_at) VALUES (org, app.subject_tag(person), now())
      ON CONFLICT (org_id, subject) DO UPDATE SET erased_at = coalesce(r.erased_at, EXCLUDED.erased_at);
  END IF;
  RETURN (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(rows_by_table) WHERE value <> '0');
END $$;
REVOKE ALL ON FUNCTION app.personal_columns(), app.erasure_tables(), app.erase_in(text, text, boolean),
  app.erase_person(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.personal_columns(), app.erasure_tables(), app.erase_in(text, text, boolean),
  app.erase_person(text, boolean) TO millrace_app, millrace_maintenance;
GRANT EXECUTE ON FUNCTION app.subject_tag(text) TO millrace_maintenance;

-- A hold by an operator suspends the tenant's erasures, never anybody's access. Workers look at those of the tenant in scope.
CREATE TABLE engine.holds (
  org_id text COLLATE "C" NOT NULL REFERENCES app.tenants (org_id),
  id uuid NOT NULL,
  matter text COLLATE "C" NOT NULL CHECK (matter ~ '^[A-Za-z0-9_./-]{1,64}$'),   -- the file's reference, no words about it
  placed_by text COLLATE "C" NOT NULL,
  placed_at timestamptz NOT NULL DEFAULT now(),
  released_by text COLLATE "C",
  released_at timestamptz,
  PRIMARY KEY (org_id, id),
  CHECK ((released_by IS NULL) = (released_at IS NULL))
);
CREATE UNIQUE INDEX ON engine.holds (org_id, matter) WHERE released_at IS NULL;
ALTER TABLE engine.holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE engine.holds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_hold ON engine.holds FOR SELECT TO millrace_app USING (org_id = (SELECT app.cur_org()));
GRANT SELECT (org_id, released_at) ON engine.holds TO millrace_app;
GRANT SELECT, INSERT, UPDATE (released_by, released_at) ON engine.holds TO millrace_maintenance;

-- Erasures from their plan to their certificate. The person's id stands here until it is erased or the erasure is canceled.
CREATE TABLE app.erasures (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  id uuid NOT NULL,
  subject text COLLATE "C",
  pseudonym uuid NOT NULL,
  state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'executed', 'canceled')),
  plan jsonb NOT NULL,          -- rows by table when it was asked for
  due_at timestamptz NOT NULL,
  settled_at timestamptz,
  certificate text,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id),
  CHECK ((state = 'planned') = (subject IS NOT NULL)),
  CHECK ((state = 'planned') = (settled_at IS NULL))
);
CREATE UNIQUE INDEX ON app.erasures (org_id, subject) WHERE subject IS NOT NULL;
SELECT millrace.protect('erasures');

SELECT millrace.tag('app.tenants', '{org_id,created_at,state,plan,closed_at}', 'pii: none, of an organisation');
SELECT millrace.tag('app.tenants', '{name}', 'pii: content; erase: kept, the name of an organisation');
SELECT millrace.tag('app.subscriptions', '{org_id,provider,subscription_id,status,plan,period_end,status_since,last_created,last_rank,needs_refetch,created_at,updated_at}',
  'pii: none, what an organisation subscribed to');
SELECT millrace.tag('app.invoices', '{org_id,provider,invoice_id,subscription_id,status,amount_due,amount_paid,currency,unpaid_since,paid_at,created_at,updated_at}',
  'pii: none, what an organisation owes, kept by law');
SELECT millrace.tag('app.access', '{org_id,level,unpaid_since,evaluated_at}', 'pii: none, of an organisation');
SELECT millrace.tag('app.billing_history', '{org_id,id,event_id,event_type,object_id,change,created_at}',
  'pii: none, ids of the provider''s events');
SELECT millrace.tag('app.entitlements', '{org_id,id,feature,kind,value,source,valid_from,valid_to,created_at}',
  'pii: none, of an organisation''s plan');
SELECT millrace.tag('app.usage_counters', '{org_id,metric,used,created_at}', 'pii: none, counts');
SELECT millrace.tag('app.members', '{org_id}', 'pii: none, the organisation');
SELECT millrace.tag('app.members', '{user_id}', 'pii: person; erase: row');
SELECT millrace.tag('app.members', '{role,session_epoch,version,created_at,updated_at}', 'pii: about; erase: row');
SELECT millrace.tag('app.removed_members', '{org_id,created_at,erased_at}', 'pii: none, when somebody was removed');
SELECT millrace.tag('app.removed_members', '{subject}',
  'pii: none, a tag from which nobody can read the person; export: no, it says nothing to anybody');
SELECT millrace.tag('app.subjects', '{org_id}', 'pii: none, the organisation');
SELECT millrace.tag('app.subjects', '{subject}', 'pii: person; erase: row');
SELECT millrace.tag('app.subjects', '{pseudonym}', 'pii: about; erase: row');
SELECT millrace.tag('app.projects', '{org_id,id,archived_at,version,created_at,updated_at}', 'pii: none, ids and times');
SELECT millrace.tag('app.projects', '{name}', 'pii: content; erase: kept, the tenant renames or deletes its projects');
SELECT millrace.tag('app.settings', '{org_id,version,created_at,updated_at}', 'pii: none, ids and times');
SELECT millrace.tag('app.settings', '{entries}', 'pii: content; erase: kept, the tenant changes its settings');
SELECT millrace.tag('app.erasures', '{org_id,id,state,plan,due_at,settled_at,created_at}', 'pii: none, counts and times');
SELECT millrace.tag('app.erasures', '{subject}', 'pii: person; erase: column');
SELECT millrace.tag('app.erasures', '{pseudonym,certificate}',
  'pii: content; erase: kept, the evidence that it was done, which names a pseudonym without a mapping');
SELECT millrace.tag('engine.holds', '{org_id,id,matter,placed_at,released_at}', 'pii: none, references and times');
SELECT millrace.tag('engine.holds', '{placed_by,released_by}',
  'pii: content; erase: kept, who acted for the operator; export: no, the operator''s own record');
SELECT millrace.tag('engine.operations', '{org_id,publisher,message_id,command,outcome,code,resource_type,settled_at}',
  'pii: none, ids and codes');
SELECT millrace.tag('engine.operations', '{resource_id}', 'pii: person; erase: engine');
SELECT millrace.tag('engine.dead_letters', '{id,org_id,identity,redrives,publisher,message_id,message_type,queue,reason,attempts,created_at,state,marked_at,forced,erased_at}',
  'pii: none, ids and codes');
SELECT millrace.tag('engine.dead_letters', '{fields,body}', 'pii: content; erase: engine');
SELECT millrace.tag('engine.dead_letters', '{marked_by,because}',
  'pii: content; erase: engine; export: no, the operator''s own record');
SELECT millrace.tag('engine.parked', '{publisher,message_id,exchange,routing_key,attempts,waits,reason,first_parked_at,not_before}',
  'pii: none, ids and times; export: no, on its way');
SELECT millrace.tag('engine.parked', '{fields,body}', 'pii: content; erase: engine; export: no, on its way, and then in a table or a dead letter');
SELECT millrace.tag('engine.outbox', '{id,exchange,routing_key,created_at}', 'pii: none, ids and times; export: no, on its way');
SELECT millrace.tag('engine.outbox', '{fields,body}',
  'pii: content; erase: kept, gone within seconds when the broker confirms; export: no, on its way');
SELECT millrace.tag('engine.provider_links', '{provider,account,livemode,external_id,org_id,created_at}',
  'pii: none, the provider''s id of an organisation');
SELECT millrace.tag('engine.inbox_' || g, '{key,holder,org_id,publisher,claimed_at}',
  'pii: none, hashes and ids of messages; export: no, the engine''s memory') FROM unnest('{a,b,c}'::text[]) AS g;
SELECT millrace.tag('engine.inbox_turn', '{generation,since,one}', 'pii: none, of the engine; export: no, of no tenant');
SELECT millrace.tag('engine.relay_turn', '{turn}', 'pii: none, of the engine; export: no, of no tenant');
SELECT millrace.tag('app.audit_index', '{org_id,timestamp,tenant_seq,event_id,actor,action,resource_type,resource_id,outcome,code,segment,byte_offset,byte_length}',
  'pii: none, the audit log''s own words, which name people by pseudonyms');
SELECT millrace.tag('engine.audit_index_position', '{lines,segment,byte_offset,one}', 'pii: none, of the engine; export: no, of no tenant');
