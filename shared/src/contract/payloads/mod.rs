//! The payload types of Millrace itself, one file an area.

mod access;
mod billing;
mod charge_fee;
mod compliance;
mod edge;
mod exports;
mod members;
mod projects;
mod refetch;
mod schema;
mod settings;
mod stripe;
mod tenants;

pub use access::{AccessChanged, AccessLevel, BillingOverrideAccess, BillingReviewAccess};
pub use billing::{BillingChangePlan, BillingLinkCustomer, CustomerLinked, PlanChanged};
pub use charge_fee::BillingChargeFee;
pub use compliance::{
    ComplianceCancelErasure, ComplianceErase, ComplianceEraseOrg, ComplianceExecuteErasure, ErasureScope, ErasureStage,
    OrgErased, PersonErased,
};
pub use edge::{EdgeRefused, EdgeRule};
pub use exports::{
    ComplianceExpireExport, ComplianceExport, ComplianceExportExpired, ComplianceExportPage, ComplianceExportWritten,
    ExportWritten, WrittenManifest, WrittenRows,
};
pub use members::{MemberRemoved, MemberRoleSet, MembersRemove, MembersSetRole};
pub use projects::{
    ProjectArchived, ProjectCreated, ProjectDeleted, ProjectRenamed, ProjectsArchive, ProjectsCreate, ProjectsDelete,
    ProjectsRename,
};
pub use refetch::{BillingRefetch, BillingRefetched};
pub use settings::{MOST_SETTINGS, SettingsUpdate, SettingsUpdated};
pub use stripe::{
    InvoiceChange, InvoiceStatus, RefundChange, RefundKind, StripeChange, StripeEvent, StripeHead, SubscriptionChange,
    SubscriptionObject, SubscriptionRank,
};
pub use tenants::{
    TenantClosed, TenantCreated, TenantResumed, TenantSuspended, TenantsClose, TenantsCreate, TenantsResume,
    TenantsSuspend,
};
