//! What the catalogue must say of the engine, and what is allowed beside tenant tables. One line for each.

/// Rows that only a transaction in the operator's scope reaches, whose context no handler has ever seen.
const OPERATOR: &str = "(( SELECT app.cur_org() AS cur_org) = 'millrace:operator'::text)";

/// Operations that were told for as long as promised.
const TOLD: &str =
    "((settled_at < (now() - '74 days'::interval)) AND (resource_type IS DISTINCT FROM 'erasure'::text))";

/// Every right on a table of schema `engine` that somebody else than its owner has: role, right, table or
/// table(column).
pub(super) const ENGINE_GRANTS: &[(&str, &str, &str)] = &[
    ("millrace_app", "INSERT", "outbox"),
    ("millrace_app", "SELECT", "holds(org_id)"),
    ("millrace_app", "SELECT", "holds(released_at)"),
    ("millrace_app", "SELECT", "parked(publisher)"),
    ("millrace_app", "SELECT", "parked(message_id)"),
    ("millrace_app", "SELECT", "parked(attempts)"),
    ("millrace_app", "SELECT", "parked(waits)"),
    ("millrace_app", "SELECT", "parked(reason)"),
    ("millrace_app", "SELECT", "parked(first_parked_at)"),
    ("millrace_app", "SELECT", "parked(not_before)"),
    ("millrace_app", "SELECT", "parked(execution)"),
    ("millrace_app", "INSERT", "parked"),
    ("millrace_app", "UPDATE", "parked(attempts)"),
    ("millrace_app", "UPDATE", "parked(waits)"),
    ("millrace_app", "UPDATE", "parked(reason)"),
    ("millrace_app", "UPDATE", "parked(not_before)"),
    ("millrace_app", "UPDATE", "parked(execution)"),
    ("millrace_app", "DELETE", "parked"),
    ("millrace_app", "INSERT", "dead_letters"),
    ("millrace_app", "SELECT", "dead_letters(identity)"),
    ("millrace_app", "SELECT", "dead_letters(redrives)"),
    ("millrace_app", "SELECT", "dead_letters(created_at)"),
    ("millrace_app", "SELECT", "dead_letters(state)"),
    ("millrace_app", "SELECT", "dead_letters(forced)"),
    ("millrace_app", "SELECT", "dead_letters(marked_at)"),
    ("millrace_relay", "SELECT", "relay_turn"),
    ("millrace_relay", "UPDATE", "relay_turn"),
    ("millrace_relay", "SELECT", "outbox"),
    ("millrace_relay", "DELETE", "outbox"),
    ("millrace_relay", "SELECT", "parked"),
    ("millrace_relay", "UPDATE", "parked(not_before)"),
    ("millrace_indexer", "SELECT", "audit_index_position"),
    ("millrace_indexer", "UPDATE", "audit_index_position(lines)"),
    ("millrace_indexer", "UPDATE", "audit_index_position(segment)"),
    ("millrace_indexer", "UPDATE", "audit_index_position(byte_offset)"),
    ("millrace_reader", "SELECT", "dead_letters"),
    ("millrace_reader", "SELECT", "operations"),
    ("millrace_maintenance", "INSERT", "due"),
    ("millrace_maintenance", "INSERT", "outbox"),
    ("millrace_maintenance", "SELECT", "outbox(exchange)"),
    ("millrace_maintenance", "SELECT", "outbox(body)"),
    ("millrace_maintenance", "SELECT", "inbox"),
    ("millrace_maintenance", "SELECT", "inbox_a"),
    ("millrace_maintenance", "SELECT", "inbox_b"),
    ("millrace_maintenance", "SELECT", "inbox_c"),
    ("millrace_maintenance", "SELECT", "audit_index_position"),
    ("millrace_maintenance", "SELECT", "holds"),
    ("millrace_maintenance", "INSERT", "holds"),
    ("millrace_maintenance", "UPDATE", "holds(released_by)"),
    ("millrace_maintenance", "UPDATE", "holds(released_at)"),
    ("millrace_maintenance", "UPDATE", "holds(evidence_sha256)"),
    ("millrace_maintenance", "UPDATE", "holds(evidence_lines)"),
    ("millrace_maintenance", "UPDATE", "holds(pinned_at)"),
    ("millrace_maintenance", "SELECT", "parked"),
    ("millrace_maintenance", "UPDATE", "parked(not_before)"),
    ("millrace_maintenance", "SELECT", "dead_letters"),
    ("millrace_maintenance", "UPDATE", "dead_letters(state)"),
    ("millrace_maintenance", "UPDATE", "dead_letters(marked_at)"),
    ("millrace_maintenance", "UPDATE", "dead_letters(marked_by)"),
    ("millrace_maintenance", "UPDATE", "dead_letters(because)"),
    ("millrace_maintenance", "UPDATE", "dead_letters(forced)"),
    ("millrace_maintenance", "SELECT", "operations"),
    ("millrace_maintenance", "SELECT", "provider_links"),
    ("millrace_maintenance", "INSERT", "provider_links"),
];

/// The one condition of a tenant's policy, as `pg_get_expr` prints it.
pub(super) const CANONICAL: &str = "(org_id = ( SELECT app.cur_org() AS cur_org))";

/// What a tenant table has beside the grants and policies of all: table, policy, command, role, USING, WITH CHECK, and the
/// one right that the policy bounds.
pub(super) const BESIDE: &[(&str, &str, &str, &str, &str, &str, &str)] = &[
    // The indexer adds lines of every tenant, and can neither see nor change any.
    ("app.audit_index", "indexing", "a", "millrace_indexer", "-", "true", "INSERT"),
];

/// Policies of engine tables, which are written before a tenant is known or across tenants: table, policy, command
/// (`r` SELECT, `a` INSERT, `w` UPDATE, `d` DELETE, `*` all), role, USING, WITH CHECK.
pub(super) const ENGINE_POLICIES: &[(&str, &str, &str, &str, &str, &str)] = &[
    ("dead_letters", "bury", "a", "millrace_app", "-", "((state = 'open'::text) OR (erased_at IS NOT NULL))"),
    ("dead_letters", "bury_once", "r", "millrace_app", "true", "-"),
    ("dead_letters", "erase_find", "r", "millrace_owner", CANONICAL, "-"),
    ("dead_letters", "erase", "w", "millrace_owner", CANONICAL, CANONICAL),
    ("dead_letters", "tenant_read", "r", "millrace_reader", CANONICAL, "-"),
    ("due", "keep", "*", "millrace_owner", CANONICAL, CANONICAL),
    ("due", "take", "*", "millrace_owner", OPERATOR, OPERATOR),
    ("operations", "record", "a", "millrace_owner", "-", CANONICAL),
    ("operations", "prune_find", "r", "millrace_owner", TOLD, "-"),
    ("operations", "prune", "d", "millrace_owner", TOLD, "-"),
    ("operations", "erase_find", "r", "millrace_owner", CANONICAL, "-"),
    ("operations", "erase", "w", "millrace_owner", CANONICAL, CANONICAL),
    ("holds", "export_find", "r", "millrace_owner", CANONICAL, "-"),
    ("holds", "tenant_hold", "r", "millrace_app", CANONICAL, "-"),
    ("operations", "tenant_read", "r", "millrace_reader", CANONICAL, "-"),
];

/// Functions that run with their owner's rights, each with the reason why it may. An adopter's own carries its
/// reason as a comment: `COMMENT ON FUNCTION … IS 'prove: reason'`.
pub(super) const DEFINERS: &[(&str, &str)] = &[
    ("app.cur_org()", "reads the pads of the context key, which no run-time role may"),
    ("app.subject_tag(text)", "tags a user of the tenant in scope with a key that no run-time role may read"),
    (
        "engine.claim(uuid[],text[],text[],text[])",
        "claims keys in the inbox, which no run-time role may read or change",
    ),
    (
        "engine.erase_person(text,boolean)",
        "erases a person of the tenant in scope from dead letters and answers, whose bodies no run-time role may read",
    ),
    (
        "engine.erase_org(bigint,boolean)",
        "erases the tenant in scope from dead letters, answers and what is put off, which no run-time role may read",
    ),
    (
        "engine.org_on_its_way()",
        "counts what of the tenant in scope is parked or to be published, whose fields no run-time role of workers may read",
    ),
    (
        "engine.export_rows(text,text,text[],integer,bigint)",
        "reads dead letters, answers and links of the tenant in scope for its export, whose bodies no run-time role may read",
    ),
    (
        "engine.hasten_expiry(text[])",
        "lets exports of the tenant in scope expire earlier, and shows nothing of what is due",
    ),
    (
        "engine.keep_due(text[],text[],uuid[],integer[],bytea[],text[],timestamp with time zone[])",
        "keeps messages of the tenant in scope for later, in a table that no run-time role may touch",
    ),
    (
        "engine.take_due(text[],timestamp with time zone,bigint)",
        "takes what is due of every tenant for a worker that seals it, in the operator's scope alone",
    ),
    ("engine.settle_due(text[],text[],text[],boolean[])", "removes what was sealed, in the operator's scope alone"),
    (
        "engine.record_operations(text[],text[],text[],text[],text[],text[],text[],text[],timestamp with time zone)",
        "writes what became of commands, each row under its own tenant's context",
    ),
    ("engine.prune_operations(bigint)", "deletes operations that are older than promised, and can see no others"),
    ("engine.clear_spare_inbox()", "empties the generation of the inbox that nobody asks any more"),
    (
        "engine.link_customer(text,text,boolean,text)",
        "links a customer to the tenant in scope and to no other, without showing the links of anybody else",
    ),
    (
        "engine.resolve_link(text,text,boolean,text)",
        "answers whose customer it is without showing the links of anybody else",
    ),
    ("engine.reset_audit_index()", "empties the index of the audit log, which is made again from the files"),
    (
        "engine.tend_audit_index(integer,date[])",
        "makes and drops months of the audit log's index, whose partitions no run-time role may name",
    ),
    ("engine.turn_inbox()", "begins the next generation of the inbox when the present one is old enough"),
];

/// Tables of schema `ref`, which hold nothing of any tenant, each with the reason. An adopter's own carries its
/// reason as a comment: `COMMENT ON TABLE … IS 'prove: reason'`.
pub(super) const GLOBAL_TABLES: &[(&str, &str)] = &[
    ("ref.plans", "names of plans, the same for everybody"),
    ("ref.plan_entitlements", "what each plan entitles to, the same for everybody"),
];
