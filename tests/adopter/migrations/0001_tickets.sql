-- Runs as millrace_owner, after Millrace's own migrations. A released migration never changes.
CREATE TABLE app.tickets (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  id uuid NOT NULL,
  subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
  urgent boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id)
);

-- What each plan has of it: a limit that is used up, and a feature that is there or not.
INSERT INTO ref.plan_entitlements (plan, feature, kind, value) VALUES
  ('free', 'tickets', 'limit', '100'), ('pro', 'tickets', 'limit', '10000'), ('enterprise', 'tickets', 'limit', '"unlimited"'),
  ('free', 'urgent_tickets', 'bool', 'false'), ('pro', 'urgent_tickets', 'bool', 'true'), ('enterprise', 'urgent_tickets', 'bool', 'true');

-- Row-level security, FORCE, policies, grants and the index for paging by age.
SELECT millrace.protect('tickets');

-- What each column holds of people, for erasure and export. millrace coverage is red without it.
SELECT millrace.tag('app.tickets', '{org_id,id,urgent,created_at}', 'pii: none, ids and times');
SELECT millrace.tag('app.tickets', '{subject}', 'pii: content; erase: kept, the tenant''s own words');
