//! Q5's floor: the rows that a new message means (itself, its conversation's and customer's derived fields, its entry on the
//! timeline, three events, the stream's counter), written by hand in one transaction and read back.

use anyhow::Context;
use rusqlite::types::Value;
use rusqlite::{Connection, named_params};
use uuid::Uuid;

/// On Postgres: one statement, with the log or (to see what that costs) without. $1 is the conversation, $2 the text.
pub fn postgres(log: bool) -> String {
    let (log, cursor) = if log {
        (POSTGRES_LOG, "(select seq::text from h)")
    } else {
        ("", "null")
    };
    format!(
        "{POSTGRES_ROWS}{log}
select json_build_object('message', json_build_object('id', m.id, 'direction', m.direction, 'channel', m.channel, 'body', m.body, 'sentAt', m.sent_at,
    'conversation', json_build_object('id', v.id, 'messageCountIn', v.message_count_in)), 'errors', '[]'::json, 'cursor', {cursor})::text from m, v"
    )
}

const POSTGRES_ROWS: &str = "with m as (
    insert into message (id, org_id, version, created_at, created_by, updated_at, updated_by, channel, direction, body, auto, sent_at, conversation_id, customer_id)
    select gen_random_uuid(), org_id, 1, now(), 'token:bench', now(), 'token:bench', 'chat', 'in', $2, false, now(), id, customer_id
    from conversation where id = $1 and deleted_at is null returning *
), v as (
    update conversation set version = version + 1, updated_at = now(), updated_by = 'token:bench', preview = left($2, 100), message_count_in = message_count_in + 1,
      last_message_in_at = now(), last_message_in_channel = 'chat', last_message_at = now() where id = $1 returning *
), c as (
    update customer set version = version + 1, updated_at = now(), updated_by = 'token:bench', last_activity_at = now(), last_message_in_at = now(),
      last_message_in_channel = 'chat' where id = (select customer_id from m) returning *
), t as (
    insert into timeline_entry (org_id, id, customer_id, at, kind, klass, object_id, channel, conversation_id)
    select org_id, gen_random_uuid(), customer_id, now(), 'message', 'message', id, 'chat', conversation_id from m
)";
const POSTGRES_LOG: &str = ", h as (
    update stream_head set seq = seq + 3, xid = pg_current_xact_id()
    where org_id = (select org_id from m) and stream = 'c:' || (select customer_id from m) returning org_id, stream, seq
), e as (
    insert into event (org_id, stream, seq, id, klass, object_id, op, actor, at, changed, after)
    select h.org_id, h.stream, h.seq - 2, gen_random_uuid(), 'conversation', v.id, 'updated', 'token:bench', now(), '[\"messageCountIn\"]'::jsonb, to_jsonb(v) from h, v
    union all select h.org_id, h.stream, h.seq - 1, gen_random_uuid(), 'message', m.id, 'created', 'token:bench', now(), '[]'::jsonb, to_jsonb(m) from h, m
    union all select h.org_id, h.stream, h.seq, gen_random_uuid(), 'customer', c.id, 'updated', 'token:bench', now(), '[\"lastActivityAt\"]'::jsonb, to_jsonb(c) from h, c
)";

/// What SQLite lacks: a row as JSON, as `to_jsonb` of Postgres answers it.
fn image(connection: &Connection, table: &str) -> rusqlite::Result<String> {
    let mut statement = connection.prepare_cached("select name, type from pragma_table_info(?1)")?;
    let columns = statement.query_map([table], |row| {
        let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
        let value = if kind.eq_ignore_ascii_case("blob") {
            format!("hex(\"{name}\")")
        } else {
            format!("\"{name}\"")
        };
        Ok(format!("'{name}', {value}"))
    })?;
    let columns = columns.collect::<rusqlite::Result<Vec<_>>>()?.join(", ");
    Ok(format!("(select json_object({columns}) from {table} where id = ?6)"))
}

/// The statements that put events: of a conversation, a message and a customer.
pub struct Events([String; 3]);

impl Events {
    pub fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let put = |table| {
            Ok::<_, rusqlite::Error>(format!(
                "insert into event (org_id, stream, seq, id, klass, object_id, op, actor, at, changed, after)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'token:bench', ?8, ?9, {})",
                image(connection, table)?
            ))
        };
        Ok(Self([put("conversation")?, put("message")?, put("customer")?]))
    }
}

/// On SQLite: all messages that wait, in one transaction; the answer of each.
pub fn sqlite<'a>(connection: &Connection, events: &Events, jobs: impl Iterator<Item = &'a [Value]>) -> anyhow::Result<Vec<String>> {
    connection.execute_batch("begin immediate")?;
    let done: anyhow::Result<Vec<String>> = jobs.map(|values| one(connection, events, values)).collect();
    connection.execute_batch(if done.is_ok() { "commit" } else { "rollback" })?;
    done
}

fn one(connection: &Connection, events: &Events, values: &[Value]) -> anyhow::Result<String> {
    let (conversation, body) = values.split_first().context("a conversation and a text")?;
    let body = &body[0];
    let id = |id: Uuid| id.as_bytes().to_vec();
    let message = id(Uuid::now_v7());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros() as i64;
    connection
        .prepare_cached(
            "insert into message (id, org_id, version, created_at, created_by, updated_at, updated_by, tags, channel, direction, body, auto, sent_at, conversation_id, customer_id)
             select :id, org_id, 1, :now, 'token:bench', :now, 'token:bench', '[]', 'chat', 'in', :body, 0, :now, id, customer_id
             from conversation where id = :conversation and deleted_at is null",
        )?
        .execute(named_params! {":id": message, ":now": now, ":body": body, ":conversation": conversation})?;
    connection
        .prepare_cached(
            "update conversation set version = version + 1, updated_at = :now, updated_by = 'token:bench', preview = substr(:body, 1, 100),
             message_count_in = message_count_in + 1, last_message_in_at = :now, last_message_in_channel = 'chat', last_message_at = :now where id = :conversation",
        )?
        .execute(named_params! {":now": now, ":body": body, ":conversation": conversation})?;
    let (org, customer): (Vec<u8>, Vec<u8>) = connection
        .prepare_cached("select org_id, customer_id from message where id = ?1")?
        .query_row([&message], |row| Ok((row.get(0)?, row.get(1)?)))?;
    connection
        .prepare_cached(
            "update customer set version = version + 1, updated_at = ?2, updated_by = 'token:bench', last_activity_at = ?2, last_message_in_at = ?2,
             last_message_in_channel = 'chat' where id = ?1",
        )?
        .execute(rusqlite::params![customer, now])?;
    connection
        .prepare_cached(
            "insert into timeline_entry (org_id, id, customer_id, at, kind, klass, object_id, channel, conversation_id)
             values (?1, ?2, ?3, ?4, 'message', 'message', ?5, 'chat', ?6)",
        )?
        .execute(rusqlite::params![org, id(Uuid::now_v7()), customer, now, message, conversation])?;
    let stream = format!("c:{}", Uuid::from_slice(&customer)?);
    let head: i64 = connection
        .prepare_cached("update stream_head set seq = seq + 3 where org_id = ?1 and stream = ?2 returning seq")?
        .query_row(rusqlite::params![org, stream], |row| row.get(0))?;
    let conversation_id: Vec<u8> = match conversation {
        Value::Blob(id) => id.clone(),
        _ => Vec::new(),
    };
    let told = [
        ("conversation", &conversation_id, "updated", "[\"messageCountIn\"]"),
        ("message", &message, "created", "[]"),
        ("customer", &customer, "updated", "[\"lastActivityAt\"]"),
    ];
    for ((back, sql), (klass, object, op, changed)) in [2, 1, 0].into_iter().zip(&events.0).zip(told) {
        connection.prepare_cached(sql)?.execute(rusqlite::params![
            org,
            stream,
            head - back,
            id(Uuid::now_v7()),
            klass,
            object,
            op,
            now,
            changed
        ])?;
    }
    Ok(connection
        .prepare_cached(
            "select json_object('message', json_object('id', hex(m.id), 'direction', m.direction, 'channel', m.channel, 'body', m.body, 'sentAt', m.sent_at,
             'conversation', json_object('id', hex(v.id), 'messageCountIn', v.message_count_in)), 'errors', json('[]'), 'cursor', ?2)
             from message m join conversation v on v.id = m.conversation_id where m.id = ?1",
        )?
        .query_row(rusqlite::params![message, head.to_string()], |row| row.get(0))?)
}
