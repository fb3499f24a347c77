//! The shared half of Millrace: what every process agrees on, and the road of a message through a worker.
//!
//! Adopters start from [`builtin`], add their own resources, workers and commands, and hand the
//! [`contract::Contract`] to `millrace_ingress::run`, `millrace_workers::run` and `millrace_cli::run`.

pub mod amqp;
pub mod auditlog;
mod chaos;
pub mod client;
pub mod config;
pub mod contract;
pub mod db;
pub mod exports;
pub mod lifecycle;
pub mod pipeline;
pub mod rates;
pub mod retry;
pub mod stripe;
pub mod telemetry;

use contract::payloads::{
    AccessChanged, BillingChangePlan, BillingChargeFee, BillingLinkCustomer, BillingOverrideAccess, BillingRefetch,
    BillingRefetched, BillingReviewAccess, ComplianceCancelErasure, ComplianceErase, ComplianceEraseOrg,
    ComplianceExecuteErasure, ComplianceExpireExport, ComplianceExport, ComplianceExportExpired, ComplianceExportPage,
    ComplianceExportWritten, CustomerLinked, EdgeRefused, MemberRemoved, MemberRoleSet, MembersRemove, MembersSetRole,
    OrgErased, PersonErased, PlanChanged, ProjectArchived, ProjectCreated, ProjectDeleted, ProjectRenamed,
    ProjectsArchive, ProjectsCreate, ProjectsDelete, ProjectsRename, SettingsUpdate, SettingsUpdated, StripeEvent,
    TenantClosed, TenantCreated, TenantResumed, TenantSuspended, TenantsClose, TenantsCreate, TenantsResume,
    TenantsSuspend,
};
use contract::{Contract, Provider, RoleTable};

/// The contract of Millrace itself.
pub fn builtin() -> Contract {
    let resources = ["project", "settings", "member", "billing", "audit_log", "compliance", "tenant"];
    let contract = resources
        .into_iter()
        .fold(Contract::default(), |contract, name| contract.resource(name, RoleTable::default()))
        .roles(RoleTable::builtin())
        .source::<StripeEvent>(Provider::Stripe);
    events(commands(contract))
}

fn commands(contract: Contract) -> Contract {
    contract
        .worker("billing")
        .command::<StripeEvent>()
        .command::<BillingChangePlan>()
        .command::<BillingLinkCustomer>()
        .command::<BillingOverrideAccess>()
        .command::<BillingReviewAccess>()
        .command::<BillingRefetched>()
        .command::<BillingChargeFee>()
        .worker("provider")
        .command::<BillingRefetch>()
        .worker("projects")
        .command::<ProjectsCreate>()
        .command::<ProjectsRename>()
        .command::<ProjectsArchive>()
        .command::<ProjectsDelete>()
        .worker("settings")
        .command::<SettingsUpdate>()
        .worker("members")
        .command::<MembersSetRole>()
        .command::<MembersRemove>()
        .worker("tenants")
        .command::<TenantsCreate>()
        .command::<TenantsSuspend>()
        .command::<TenantsResume>()
        .command::<TenantsClose>()
        .command::<EdgeRefused>()
        .worker("compliance")
        .command::<ComplianceErase>()
        .command::<ComplianceCancelErasure>()
        .command::<ComplianceExecuteErasure>()
        .command::<ComplianceEraseOrg>()
        .command::<ComplianceExport>()
        .command::<ComplianceExportPage>()
        .command::<ComplianceExportWritten>()
        .command::<ComplianceExpireExport>()
        .command::<ComplianceExportExpired>()
}

fn events(contract: Contract) -> Contract {
    contract
        .event::<PlanChanged>()
        .event::<CustomerLinked>()
        .event::<AccessChanged>()
        .event::<ProjectCreated>()
        .event::<ProjectRenamed>()
        .event::<ProjectArchived>()
        .event::<ProjectDeleted>()
        .event::<SettingsUpdated>()
        .event::<MemberRoleSet>()
        .event::<MemberRemoved>()
        .event::<TenantCreated>()
        .event::<TenantSuspended>()
        .event::<TenantResumed>()
        .event::<TenantClosed>()
        .event::<PersonErased>()
        .event::<OrgErased>()
}
