CREATE TABLE app.projects (
  org_id text COLLATE "C" NOT NULL DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  id uuid NOT NULL,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  archived_at timestamptz,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id)
);
SELECT millrace.protect('projects');

CREATE TABLE app.settings (
  org_id text COLLATE "C" PRIMARY KEY DEFAULT app.cur_org() REFERENCES app.tenants (org_id),
  entries jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(entries) = 'object'),
  version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
SELECT millrace.protect('settings');
