//! Customers, those who watch them, and the contact points that identify them.

crate::sql::step!(
    "m0010_customer",
    r#"
create table customer (
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
    first_name text,
    last_name text,
    display_name text,
    username text,
    avatar_url text,
    email text,
    phone text,
    emails {json},
    shared_emails {json},
    phones {json},
    shared_phones {json},
    external_ids {json},
    shared_external_ids {json},
    socials {json},
    urls {json},
    locations {json},
    locale text,
    default_lang text,
    time_zone text,
    birthday {date},
    gender text,
    signed_up_at {time},
    last_seen_at {time},
    presence text,
    verified {bool} not null default {pg:false}{sqlite:0},
    sentiment {json},
    satisfaction {json},
    last_activity_at {time},
    last_message_in_at {time},
    last_message_in_channel text,
    last_message_out_at {time},
    last_message_out_channel text,
    conversation_count_open {int} not null default 0,
    conversation_count_snoozed {int} not null default 0,
    conversation_count_done {int} not null default 0,
    conversation_count_all {int} not null default 0,
    company_id {uuid} references company (id)
){strict};
create unique index customer_external_id_key on customer (org_id, external_id);
create unique index customer_id_key on customer (org_id, id);
create index customer_created_at_idx on customer (org_id, created_at, id);
create index customer_updated_at_idx on customer (org_id, updated_at, id);
create index customer_name_idx on customer (org_id, name, id);
create index customer_last_name_idx on customer (org_id, last_name, id);
create index customer_username_idx on customer (org_id, username, id);
create index customer_email_lower_idx on customer (org_id, {fold}(email), id);
create index customer_phone_idx on customer (org_id, phone, id);
create index customer_signed_up_at_idx on customer (org_id, signed_up_at, id);
create index customer_last_seen_at_idx on customer (org_id, last_seen_at, id);
create index customer_last_activity_at_idx on customer (org_id, last_activity_at, id);
create index customer_last_message_in_at_idx on customer (org_id, last_message_in_at, id);
create index customer_last_message_out_at_idx on customer (org_id, last_message_out_at, id);
create index customer_conversation_count_open_idx on customer (org_id, conversation_count_open, id);
create index customer_company_id_idx on customer (company_id, id);
{pg:create index customer_tags_idx on customer using gin (tags jsonb_path_ops);}

create table customer_watchers (
    org_id {uuid} not null,
    from_id {uuid} not null references customer (id),
    to_id {uuid} not null references "user" (id),
    linked_at {time} not null,
    primary key (from_id, to_id)
){strict};
create index customer_watchers_to_id_idx on customer_watchers (to_id, from_id);

create table contact_point (
    org_id {uuid} not null,
    customer_id {uuid} not null references customer (id),
    kind text not null check (kind in ('email', 'phone', 'externalId')),
    value text not null,
    primary key (org_id, kind, value)
){strict};
create index contact_point_customer_id_idx on contact_point (customer_id);
"#
);
