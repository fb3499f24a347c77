-- An execution is counted once, also when nobody learns how the COMMIT of its count ended: the count knows whose it is.
ALTER TABLE engine.parked ADD COLUMN execution uuid;
GRANT SELECT (execution), UPDATE (execution) ON engine.parked TO millrace_app;
SELECT millrace.tag('engine.parked', '{execution}', 'pii: none, ids and times; export: no, on its way');

-- Makes due what waits for a reason that may be gone now. It takes the rows in the order in which batches park them, and waits
-- for those that one holds, or what is parked at this moment would be missed. A batch clears rows in no order: the two may
-- still meet, and the database ends one of them, which is then run again in halves.
CREATE FUNCTION engine.wake(waiting_for text) RETURNS bigint LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  woken bigint;
BEGIN
  UPDATE engine.parked p SET not_before = now() FROM (
    SELECT publisher, message_id FROM engine.parked WHERE reason = waiting_for AND not_before > now()
    ORDER BY publisher, message_id FOR UPDATE) AS w
  WHERE p.publisher = w.publisher AND p.message_id = w.message_id;
  GET DIAGNOSTICS woken = ROW_COUNT;
  RETURN woken;
END $$;
REVOKE ALL ON FUNCTION engine.wake(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION engine.wake(text) TO millrace_app, millrace_maintenance;

CREATE OR REPLACE FUNCTION engine.link_customer(provider text, account text, livemode boolean, external_id text)
  RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  org text := app.cur_org();
  holder text;
BEGIN
  IF org IS NULL THEN RAISE EXCEPTION 'no tenant in scope' USING ERRCODE = '42501'; END IF;
  INSERT INTO engine.provider_links AS l (provider, account, livemode, external_id, org_id)
    VALUES ($1, $2, $3, $4, org) ON CONFLICT DO NOTHING;
  IF FOUND THEN
    PERFORM engine.wake('tenant_unresolved');
    RETURN 'linked';
  END IF;
  SELECT l.org_id INTO holder FROM engine.provider_links l
    WHERE l.provider = $1 AND l.account = $2 AND l.livemode = $3 AND l.external_id = $4;
  RETURN CASE WHEN holder = org THEN 'already' ELSE 'elsewhere' END;
END $$;
