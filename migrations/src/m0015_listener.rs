//! Listeners to the log: how far each has come in each org, which node works for it just now, and what was set aside.
//!
//! Times are milliseconds since 1970 by the database's clock: nodes compare leases with each other's.

crate::sql::step!(
    "m0015_listener",
    r#"
create table listener (
    org_id {uuid} not null references org (id),
    name text not null,
    place text not null,
    node {uuid},
    leased_until {int} not null default 0,
    primary key (org_id, name)
){pg: with (fillfactor = 80)}{strict};
create table listener_aside (
    org_id {uuid} not null references org (id),
    name text not null,
    event_id {uuid} not null,
    stream text not null,
    seq {int} not null,
    tries {int} not null,
    why text not null,
    at {int} not null,
    primary key (org_id, name, event_id)
){strict};
"#
);
