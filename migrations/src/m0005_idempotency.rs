//! What came of a mutation that was given an idempotency key; kept for 24 hours.

crate::sql::step!(
    "m0005_idempotency",
    r#"
create table idempotency (
    org_id {uuid} not null,
    key text not null,
    input_hash {bytes} not null,
    result {json},
    created_at {time} not null,
    primary key (org_id, key)
){strict};
create index idempotency_created_at_idx on idempotency (created_at);
"#
);
