//! The worker for compliance, which needs more of the configuration than others: the store of exports and their key.

use std::process::ExitCode;

use millrace::contract::Contract;
use millrace::exports::ExportStore;
use millrace::handlers;

use crate::compliance::{
    CancelErasure, EraseOrg, ExecuteErasure, ExpireExport, NoteExpired, NoteWritten, PlanErasure, RequestExport,
    WritePage,
};
use crate::worker::run_configured;

/// Runs the worker that erases and exports. It alone has the key that signs exports.
pub fn run_compliance(contract: Contract) -> ExitCode {
    run_configured(contract, "compliance", |config| {
        let cooling_off = config.compliance.erasure_cooling_off;
        let exports = &config.compliance.exports;
        let store = ExportStore::new(&exports.store)?;
        let signs = exports.signing_key.is_some();
        let pages = WritePage::new(&config.deployment, store.clone(), exports.signing_key.clone());
        Ok(handlers![
            PlanErasure { cooling_off },
            CancelErasure,
            ExecuteErasure,
            EraseOrg,
            RequestExport { signs },
            NoteWritten,
            NoteExpired,
        ]
        .with_egress(pages)
        .with_egress(ExpireExport::new(store)))
    })
}
