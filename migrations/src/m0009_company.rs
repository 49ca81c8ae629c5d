//! Companies.

crate::sql::step!(
    "m0009_company",
    r#"
create table company (
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
    domains {json},
    emails {json},
    phones {json},
    socials {json},
    urls {json},
    locations {json},
    default_lang text,
    parent_id {uuid} references company (id)
){strict};
create unique index company_external_id_key on company (org_id, external_id);
create unique index company_id_key on company (org_id, id);
create index company_created_at_idx on company (org_id, created_at, id);
create index company_updated_at_idx on company (org_id, updated_at, id);
create index company_name_idx on company (org_id, name, id);
create index company_parent_id_idx on company (parent_id, id);
{pg:create index company_tags_idx on company using gin (tags jsonb_path_ops);}
"#
);
