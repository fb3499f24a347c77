-- Exports of a tenant's data, or of one person's. What is in them is what the tags of 0012 say, an adopter's tables
-- included: nothing here names a table whose rows it reads.

CREATE TABLE app.exports (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  id uuid NOT NULL,
  scope text NOT NULL CHECK (scope IN ('org', 'subject')),
  subject text COLLATE "C",       -- the person of scope subject; NULL once it is erased
  state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'ready', 'expired', 'revoked')),
  pages int NOT NULL DEFAULT 0 CHECK (pages >= 0),   -- that are in the store and noted here
  place text,                     -- table of the last page
  after_key text[],               -- key of the last row of the last page; NULL: the table has no more
  row_count bigint NOT NULL DEFAULT 0,
  byte_count bigint NOT NULL DEFAULT 0,
  requested_at timestamptz NOT NULL,
  finished_at timestamptz,
  expires_at timestamptz NOT NULL,
  manifest_object text,
  manifest_bytes bigint,
  manifest_sha256 text,
  signature text,                 -- a signed note with the manifest's SHA-256
  gone_at timestamptz,            -- when nothing of it was in the store any more
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id),
  CHECK (state <> 'ready' OR (finished_at IS NOT NULL AND manifest_object IS NOT NULL AND manifest_bytes IS NOT NULL
    AND manifest_sha256 IS NOT NULL AND signature IS NOT NULL))
);
SELECT millrace.protect('exports');
CREATE INDEX ON app.exports (org_id, requested_at);

CREATE TABLE app.export_files (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  export_id uuid NOT NULL,
  page int NOT NULL CHECK (page >= 0),
  name text NOT NULL,             -- in the archive
  object text NOT NULL,           -- in the store
  place text NOT NULL,            -- whose rows it holds
  row_count bigint NOT NULL,
  byte_count bigint NOT NULL,
  sha256 text NOT NULL,
  read_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, export_id, page)
);
SELECT millrace.protect('export_files');

SELECT millrace.tag('app.exports', '{org_id,id,scope,state,pages,place,row_count,byte_count,requested_at,finished_at,expires_at,manifest_object,manifest_bytes,manifest_sha256,signature,gone_at,created_at}',
  'pii: none, ids, counts and times');
SELECT millrace.tag('app.exports', '{subject}', 'pii: person; erase: column');
SELECT millrace.tag('app.exports', '{after_key}',
  'pii: content; erase: kept, an erasure revokes the export and empties it; export: no, where an export stands');
SELECT millrace.tag('app.export_files', '{org_id,export_id,page,name,object,place,row_count,byte_count,sha256,read_at,created_at}',
  'pii: none, names, counts and times');

-- Every table with its exported columns, what is excused and why, and the columns that its rows are read in the order of:
-- a key without NULLs, or none. With a person, only tables that are tied to one. A reason: the table is left out.
CREATE FUNCTION app.export_tables(person text) RETURNS TABLE (place text, columns text[], excused jsonb, key_columns text[],
    reason text) LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH tagged AS (
    SELECT p.place, p.name, p.kind, p.exported, a.attrelid, a.attnum, substring(p.tag FROM '; export: no, (.*)$') AS why
    FROM app.personal_columns() p JOIN pg_attribute a ON a.attrelid = p.place::regclass AND a.attname = p.name
  ), tables AS (
    SELECT t.place, t.attrelid,
      coalesce(array_agg(t.name ORDER BY t.attnum) FILTER (WHERE t.exported), '{}') AS columns,
      coalesce(jsonb_agg(jsonb_build_object('column', t.name, 'reason', t.why) ORDER BY t.attnum)
        FILTER (WHERE NOT t.exported), '[]') AS excused,
      coalesce(bool_or(t.kind = 'person'), false) AS personal, bool_or(t.name = 'org_id') AS of_tenants,
      string_agg(DISTINCT t.why, '; ') AS why
    FROM tagged t GROUP BY t.place, t.attrelid
  )
  SELECT t.place, t.columns, t.excused, coalesce(k.key_columns, '{}'),
    CASE WHEN cardinality(t.columns) = 0 THEN t.why
      WHEN NOT t.of_tenants THEN 'its rows name no tenant'
      WHEN person IS NOT NULL AND NOT t.personal AND t.place NOT IN ('app.audit_index', 'engine.dead_letters')
        THEN 'no column of it names a person' END
  FROM tables t
    LEFT JOIN LATERAL (
      SELECT array_agg(a.attname::text ORDER BY c.place) AS key_columns
      FROM (SELECT i.* FROM pg_index i WHERE i.indrelid = t.attrelid AND i.indisunique AND i.indisvalid AND i.indimmediate
          AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (
            SELECT 1 FROM pg_attribute n WHERE n.attrelid = i.indrelid AND n.attnum = ANY (i.indkey::int2[]) AND NOT n.attnotnull)
        ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 1) AS i
        CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS c (number, place)
        JOIN pg_attribute a ON a.attrelid = t.attrelid AND a.attnum = c.number
      WHERE c.place <= i.indnkeyatts
    ) AS k ON true
  ORDER BY t.place COLLATE "C"
$$;

-- The next rows of a table that are the tenant's in scope, as JSON, each with its key: at most so many, and no more after so
-- many bytes, but one in any case. What is cut off for its bytes ends with a row of NULLs. A table without a key is read in the
-- order in which its rows lie.
CREATE FUNCTION app.export_rows(place text, person text, after_key text[], most_rows int, most_bytes bigint)
  RETURNS TABLE (line text, row_key text[]) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  org text := app.cur_org();
  plan record;
  order_by text := 't.ctid';
  keys text := 't.ctid::text';
  start text := 't.ctid > $3[1]::tid';
  tied text := 'true';
  pseudonym text;
  taken bigint := 0;
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  SELECT p.columns, p.key_columns INTO plan FROM app.export_tables(person) AS p
    WHERE p.place = export_rows.place AND p.reason IS NULL;
  IF NOT FOUND THEN RETURN; END IF;
  IF cardinality(plan.key_columns) > 0 THEN
    SELECT string_agg(format('t.%I', k.name), ', ' ORDER BY k.number), string_agg(format('t.%I::text', k.name), ', ' ORDER BY k.number),
        format('(%s) > (%s)', string_agg(format('t.%I', k.name), ', ' ORDER BY k.number),
          string_agg(format('$3[%s]::%s', k.number, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY k.number))
      INTO order_by, keys, start
      FROM unnest(plan.key_columns) WITH ORDINALITY AS k (name, number)
        JOIN pg_attribute a ON a.attrelid = place::regclass AND a.attname = k.name;
  END IF;
  IF after_key IS NULL THEN start := 'true'; END IF;
  IF person IS NOT NULL AND place = 'app.audit_index' THEN
    -- Lines name people by pseudonyms.
    SELECT s.pseudonym::text INTO pseudonym FROM app.subjects s WHERE s.org_id = org AND s.subject = person;
    tied := 't.actor = ''user:'' || $4 OR t.resource_id IN ($4, ''user:'' || $4)';
  ELSIF person IS NOT NULL AND place = 'engine.dead_letters' THEN
    tied := '(t.fields->>''actor_kind'' = ''user'' AND t.fields->>''actor_id'' = $2) OR engine.mentions(t.body, $2)';
  ELSIF person IS NOT NULL THEN
    SELECT string_agg(format(CASE WHEN p.textual THEN 't.%I = $2' ELSE 't.%I::text = $2' END, p.name), ' OR ') INTO tied
      FROM app.personal_columns() AS p WHERE p.place = export_rows.place AND p.kind = 'person';
  END IF;
  FOR line, row_key IN EXECUTE format(
      'SELECT row_to_json((SELECT x FROM (SELECT %s) AS x))::text, ARRAY[%s] FROM %s AS t
       WHERE t.org_id = $1 AND (%s) AND %s ORDER BY %s LIMIT $5',
      (SELECT string_agg(format('t.%I', c.name), ', ' ORDER BY c.number)
        FROM unnest(plan.columns) WITH ORDINALITY AS c (name, number)),
      keys, place::regclass, tied, start, order_by)
    USING org, person, after_key, pseudonym, most_rows
  LOOP
    IF taken > 0 AND taken + octet_length(line) > most_bytes THEN
      line := NULL;
      row_key := NULL;
      RETURN NEXT;
      RETURN;
    END IF;
    taken := taken + octet_length(line) + 1;
    RETURN NEXT;
  END LOOP;
END $$;

-- The same for tables of the engine, whose bodies workers may not read: the owner's policies bound it to the tenant in scope.
CREATE FUNCTION engine.export_rows(place text, person text, after_key text[], most_rows int, most_bytes bigint)
  RETURNS TABLE (line text, row_key text[]) LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF place NOT LIKE 'engine.%' THEN RAISE EXCEPTION 'no table of the engine' USING ERRCODE = '42501'; END IF;
  RETURN QUERY SELECT r.line, r.row_key FROM app.export_rows(place, person, after_key, most_rows, most_bytes) AS r;
END $$;
-- Of holds it had no policy yet: without one it would find none, and the export would say that there are none.
CREATE POLICY export_find ON engine.holds FOR SELECT TO millrace_owner USING (org_id = (SELECT app.cur_org()));
REVOKE ALL ON FUNCTION app.export_tables(text), app.export_rows(text, text, text[], int, bigint),
  engine.export_rows(text, text, text[], int, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.export_tables(text), app.export_rows(text, text, text[], int, bigint),
  engine.export_rows(text, text, text[], int, bigint) TO millrace_app;

-- Exports of the tenant in scope expire earlier: when no page of them can be under way any more, which is bounded by a batch's
-- longest time and a call's. One whose expiry is gone, dead perhaps, gets another. A definer function, because a handler reaches
-- no row of what is due; and for exports alone, because others count on their time.
CREATE FUNCTION engine.hasten_expiry(exports text[]) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO engine.due AS d (org_id, message_type, subject, id, schema_version, body, cause, due_at)
    SELECT app.cur_org(), 'compliance.expire_export', e, gen_random_uuid(), 1,
        convert_to(jsonb_build_object('export_id', e::uuid)::text, 'UTF8'), e, clock_timestamp() + interval '15 minutes'
      FROM unnest(exports) AS e WHERE app.cur_org() IS NOT NULL
    ON CONFLICT (org_id, message_type, subject) DO UPDATE SET due_at = least(d.due_at, EXCLUDED.due_at);
END $$;
REVOKE ALL ON FUNCTION engine.hasten_expiry(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.hasten_expiry(text[]) TO millrace_app, millrace_maintenance;
-- The owner's functions reach the rows of the tenant in scope, and no others.
CREATE POLICY keep ON engine.due TO millrace_owner
  USING (org_id = (SELECT app.cur_org())) WITH CHECK (org_id = (SELECT app.cur_org()));

-- Whoever is erased is in no export any more. Any may name the person, one of somebody else too, and nobody looks: so none of the
-- tenant's can go on or be fetched from this transaction on, and their objects go as soon as no page can be under way any more.
CREATE FUNCTION app.revoke_exports() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  revoked text[];
BEGIN
  WITH gone AS (
    UPDATE app.exports e SET state = 'revoked', after_key = NULL
      WHERE e.org_id = NEW.org_id AND e.state IN ('running', 'ready')
      RETURNING e.id)
    SELECT array_agg(gone.id::text) INTO revoked FROM gone;
  IF revoked IS NOT NULL THEN PERFORM engine.hasten_expiry(revoked); END IF;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION app.revoke_exports() FROM PUBLIC;
CREATE TRIGGER revoke_exports AFTER INSERT OR UPDATE OF erased_at ON app.removed_members FOR EACH ROW
  WHEN (NEW.erased_at IS NOT NULL) EXECUTE FUNCTION app.revoke_exports();

-- What an operator requests, an export here and an erasure in 0017, begins with a message for later.
GRANT INSERT ON engine.due TO millrace_maintenance;
