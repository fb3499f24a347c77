-- What the engine writes across tenants is bounded by each tenant's sealed context; operations are pruned; and fees follow
-- refunds that failed.

-- Messages for later are kept in their tenant's scope and taken in the operator's. Both contexts have a MAC, so SQL that was
-- injected into a handler reaches rows of its own tenant alone: leaving the scope, which it can, gains it nothing.
ALTER TABLE engine.due ADD COLUMN refused_at timestamptz;   -- since when no worker has been able to seal it
SELECT millrace.tag('engine.due', '{refused_at}', 'pii: none, ids and times; export: no, on its way');
DROP POLICY schedule ON engine.due;
REVOKE ALL ON engine.due FROM millrace_app;
CREATE POLICY take ON engine.due TO millrace_owner
  USING ((SELECT app.cur_org()) = 'millrace:operator') WITH CHECK ((SELECT app.cur_org()) = 'millrace:operator');

-- Keeps messages of the tenant in scope for later; a later word about a subject replaces the earlier one.
CREATE FUNCTION engine.keep_due(types text[], subjects text[], ids uuid[], versions int[], bodies bytea[], causes text[],
    times timestamptz[]) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  INSERT INTO engine.due AS d (org_id, message_type, subject, id, schema_version, body, cause, due_at)
    SELECT org, n.* FROM UNNEST(types, subjects, ids, versions, bodies, causes, times) AS n
    ON CONFLICT (org_id, message_type, subject) DO UPDATE SET id = EXCLUDED.id, schema_version = EXCLUDED.schema_version,
      body = EXCLUDED.body, cause = EXCLUDED.cause, due_at = EXCLUDED.due_at, refused_at = NULL;
END $$;

-- What is due of these types, whose rows are the caller's until its transaction ends.
CREATE FUNCTION engine.take_due(types text[], moment timestamptz, most bigint)
  RETURNS TABLE (org_id text, message_type text, subject text, id uuid, schema_version int, body bytea, cause text,
    refused_before boolean)
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  IF app.cur_org() IS DISTINCT FROM 'millrace:operator' THEN
    RAISE EXCEPTION 'the operator is not in scope' USING ERRCODE = '42501';
  END IF;
  RETURN QUERY
    SELECT d.org_id, d.message_type, d.subject, d.id, d.schema_version, d.body, d.cause, d.refused_at IS NOT NULL
    FROM engine.due d WHERE d.message_type = ANY (types) AND d.due_at <= moment
    ORDER BY d.due_at LIMIT most FOR UPDATE SKIP LOCKED;
END $$;

-- Removes what was sealed. What could not be makes room for an hour, or it would stand before all others for ever.
CREATE FUNCTION engine.settle_due(orgs text[], types text[], subjects text[], sealed boolean[])
  RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF app.cur_org() IS DISTINCT FROM 'millrace:operator' THEN
    RAISE EXCEPTION 'the operator is not in scope' USING ERRCODE = '42501';
  END IF;
  DELETE FROM engine.due d USING UNNEST(orgs, types, subjects, sealed) AS n (org, kind, about, done)
    WHERE n.done AND d.org_id = n.org AND d.message_type = n.kind AND d.subject = n.about;
  UPDATE engine.due d SET due_at = now() + interval '1 hour', refused_at = coalesce(d.refused_at, now())
    FROM UNNEST(orgs, types, subjects, sealed) AS n (org, kind, about, done)
    WHERE NOT n.done AND d.org_id = n.org AND d.message_type = n.kind AND d.subject = n.about;
END $$;
REVOKE ALL ON FUNCTION engine.keep_due(text[], text[], uuid[], int[], bytea[], text[], timestamptz[]),
  engine.take_due(text[], timestamptz, bigint), engine.settle_due(text[], text[], text[], boolean[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.keep_due(text[], text[], uuid[], int[], bytea[], text[], timestamptz[]),
  engine.take_due(text[], timestamptz, bigint), engine.settle_due(text[], text[], text[], boolean[]) TO millrace_app;

-- What became of commands is written for many tenants in one call, each row under its own tenant's context, whose MAC is
-- checked as always.
DROP POLICY settle ON engine.operations;
DROP POLICY settle_again ON engine.operations;
DROP POLICY settle_once ON engine.operations;
REVOKE ALL ON engine.operations FROM millrace_app;
CREATE POLICY record ON engine.operations FOR INSERT TO millrace_owner WITH CHECK (org_id = (SELECT app.cur_org()));

-- A command that was dead may be sent again, and is then what it became last, dead for another reason included. What was
-- settled never becomes dead: that is a copy which somebody gave up on.
CREATE FUNCTION engine.record_operations(contexts text[], publishers text[], messages text[], commands text[],
    outcomes text[], codes text[], resource_types text[], resource_ids text[], moment timestamptz)
  RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  before text := coalesce(current_setting('app.ctx', true), '');
  one text;
  org text;
  a int;
  z int;
BEGIN
  -- Rows of one tenant usually stand together, so each turn looks at its own alone.
  FOR one, a, z IN SELECT c.context, min(c.place), max(c.place)
      FROM UNNEST(contexts) WITH ORDINALITY AS c (context, place) GROUP BY 1 ORDER BY 1 LOOP
    PERFORM set_config('app.ctx', one, true);
    org := app.cur_org();
    IF org IS NULL THEN RAISE EXCEPTION 'an operation without a tenant' USING ERRCODE = '42501'; END IF;
    INSERT INTO engine.operations AS o
        (org_id, publisher, message_id, command, outcome, code, resource_type, resource_id, settled_at)
      SELECT DISTINCT ON (n.publisher, n.message) org, n.publisher, n.message, n.command, n.outcome, n.code,
          n.resource_type, n.resource, moment
        FROM UNNEST(contexts[a:z], publishers[a:z], messages[a:z], commands[a:z], outcomes[a:z], codes[a:z],
            resource_types[a:z], resource_ids[a:z]) WITH ORDINALITY
          AS n (context, publisher, message, command, outcome, code, resource_type, resource, place)
        WHERE n.context = one ORDER BY n.publisher, n.message, n.place
      ON CONFLICT (org_id, publisher, message_id) DO UPDATE SET outcome = EXCLUDED.outcome, code = EXCLUDED.code,
          resource_type = EXCLUDED.resource_type, resource_id = EXCLUDED.resource_id, settled_at = EXCLUDED.settled_at
        WHERE EXCLUDED.outcome <> 'dead' OR o.outcome = 'dead';
  END LOOP;
  PERFORM set_config('app.ctx', before, true);
END $$;
REVOKE ALL ON FUNCTION engine.record_operations(text[], text[], text[], text[], text[], text[], text[], text[], timestamptz)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
  engine.record_operations(text[], text[], text[], text[], text[], text[], text[], text[], timestamptz) TO millrace_app;

-- An operation is told for 35 days, and its row outlives its claim in the inbox, so whoever sends a command again while it is known
-- as a copy is told what became of it. Those of erasures stay, since they lead to a certificate.
CREATE INDEX ON engine.operations (settled_at) WHERE resource_type IS DISTINCT FROM 'erasure';
CREATE POLICY prune_find ON engine.operations FOR SELECT TO millrace_owner
  USING (settled_at < now() - interval '74 days' AND resource_type IS DISTINCT FROM 'erasure');
CREATE POLICY prune ON engine.operations FOR DELETE TO millrace_owner
  USING (settled_at < now() - interval '74 days' AND resource_type IS DISTINCT FROM 'erasure');

-- Deletes some of what is too old, and says how many.
CREATE FUNCTION engine.prune_operations(most bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
  pruned bigint;
BEGIN
  DELETE FROM engine.operations o WHERE o.ctid = ANY (ARRAY(
    SELECT old.ctid FROM engine.operations old
    WHERE old.settled_at < now() - interval '74 days' AND old.resource_type IS DISTINCT FROM 'erasure'
    ORDER BY old.settled_at LIMIT most));
  GET DIAGNOSTICS pruned = ROW_COUNT;
  RETURN pruned;
END $$;
REVOKE ALL ON FUNCTION engine.prune_operations(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.prune_operations(bigint) TO millrace_relay;

-- A fee that nobody can compute yet, because this build does not know the invoice's currency. The invoice itself counts.
ALTER TABLE app.invoices ADD COLUMN fee_set_aside text CHECK (fee_set_aside = 'currency_unknown');
SELECT millrace.tag('app.invoices', '{fee_set_aside}', 'pii: none, what an organisation owes, kept by law');

-- A refund that failed takes back what was given for it, as a row of its own: nothing here is ever changed.
ALTER TABLE app.refunds DROP CONSTRAINT refunds_kind_check,
  ADD CONSTRAINT refunds_kind_check CHECK (kind IN ('refund', 'credit_note', 'refund_failed'));
ALTER TABLE app.fee_ledger DROP CONSTRAINT fee_ledger_kind_check, DROP CONSTRAINT fee_ledger_check1,
  ADD CONSTRAINT fee_ledger_kind_check CHECK (kind IN ('fee', 'refund', 'credit_note', 'refund_failed')),
  ADD CONSTRAINT fee_ledger_check1 CHECK (CASE WHEN kind IN ('fee', 'refund_failed') THEN fee >= 0 ELSE fee <= 0 END);
