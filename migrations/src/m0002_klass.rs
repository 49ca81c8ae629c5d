//! What an org's klasses are (definitions), and the journal of their changes.
//!
//! On Postgres `json`, not `jsonb`: the order of a klass's properties is the order of the keys. To write it, bind text and cast
//! (`$1::json`); a driver's JSON parameter is `jsonb`, which has lost the order already.

crate::sql::step!(
    "m0002_klass",
    r#"
create table klass_definition (
    org_id {uuid} not null references org (id),
    name text not null,
    body {pg:json}{sqlite:text} not null,
    position {int} not null,
    version {int} not null,
    primary key (org_id, name)
){strict};

create table klass_change (
    id {uuid} not null primary key,
    org_id {uuid} not null references org (id),
    version {int} not null,
    state text not null check (state in ('planned', 'running', 'switched', 'done', 'undone')),
    plan {pg:json}{sqlite:text} not null,
    error text,
    created_at {stamp} not null,
    finished_at {stamp}
){strict};
create index klass_change_org_id_idx on klass_change (org_id, version);
create index klass_change_open_idx on klass_change (state) where state in ('planned', 'running', 'switched');
"#
);
