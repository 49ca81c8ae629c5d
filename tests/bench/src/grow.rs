//! More of the same: every customer again and again, with its timeline, so that tables and indexes grow and the answers do not.

use anyhow::{Context, ensure};
use tokio_postgres::{Client, NoTls};

/// The tables that are filled: those of which an answer is a range of an index. (What a timeline's entries point to is found by its key.)
const TABLES: [(&str, &str); 3] = [
    ("public", "timeline_entry"),
    ("public", "customer"),
    ("org_bench", "customer_extension"),
];

/// Fills a Postgres database up to so many customers, by statements on its tables: an import of millions takes the better part of an hour.
pub async fn customers(database: &str, wanted: usize) -> anyhow::Result<()> {
    let (client, connection) = tokio_postgres::connect(database, NoTls).await?;
    tokio::spawn(connection);
    let there: i64 = client.query_one("select count(*) from customer", &[]).await?.get(0);
    let there = usize::try_from(there)?;
    ensure!(there > 0 && there <= wanted, "there are {there} customers already");
    let copies = (wanted / there).saturating_sub(1);
    // A copy's ids lie behind those of all before it, as those of later objects do. Copies are whole, so nothing need be checked.
    client
        .batch_execute(
            "set session_replication_role = replica; set synchronous_commit = off; \
             create function pg_temp.other(id uuid, copy int) returns uuid language sql immutable strict as \
             $$ select overlay(id::text placing lpad(to_hex(x'1b0'::int + copy), 4, '0') from 1 for 4)::uuid $$",
        )
        .await?;
    for (schema, table) in TABLES {
        let columns = columns(&client, schema, table).await?;
        let (names, values): (Vec<String>, Vec<String>) = columns.into_iter().unzip();
        let sql = format!(
            "insert into \"{schema}\".\"{table}\" ({}) select {} from generate_series(1, {copies}) copy, \
             (select * from \"{schema}\".\"{table}\" order by id offset 0) t",
            names.join(", "),
            values.join(", ")
        );
        let rows = client.execute(&sql, &[]).await.with_context(|| table.to_owned())?;
        println!("  {table}: {rows} rows more");
    }
    client.batch_execute("vacuum analyze").await?;
    Ok(())
}

/// The columns of a table, and what stands in them in a copy.
async fn columns(client: &Client, schema: &str, table: &str) -> anyhow::Result<Vec<(String, String)>> {
    let rows = client
        .query(
            "select column_name::text from information_schema.columns where table_schema = $1 and table_name = $2 and is_generated = 'NEVER' \
             and is_identity = 'NO' order by ordinal_position",
            &[&schema, &table],
        )
        .await?;
    let copied = |name: &str| match name {
        "id" | "customer_id" | "conversation_id" | "object_id" => format!("pg_temp.other(t.\"{name}\", copy)"),
        // No two share it.
        "external_id" => format!("t.\"{name}\" || 'x' || copy"),
        _ => format!("t.\"{name}\""),
    };
    Ok(rows
        .iter()
        .map(|row| {
            let name: String = row.get(0);
            let value = copied(&name);
            (format!("\"{name}\""), value)
        })
        .collect())
}
