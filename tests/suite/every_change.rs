//! Every change of an object is an event in the same transaction: all cases of `tests/cases` run on a database that watches itself.
//!
//! On PostgreSQL a deferred constraint trigger on every table of objects (those made meanwhile too) refuses a commit whose rows have no
//! event; on SQLite, which has no such triggers, each row's version must be that of an event of its own.

use klio_tests::{Backend, Product, cases, folder};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};

/// Tables of the standard klasses.
const STANDARD: [&str; 7] = ["company", "customer", "conversation", "message", "user", "team", "note"];

/// From then on every commit is checked.
const WATCH: &str = r#"
create function has_its_event() returns trigger language plpgsql as $$
declare
  object uuid := case tg_op when 'DELETE' then old.id else new.id end;
begin
  if not exists (select from event where object_id = object and xid = pg_current_xact_id()) then
    raise exception '% of % %: no event in its transaction', tg_op, tg_table_name, object;
  end if;
  return null;
end $$;
create function watch(it regclass) returns void language plpgsql as $$
begin
  execute format('create constraint trigger has_its_event after insert or update or delete on %s
                  deferrable initially deferred for each row execute function has_its_event()', it);
end $$;
create function watch_new_tables() returns event_trigger language plpgsql as $$
declare
  it regclass;
begin
  for it in
    select objid::regclass from pg_event_trigger_ddl_commands() c
    where c.schema_name like 'org\_%' and exists (select from pg_attribute where attrelid = c.objid and attname = 'version')
  loop
    perform watch(it);
  end loop;
end $$;
create event trigger watch_new_tables on ddl_command_end when tag in ('CREATE TABLE') execute function watch_new_tables();
"#;

async fn connect(product: &Product) -> DatabaseConnection {
    Database::connect(&product.database).await.expect("the database answers")
}

/// All cases, each in a product of its own that `prepare` has seen first; `judge` sees it when the case is over.
async fn run(backend: Backend, prepare: impl AsyncFn(&DatabaseConnection), judge: impl AsyncFn(&DatabaseConnection)) {
    let mut folders: Vec<_> = std::fs::read_dir(folder().join("cases"))
        .expect("tests/cases is there")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    for case in folders {
        let Some(product) = Product::start(backend).await else { return };
        let connection = connect(&product).await;
        prepare(&connection).await;
        if let Err(faults) = cases::run(&product, &case).await {
            panic!("{}", faults.join("\n"));
        }
        judge(&connection).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_commit_without_its_events_is_refused() {
    run(
        Backend::Postgres,
        async |connection| {
            connection.execute_unprepared(WATCH).await.expect("triggers are made");
            for table in STANDARD {
                let watch = format!("select watch('\"{table}\"'::regclass)");
                connection.execute_unprepared(&watch).await.expect("a trigger is made");
            }
        },
        async |connection| {
            // The watch is awake: what goes round the write path is refused.
            let refused = connection.execute_unprepared("update customer set name = 'nobody told'").await;
            let customers = count(connection, DbBackend::Postgres, "select count(*)::int4 from customer").await;
            assert_eq!(refused.is_err(), customers > 0, "{refused:?}");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_each_version_is_that_of_an_event() {
    run(
        Backend::Sqlite,
        async |_| {},
        async |connection| {
            let tables = "select m.name from sqlite_master m join pragma_table_info(m.name) c on c.name = 'version' where m.type = 'table'";
            let rows = connection.query_all_raw(Statement::from_string(DbBackend::Sqlite, tables)).await.expect("tables");
            let names = rows.iter().map(|row| row.try_get_by_index::<String>(0).expect("a name"));
            let objects: Vec<String> = names
                .filter(|name| STANDARD.contains(&name.as_str()) || name.starts_with("org_acme__"))
                .collect();
            assert!(objects.len() >= STANDARD.len(), "{objects:?}");
            let untold = |table: &str| {
                format!(
                    "select count(*) from \"{table}\" o where not exists (select 1 from event e where e.object_id = o.id and json_extract(e.after, '$.version') = o.version)"
                )
            };
            for table in &objects {
                assert_eq!(count(connection, DbBackend::Sqlite, &untold(table)).await, 0, "{table}");
            }
            connection.execute_unprepared("update customer set version = version + 1").await.expect("an update");
            let customers = count(connection, DbBackend::Sqlite, "select count(*) from customer").await;
            assert_eq!(count(connection, DbBackend::Sqlite, &untold("customer")).await, customers);
        },
    )
    .await;
}

async fn count(connection: &DatabaseConnection, backend: DbBackend, sql: &str) -> i32 {
    let row = connection
        .query_one_raw(Statement::from_string(backend, sql))
        .await
        .expect("a count");
    row.expect("a row").try_get_by_index(0).expect("a number")
}
