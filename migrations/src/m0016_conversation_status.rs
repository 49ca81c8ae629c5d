//! Conversations are counted by status without a look at each: whether one is deleted stands in the index.

crate::sql::step!(
    "m0016_conversation_status",
    r#"
drop index conversation_status_idx;
create index conversation_status_idx on conversation (org_id, status, id, deleted_at);
"#
);
