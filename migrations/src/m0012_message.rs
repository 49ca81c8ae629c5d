//! Messages.

crate::sql::step!(
    "m0012_message",
    r#"
create table message (
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
    channel text not null,
    direction text not null,
    status text,
    subject text,
    preview text,
    body text,
    "from" text,
    "to" {json},
    cc {json},
    bcc {json},
    attachments {json},
    auto {bool} not null default {pg:false}{sqlite:0},
    lang text,
    sentiment {json},
    intents {json},
    sent_at {time},
    delivered_at {time},
    read_at {time},
    error {json},
    redacted_at {time},
    meta {json},
    conversation_id {uuid} not null references conversation (id),
    customer_id {uuid} references customer (id)
){strict};
create unique index message_external_id_key on message (org_id, external_id);
create unique index message_id_key on message (org_id, id);
create index message_created_at_idx on message (org_id, created_at, id);
create index message_updated_at_idx on message (org_id, updated_at, id);
create index message_channel_idx on message (org_id, channel, id);
create index message_direction_idx on message (org_id, direction, id);
create index message_status_idx on message (org_id, status, id);
create index message_sent_at_idx on message (org_id, sent_at, id);
create index message_conversation_id_idx on message (conversation_id, id);
create index message_customer_id_idx on message (customer_id, id);
create index message_conversation_sent_at_idx on message (conversation_id, sent_at, id);
{pg:create index message_tags_idx on message using gin (tags jsonb_path_ops);}
"#
);
