//! Notes, and whom they mention.

crate::sql::step!(
    "m0013_note",
    r#"
create table note (
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
    body text not null,
    attachments {json},
    lang text,
    customer_id {uuid} references customer (id),
    conversation_id {uuid} references conversation (id)
){strict};
create unique index note_external_id_key on note (org_id, external_id);
create unique index note_id_key on note (org_id, id);
create index note_created_at_idx on note (org_id, created_at, id);
create index note_updated_at_idx on note (org_id, updated_at, id);
create index note_customer_id_idx on note (customer_id, id);
create index note_conversation_id_idx on note (conversation_id, id);
{pg:create index note_tags_idx on note using gin (tags jsonb_path_ops);}

create table note_mentioned_users (
    org_id {uuid} not null,
    from_id {uuid} not null references note (id),
    to_id {uuid} not null references "user" (id),
    linked_at {time} not null,
    primary key (from_id, to_id)
){strict};
create index note_mentioned_users_to_id_idx on note_mentioned_users (to_id, from_id);

create table note_mentioned_teams (
    org_id {uuid} not null,
    from_id {uuid} not null references note (id),
    to_id {uuid} not null references team (id),
    linked_at {time} not null,
    primary key (from_id, to_id)
){strict};
create index note_mentioned_teams_to_id_idx on note_mentioned_teams (to_id, from_id);
"#
);
