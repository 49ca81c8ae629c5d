//! Teams, and who belongs to them.

crate::sql::step!(
    "m0008_team",
    r#"
create table team (
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
    description text,
    icon text
){strict};
create unique index team_external_id_key on team (org_id, external_id);
create unique index team_id_key on team (org_id, id);
create index team_created_at_idx on team (org_id, created_at, id);
create index team_updated_at_idx on team (org_id, updated_at, id);
create index team_name_idx on team (org_id, name, id);
{pg:create index team_tags_idx on team using gin (tags jsonb_path_ops);}

create table team_members (
    org_id {uuid} not null,
    from_id {uuid} not null references team (id),
    to_id {uuid} not null references "user" (id),
    linked_at {time} not null,
    primary key (from_id, to_id)
){strict};
create index team_members_to_id_idx on team_members (to_id, from_id);
"#
);
