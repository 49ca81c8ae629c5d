//! Orgs (tenants) and the tokens with which programs come in.

crate::sql::step!(
    "m0001_org",
    r#"
create table org (
    id {uuid} not null primary key,
    slug text not null unique,
    name text not null,
    klass_version {int} not null default 1,
    created_at {stamp} not null
){strict};

create table token (
    id {uuid} not null primary key,
    org_id {uuid} not null references org (id),
    name text not null,
    hash {bytes} not null unique,
    role text not null,
    actor_id {uuid} not null,
    expires_at {stamp},
    revoked_at {stamp},
    created_at {stamp} not null,
    last_used_at {stamp}
){strict};
create index token_org_id_idx on token (org_id, created_at);
"#
);
