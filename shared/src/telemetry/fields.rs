//! Names of log fields and metrics, in one place, since dashboards and alerts rely on them.

/// Counter `{source, secret}`: webhooks whose signature fits, by the secret that matched.
pub const WEBHOOK_VERIFIED: &str = "millrace_webhook_verified_total";
/// Counter `{reason}`: requests refused at the edge; the reason never reaches the sender.
pub const EDGE_REFUSED: &str = "millrace_edge_refused_total";
/// Counter `{issuer, result}`: fetches of an issuer's published keys by how they ended.
pub const KEYS_FETCHED: &str = "millrace_issuer_keys_fetched_total";
/// Histogram: seconds from the first byte of a request to its answer.
pub const REQUEST_SECONDS: &str = "millrace_request_seconds";
/// Gauge: open connections of the public listener.
pub const CONNECTIONS: &str = "millrace_http_connections";
/// Counter `{result}`: publishes by how they ended.
pub const PUBLISHED: &str = "millrace_published_total";
/// Counter `{publisher, lane}`: confirmed messages of the ingress or a Rust service, by the lane that holds them.
pub const LANE_PUBLISHED: &str = "millrace_lane_published_total";
/// Counter `{worker, outcome}`: messages settled for good.
pub const SETTLED: &str = "millrace_settled_total";
/// Counter `{worker, outcome, code}`: messages that were rejected or denied, or are dead, by the code of their audit line.
pub const SETTLED_CODE: &str = "millrace_settled_code_total";
/// Counter `{worker}`: messages that a handler applied together with others of their tenant.
pub const TOGETHER: &str = "millrace_applied_together_total";
/// Counter `{worker}`: redeliveries that the inbox recognized.
pub const DUPLICATES: &str = "millrace_duplicates_total";
/// Counter `{worker, reason}`: messages parked for a later attempt.
pub const PARKED: &str = "millrace_parked_total";
/// Histogram `{worker}`: seconds from BEGIN to COMMIT of a batch.
pub const BATCH_SECONDS: &str = "millrace_batch_seconds";
/// Histogram `{worker}`: messages in a batch.
pub const BATCH_MESSAGES: &str = "millrace_batch_messages";
/// Histogram `{worker, result}`: seconds of calls to the outside, by how they ended.
pub const CALL_SECONDS: &str = "millrace_call_seconds";
/// Counter `{worker}`: tries to seal a message that is due, in vain.
pub const DUE_REFUSED: &str = "millrace_due_refused_total";
/// Counter: operations that were told for as long as promised, and are deleted.
pub const OPERATIONS_PRUNED: &str = "millrace_operations_pruned_total";
/// Counter `{kind}`: outbox and parked rows that the relay published.
pub const RELAYED: &str = "millrace_relayed_total";
/// Counter: lines appended to the audit log.
pub const AUDIT_LINES: &str = "millrace_audit_lines_total";
/// Gauge: lines of the audit log that its index does not have yet.
pub const AUDIT_INDEX_LAG: &str = "millrace_audit_index_lag_lines";
/// Gauge: how old the newest line of the index is while lines are missing there, else nought; seconds.
pub const AUDIT_INDEX_LAG_SECONDS: &str = "millrace_audit_index_lag_seconds";
/// Counter: lines added to the index of the audit log.
pub const AUDIT_INDEXED: &str = "millrace_audit_indexed_total";
/// Counter `{reason}`: lines of the audit log that are not in its index: `old`, or `unreadable`, which is a fault.
pub const AUDIT_INDEX_SKIPPED: &str = "millrace_audit_index_skipped_total";
/// Counter `{reason}`: messages the audit worker refused.
pub const AUDIT_REFUSED: &str = "millrace_audit_refused_total";
/// Gauge: lines of the audit log that no checkpoint covers yet.
pub const AUDIT_UNSEALED: &str = "millrace_audit_unsealed_lines";
/// Gauge: lines that the newest checkpoint covers.
pub const AUDIT_CHECKPOINT_SIZE: &str = "millrace_audit_checkpoint_size";
/// Gauge: when the newest checkpoint was signed, in seconds since 1970.
pub const AUDIT_CHECKPOINT_TIME: &str = "millrace_audit_checkpoint_timestamp_seconds";
/// Gauge: when the newest checkpoint was signed that is held off the host, in seconds since 1970; 0 while none is.
pub const AUDIT_COPIED_TIME: &str = "millrace_audit_copied_timestamp_seconds";
/// Gauge: lines that the newest checkpoint covers which is held off the host.
pub const AUDIT_COPIED_SIZE: &str = "millrace_audit_copied_size";
/// Gauge: 1 when checkpoints are copied off the host, 0 when no target is configured.
pub const AUDIT_COPY_CONFIGURED: &str = "millrace_audit_copy_configured";
/// Counter: copies off the host that failed and are tried again.
pub const AUDIT_COPY_FAILED: &str = "millrace_audit_copy_failed_total";
/// Counter: retention records that the writer did not carry out.
pub const AUDIT_PRUNE_REFUSED: &str = "millrace_audit_prune_refused_total";
