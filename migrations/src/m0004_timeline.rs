//! The timeline: an entry for each object that stands there, and for each change of a conversation that is told there.

crate::sql::step!(
    "m0004_timeline",
    r#"
create table timeline_entry (
    org_id {uuid} not null,
    id {uuid} not null primary key,
    customer_id {uuid} not null,
    at {time} not null,
    kind text not null,
    klass text not null,
    object_id {uuid} not null,
    channel text,
    conversation_id {uuid},
    data {json}
){strict};
create index timeline_entry_customer_idx on timeline_entry (org_id, customer_id, at desc, id desc);
create index timeline_entry_object_idx on timeline_entry (org_id, object_id);
create unique index timeline_entry_object_key on timeline_entry (org_id, klass, object_id, kind)
    where kind not in ('conversation.status', 'conversation.assignment', 'conversation.created');
"#
);
