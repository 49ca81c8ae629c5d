//! Users: those who work with customers.

crate::sql::step!(
    "m0007_user",
    r#"
create table "user" (
    id {uuid} not null primary key,
    org_id {uuid} not null references org (id),
    external_id text,
    version {int} not null default 1,
    created_at {time} not null,
    created_by text not null,
    updated_at {time} not null,
    updated_by text not null,
    deleted_at {time},
    imported_at {time},
    tags {json} not null default '[]',
    name text not null,
    display_name text,
    email text,
    mobile text,
    avatar_url text,
    kind text not null default 'human',
    status text,
    roles {json},
    signature text
){strict};
create unique index user_external_id_key on "user" (org_id, external_id);
create unique index user_id_key on "user" (org_id, id);
create index user_created_at_idx on "user" (org_id, created_at, id);
create index user_updated_at_idx on "user" (org_id, updated_at, id);
create index user_name_idx on "user" (org_id, name, id);
create unique index user_email_lower_key on "user" (org_id, {fold}(email));
create index user_kind_idx on "user" (org_id, kind, id);
create index user_status_idx on "user" (org_id, status, id);
{pg:create index user_tags_idx on "user" using gin (tags jsonb_path_ops);}
"#
);
