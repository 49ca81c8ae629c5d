//! How far an import has come, so that an interrupted one goes on where it stopped.

crate::sql::step!(
    "m0006_import",
    r#"
create table import_progress (
    org_id {uuid} not null references org (id),
    source text not null,
    klass text not null,
    fingerprint text not null,
    position {int} not null default 0,
    records {int} not null default 0,
    failed {int} not null default 0,
    created_at {stamp} not null,
    updated_at {stamp} not null,
    finished_at {stamp},
    primary key (org_id, source, klass)
){strict};
"#
);
