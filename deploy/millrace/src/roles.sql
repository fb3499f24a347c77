-- The roles of a deployment, without passwords. Needs a superuser once, for BYPASSRLS; never at run time.
-- Run again it changes nothing.
DO $$
DECLARE
  wanted record;
BEGIN
  FOR wanted IN SELECT * FROM (VALUES
    ('millrace_owner',       'NOLOGIN NOBYPASSRLS'),
    ('millrace_migrator',    'LOGIN NOBYPASSRLS'),
    ('millrace_app',         'LOGIN NOBYPASSRLS'),
    ('millrace_reader',      'LOGIN NOBYPASSRLS'),
    ('millrace_relay',       'LOGIN NOBYPASSRLS'),
    ('millrace_indexer',     'LOGIN NOBYPASSRLS'),
    ('millrace_maintenance', 'NOLOGIN BYPASSRLS')) AS w (name, attributes)
  LOOP
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted.name) THEN
      EXECUTE format('CREATE ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE %s', wanted.name, wanted.attributes);
    END IF;
  END LOOP;
END $$;
GRANT millrace_owner, millrace_maintenance TO millrace_migrator;
-- Shorter than the two seconds a statement has, so that waiting for a lock is never taken for a slow statement.
ALTER ROLE millrace_app SET lock_timeout = '1s';
ALTER ROLE millrace_app SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE millrace_relay SET lock_timeout = '2s';
-- A relay that is stopped or cut off in mid-sweep must not keep the turn.
ALTER ROLE millrace_relay SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE millrace_indexer SET lock_timeout = '2s';
ALTER ROLE millrace_indexer SET statement_timeout = '30s';
ALTER ROLE millrace_indexer SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE millrace_reader SET statement_timeout = '5s';
-- Plans are kept for as long as a connection. One that was made while a table was small would read all of it when it has
-- grown, until the table is analyzed; and what that makes look expensive would be compiled for every statement.
ALTER ROLE millrace_app SET enable_seqscan = off;
ALTER ROLE millrace_relay SET enable_seqscan = off;
ALTER ROLE millrace_app SET jit = off;
ALTER ROLE millrace_relay SET jit = off;
ALTER ROLE millrace_reader SET jit = off;
