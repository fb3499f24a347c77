-- What operators make of dead letters: each is marked once, and none is ever deleted.
ALTER TABLE engine.dead_letters
  ADD COLUMN state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'redriven', 'discarded')),
  ADD COLUMN marked_at timestamptz,
  ADD COLUMN marked_by text COLLATE "C" CHECK (marked_by ~ '^[A-Za-z0-9_.@-]{1,64}$'),
  ADD COLUMN because text CHECK (length(because) BETWEEN 1 AND 500),
  ADD COLUMN forced boolean NOT NULL DEFAULT false,   -- redriven although the inbox may have forgotten the message
  ADD CONSTRAINT dead_letters_mark CHECK (CASE state
    WHEN 'open' THEN marked_at IS NULL AND marked_by IS NULL AND because IS NULL AND NOT forced
    WHEN 'redriven' THEN marked_at IS NOT NULL AND marked_by IS NOT NULL AND (because IS NOT NULL OR NOT forced)
    ELSE marked_at IS NOT NULL AND marked_by IS NOT NULL AND because IS NOT NULL AND NOT forced END);

-- Open letters page by page, however many are marked.
CREATE INDEX ON engine.dead_letters (id) WHERE state = 'open';

-- A mark is final: of two operators one wins, and a letter is never redriven twice.
CREATE FUNCTION engine.refuse_second_mark() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'dead letter % is % already', OLD.id, OLD.state USING ERRCODE = '55000';
END $$;
REVOKE ALL ON FUNCTION engine.refuse_second_mark() FROM PUBLIC;
CREATE TRIGGER marked_once BEFORE UPDATE ON engine.dead_letters FOR EACH ROW
  WHEN (OLD.state <> 'open') EXECUTE FUNCTION engine.refuse_second_mark();

-- Workers bury open letters only, count how many of a message's letters were redriven, and ask whether that was forced.
ALTER POLICY bury ON engine.dead_letters WITH CHECK (state = 'open');
GRANT SELECT (state, forced, marked_at, created_at) ON engine.dead_letters TO millrace_app;
GRANT UPDATE (state, marked_at, marked_by, because, forced) ON engine.dead_letters TO millrace_maintenance;
