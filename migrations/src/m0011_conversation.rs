//! Conversations, and to whom they are assigned.

crate::sql::step!(
    "m0011_conversation",
    r#"
create table conversation (
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
    name text,
    preview text,
    status text not null default 'open',
    sub_status text,
    priority {int} not null default 3,
    direction text,
    channels {json},
    reply_channel text,
    queue text,
    lang text,
    snoozed_until {time},
    message_count_in {int} not null default 0,
    message_count_out {int} not null default 0,
    note_count {int} not null default 0,
    reopen_count {int} not null default 0,
    first_message_in_at {time},
    first_message_in_channel text,
    first_message_out_at {time},
    first_message_out_channel text,
    last_message_in_at {time},
    last_message_in_channel text,
    last_message_out_at {time},
    last_message_out_channel text,
    last_message_at {time},
    first_response_at {time},
    first_done_at {time},
    last_done_at {time},
    sentiment {json},
    satisfaction {json},
    ended_at {time},
    ended_reason text,
    locked {bool} not null default {pg:false}{sqlite:0},
    spam {bool} not null default {pg:false}{sqlite:0},
    customer_id {uuid} references customer (id),
    merged_into_id {uuid} references conversation (id)
){strict};
create unique index conversation_external_id_key on conversation (org_id, external_id);
create unique index conversation_id_key on conversation (org_id, id);
create index conversation_created_at_idx on conversation (org_id, created_at, id);
create index conversation_updated_at_idx on conversation (org_id, updated_at, id);
create index conversation_name_idx on conversation (org_id, name, id);
create index conversation_status_idx on conversation (org_id, status, id);
create index conversation_sub_status_idx on conversation (org_id, sub_status, id);
create index conversation_priority_idx on conversation (org_id, priority, id);
create index conversation_direction_idx on conversation (org_id, direction, id);
create index conversation_queue_idx on conversation (org_id, queue, id);
create index conversation_snoozed_until_idx on conversation (org_id, snoozed_until, id);
create index conversation_last_message_in_at_idx on conversation (org_id, last_message_in_at, id);
create index conversation_last_message_out_at_idx on conversation (org_id, last_message_out_at, id);
create index conversation_last_message_at_idx on conversation (org_id, last_message_at, id);
create index conversation_last_done_at_idx on conversation (org_id, last_done_at, id);
create index conversation_spam_idx on conversation (org_id, spam, id);
create index conversation_customer_id_idx on conversation (customer_id, id);
create index conversation_merged_into_id_idx on conversation (merged_into_id, id);
create index conversation_status_last_message_idx on conversation (org_id, status, last_message_at desc, id desc);
{pg:create index conversation_tags_idx on conversation using gin (tags jsonb_path_ops);}

create table conversation_assigned_users (
    org_id {uuid} not null,
    from_id {uuid} not null references conversation (id),
    to_id {uuid} not null references "user" (id),
    linked_at {time} not null,
    primary key (from_id, to_id)
){strict};
create index conversation_assigned_users_to_id_idx on conversation_assigned_users (to_id, from_id);

create table conversation_assigned_teams (
    org_id {uuid} not null,
    from_id {uuid} not null references conversation (id),
    to_id {uuid} not null references team (id),
    linked_at {time} not null,
    primary key (from_id, to_id)
){strict};
create index conversation_assigned_teams_to_id_idx on conversation_assigned_teams (to_id, from_id);
"#
);
