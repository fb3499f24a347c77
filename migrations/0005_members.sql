-- What a tenant's administrators say about its users. No row: the token's role stands. A row can only lower it.
CREATE TABLE app.members (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  user_id text COLLATE "C" NOT NULL CHECK (length(user_id) BETWEEN 1 AND 128),
  role text NOT NULL CHECK (role IN ('viewer', 'editor', 'admin')),
  session_epoch timestamptz,   -- tokens issued before this are refused
  version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, user_id)
);
SELECT millrace.protect('members');

-- Who was removed, by a tag from which nobody can read the person. It always denies.
CREATE TABLE app.removed_members (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  subject bytea NOT NULL CHECK (length(subject) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, subject)
);
SELECT millrace.protect('removed_members');

-- Inner and outer pad of HMAC-SHA256 under a key of this database's own, made here and never shown to anybody.
CREATE TABLE priv.subject_key (
  ipad bytea NOT NULL CHECK (length(ipad) = 64),
  opad bytea NOT NULL CHECK (length(opad) = 64),
  one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO priv.subject_key (ipad, opad)
  SELECT string_agg(set_byte('\x00', 0, get_byte(block, i) # 54), '' ORDER BY i),
         string_agg(set_byte('\x00', 0, get_byte(block, i) # 92), '' ORDER BY i)
  FROM (SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
            || sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) AS block) AS k,
       generate_series(0, 63) AS i;

-- The tag of a user of the tenant in scope: HMAC-SHA256(key; org, NUL, user).
CREATE FUNCTION app.subject_tag(user_id text) RETURNS bytea LANGUAGE sql STABLE STRICT
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT sha256(k.opad || sha256(k.ipad || convert_to(app.cur_org(), 'UTF8') || '\x00'::bytea || convert_to(user_id, 'UTF8')))
  FROM priv.subject_key k
$$;
REVOKE ALL ON FUNCTION app.subject_tag(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.subject_tag(text) TO millrace_app, millrace_reader;
