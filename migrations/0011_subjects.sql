-- Who is who in the audit log: a user appears there under a random pseudonym, and only this row says whose it is. Erasing a
-- person deletes the row and no byte of the log. No foreign key to the tenant: lines are also written of tenants that are
-- not there.
CREATE TABLE app.subjects (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() CHECK (org_id ~ '^[A-Za-z0-9_.:@-]{1,64}$'),
  subject text COLLATE "C" NOT NULL CHECK (length(subject) <= 255),   -- the user's id with the identity provider
  pseudonym uuid NOT NULL DEFAULT gen_random_uuid(),
  PRIMARY KEY (org_id, subject),
  UNIQUE (org_id, pseudonym)
);
SELECT millrace.protect('subjects');

-- A tombstone of somebody whose data was erased, not only denied: such a person gets no pseudonym any more, because its
-- mapping would name the person again.
ALTER TABLE app.removed_members ADD COLUMN erased_at timestamptz;

-- Pseudonyms of users of the tenant in scope, made where there are none yet; none for who was erased. Users are distinct.
CREATE FUNCTION app.pseudonyms(users text[]) RETURNS TABLE (user_id text, pseudonym uuid)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  org text := app.cur_org();
BEGIN
  INSERT INTO app.subjects (org_id, subject)
    SELECT org, u.user_id FROM UNNEST(users) AS u (user_id)
    WHERE NOT EXISTS (SELECT 1 FROM app.removed_members r
      WHERE r.org_id = org AND r.subject = app.subject_tag(u.user_id) AND r.erased_at IS NOT NULL)
    ORDER BY u.user_id ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT s.subject, s.pseudonym FROM app.subjects s WHERE s.org_id = org AND s.subject = ANY (users);
END $$;
REVOKE ALL ON FUNCTION app.pseudonyms(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.pseudonyms(text[]) TO millrace_app;

-- As before, and says which pseudonym each caller has: NULL for who has none yet.
DROP FUNCTION app.enter(text, text, text[]);
CREATE FUNCTION app.enter(leaving text, entering text, users text[])
  RETURNS TABLE (standing text, user_id text, member_role text, session_epoch timestamptz, removed boolean, pseudonym uuid)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  IF coalesce(current_setting('app.ctx', true), '') <> leaving THEN
    RAISE EXCEPTION 'the tenant context was changed' USING ERRCODE = 'MR001';
  END IF;
  PERFORM set_config('app.ctx', entering, true);
  IF cardinality(users) = 0 THEN
    RETURN QUERY SELECT p.standing, p.user_id, p.member_role, p.session_epoch, p.removed, NULL::uuid FROM app.presence(users) AS p;
    RETURN;
  END IF;
  RETURN QUERY
    SELECT p.standing, p.user_id, p.member_role, p.session_epoch, p.removed, s.pseudonym
    FROM app.presence(users) AS p
      LEFT JOIN app.subjects s ON s.org_id = substr(entering, 66) AND s.subject = p.user_id;
END $$;
REVOKE ALL ON FUNCTION app.enter(text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.enter(text, text, text[]) TO millrace_app;
