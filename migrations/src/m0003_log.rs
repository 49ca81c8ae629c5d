//! The log: its identity, the head of each stream, and the events.
//!
//! On Postgres the feed of an org is ordered by `(xid, position)` below `pg_snapshot_xmin(pg_current_snapshot())`, on SQLite by
//! `position`: there the row id, which never comes back (`autoincrement`), so that a cursor never meets another event.

crate::sql::step!(
    "m0003_log",
    r#"
create table log_epoch (
    id {int} not null primary key check (id = 1),
    epoch {uuid} not null,
    secret {bytes} not null
){strict};
{pg:insert into log_epoch (id, epoch, secret)
values (1, gen_random_uuid(), decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));}
{sqlite:insert into log_epoch (id, epoch, secret) values (1, randomblob(16), randomblob(32));}

create table stream_head (
    org_id {uuid} not null,
    stream text not null,
    seq {int} not null,
    floor {int} not null default 0,
    {pg:xid xid8 not null default '0',}
    primary key (org_id, stream)
){pg: with (fillfactor = 80)}{strict}{sqlite:, without rowid};

create table event (
    {sqlite:position integer primary key autoincrement,}
    org_id {uuid} not null,
    stream text not null,
    seq {int} not null,
    {pg:position bigint generated always as identity,}
    {pg:xid xid8 not null default pg_current_xact_id(),}
    id {uuid} not null,
    klass text not null,
    object_id {uuid},
    op text not null check (op in ('created', 'updated', 'deleted', 'restored', 'destroyed', 'linked', 'unlinked', 'klass')),
    actor text not null,
    at {time} not null,
    cause {uuid},
    depth integer not null default 0,
    changed {json} not null,
    before {json},
    after {json}
    {pg:, primary key (org_id, stream, seq)}
    {sqlite:, unique (org_id, stream, seq)}
){strict};
{pg:create index event_feed_idx on event (org_id, xid, position);}
{pg:create index event_at_idx on event using brin (at);}
{sqlite:create index event_feed_idx on event (org_id, position);}
"#
);
