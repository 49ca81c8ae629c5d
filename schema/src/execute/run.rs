//! Runs what a plan says: statements, then those that their answers ask for, level by level, in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_graphql_parser::types::OperationType;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::{join_all, try_join_all};
use klio_entities::klass::query::{Key, Output, Read};
use klio_entities::klass::{Actor, Klass, ObjectId, Value};
use klio_entities::store::{Dialect, Store, StoreError, sql};
use serde_json::Value as Json;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::gather::Wanted;
use super::record::{Cell, viewer};
use super::tape::Tape;
use super::write::{Answer, Loaded, Node, Rise, Row, Writer};
use crate::catalog::OrgSchema;
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::plan::coerce::{Input, Variables};
use crate::plan::compiler::Ground;
use crate::plan::shape::Shape;
use crate::plan::{self, Fetch, Lookup, Nodes, Plan, Root, Work, cost};
use crate::types::model::Meaning;

/// A request under way.
pub struct Run<'a> {
    /// The store.
    pub store: &'a Store,
    /// The org's schema with which the request began; it ends with it.
    pub schema: &'a Arc<OrgSchema>,
    /// Who asks.
    pub actor: &'a Actor,
    /// The variables.
    pub variables: &'a Variables,
    /// When the request began: relative dates refer to it.
    pub now: DateTime<Utc>,
    /// The limits.
    pub limits: &'a Limits,
    /// The root type's name.
    pub root_type: &'static str,
    /// Statements so far.
    pub statements: AtomicUsize,
    /// The database refused a statement: its tables may be those of other klasses by now.
    pub refused: AtomicBool,
    log_cursor: OnceCell<String>,
}

/// What became of a root field.
#[derive(Debug)]
pub struct Told {
    /// Its value as JSON; nothing if it must be null and may not.
    pub json: Option<Vec<u8>>,
    /// What went wrong.
    pub errors: Vec<Error>,
    /// Rows that were written.
    pub rows: usize,
}

impl Told {
    /// A field that failed before it had a value.
    pub fn failed(root: &Root, error: Error) -> Self {
        let error = error.on(vec![crate::error::Segment::Key(root.key.clone())]);
        let error = if error.locations.is_empty() { error.at(root.pos) } else { error };
        Self {
            json: root.nullable.then(|| b"null".to_vec()),
            errors: vec![error],
            rows: 0,
        }
    }
}

/// What a store's error tells the client.
pub fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::Timeout => Error::new(
            Code::Timeout,
            "The statement took longer than it may. Ask for less, or filter by what is indexed.",
        ),
        StoreError::Unavailable(what) => {
            tracing::error!(error = %what, "the database is away");
            Error::new(Code::Unavailable, "The database does not answer; try again.")
        }
        StoreError::Faults(faults) => match faults.0.into_iter().next() {
            Some(fault) => fault.into(),
            None => Error::internal("no fault among faults"),
        },
        other => Error::internal(other),
    }
}

impl<'a> Run<'a> {
    /// A request that begins now.
    pub fn new(
        store: &'a Store,
        schema: &'a Arc<OrgSchema>,
        actor: &'a Actor,
        variables: &'a Variables,
        limits: &'a Limits,
        kind: OperationType,
    ) -> Self {
        Self {
            store,
            schema,
            actor,
            variables,
            now: Utc::now(),
            limits,
            root_type: plan::root::root_type(kind),
            statements: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
            log_cursor: OnceCell::new(),
        }
    }

    /// On what compilations of this request stand.
    pub fn ground(&self) -> Ground<'_> {
        Ground {
            types: &self.schema.types,
            variables: self.variables,
            sees_sensitive: self.actor.role.sees_sensitive(),
            scaled: self.store.dialect() == Dialect::Sqlite,
            page_most: self.limits.page,
            page_default: self.limits.page.min(20),
            now: self.now,
        }
    }

    /// Runs the root fields of a query, all at once.
    pub async fn query(&self, plan: &Plan) -> Vec<Told> {
        match plan.roots.as_slice() {
            [root] => vec![self.root(root).await],
            roots => join_all(roots.iter().map(|root| self.root(root))).await,
        }
    }

    async fn root(&self, root: &Root) -> Told {
        let told = match &root.work {
            Err(error) => Err(error.clone()),
            Ok(Work::Known(json)) => Ok(Told {
                json: Some(json.clone().into_bytes()),
                errors: Vec::new(),
                rows: 0,
            }),
            Ok(Work::Fetch(fetch)) => self.fetched(root, fetch).await,
            Ok(Work::Nodes(nodes)) => self.nodes(root, nodes).await,
            Ok(Work::Record(record)) => match self.memory(&record.means, &record.arguments.with_leaves(&self.variables.leaves)) {
                Ok(cell) => self.told(root, &record.shape, &cell).await,
                Err(error) => Err(error),
            },
            Ok(Work::Introspect(introspect)) => self.introspect(root, introspect),
        };
        told.unwrap_or_else(|error| Told::failed(root, error))
    }

    /// Root fields that ask for the schema, beside others that do not.
    fn introspect(&self, root: &Root, introspect: &plan::Introspect) -> Result<Told, Error> {
        let variables = self.variables.values.iter().map(|(name, value)| (name.clone(), value.to_json()));
        let variables =
            async_graphql::Variables::from_json(Json::Object(variables.map(|(name, value)| (name.to_string(), value)).collect()));
        let response = crate::introspection::answer(
            self.schema.dynamic().map_err(Error::internal)?,
            introspect.document.clone(),
            variables,
            None,
        );
        if let Some(error) = response.errors.into_iter().next() {
            return Err(Error::internal(error.message));
        }
        let value = match response.data {
            async_graphql::Value::Object(mut data) => data.swap_remove(root.key.as_str()),
            _ => None,
        };
        let json = serde_json::to_vec(&value.unwrap_or_default()).map_err(Error::internal)?;
        Ok(Told {
            json: Some(json),
            errors: Vec::new(),
            rows: 0,
        })
    }

    async fn fetched(&self, root: &Root, fetch: &Fetch) -> Result<Told, Error> {
        let answer = self.read(fetch, None).await?;
        let mut loaded = Loaded::default();
        if fetch.deferred {
            let mut wanted = Wanted::new(&self.schema.registry);
            wanted.answer(&fetch.shape, &answer);
            self.load(wanted, &mut loaded).await?;
        }
        loaded.log_cursor = self.log_cursor.get().cloned();
        Ok(write(self.root_type, root, &fetch.shape, Node::Json(&answer, 0), &loaded))
    }

    /// Turns a cell into a root field's value, reading the objects that are in it.
    pub async fn told(&self, root: &Root, shape: &Shape, cell: &Cell) -> Result<Told, Error> {
        let mut loaded = Loaded::default();
        let mut wanted = Wanted::new(&self.schema.registry);
        wanted.node(shape, Node::Cell(cell));
        self.load(wanted, &mut loaded).await?;
        loaded.log_cursor = self.log_cursor.get().cloned();
        Ok(write(self.root_type, root, shape, Node::Cell(cell), &loaded))
    }

    /// As [`Self::told`], for many cells at one root field: what they leave open is read together.
    pub async fn told_each(&self, root: &Root, shape: &Shape, cells: &[Cell]) -> Result<Vec<Told>, Error> {
        let mut loaded = Loaded::default();
        let mut wanted = Wanted::new(&self.schema.registry);
        for cell in cells {
            wanted.node(shape, Node::Cell(cell));
        }
        self.load(wanted, &mut loaded).await?;
        loaded.log_cursor = self.log_cursor.get().cloned();
        Ok(cells
            .iter()
            .map(|cell| write(self.root_type, root, shape, Node::Cell(cell), &loaded))
            .collect())
    }

    /// The records of queries.
    fn memory(&self, means: &Meaning, arguments: &plan::coerce::Arguments) -> Result<Cell, Error> {
        use super::record::Record;
        let registry = &self.schema.registry;
        let klass = |klass: &Arc<Klass>| Cell::Record(Record::Klass(registry.clone(), klass.clone()));
        match means {
            Meaning::Klasses => Ok(Cell::List(registry.klasses.iter().map(klass).collect())),
            Meaning::KlassByName => {
                let name = arguments.given("name").and_then(Input::as_str).unwrap_or_default();
                Ok(registry.klass(name).map_or(Cell::NULL, klass))
            }
            Meaning::Viewer => Ok(Cell::Record(viewer(self.actor))),
            other => Err(Error::internal(format!("{other:?} is not a field of a query"))),
        }
    }

    async fn nodes(&self, root: &Root, nodes: &Nodes) -> Result<Told, Error> {
        let registry = &self.schema.registry;
        let object = |text: &str| -> Cell {
            ObjectId::parse(text)
                .and_then(|(prefix, id)| {
                    Some(Cell::Object(
                        registry.klass_by_prefix(prefix).filter(|klass| klass.enabled)?.clone(),
                        id,
                    ))
                })
                .unwrap_or(Cell::NULL)
        };
        // A plan outlives the variables with which it was made, so ids come from those of this run.
        let leaves = &self.variables.leaves;
        let cell = match &nodes.lookup {
            Lookup::One(input) => object(input.with_leaves(leaves).as_str().unwrap_or_default()),
            Lookup::Many(input) => {
                let ids = input.with_leaves(leaves).items();
                if ids.len() > self.limits.page as usize {
                    return Err(Error::bad(format!("at most {} ids can be asked for at once.", self.limits.page)));
                }
                Cell::List(ids.iter().map(|id| object(id.as_str().unwrap_or_default())).collect())
            }
            Lookup::Of(arguments) => self.object_of(&arguments.with_leaves(leaves)).await?,
        };
        self.told(root, &nodes.shape, &cell).await
    }

    /// `object(klass:, id:, externalId:)`
    async fn object_of(&self, arguments: &plan::coerce::Arguments) -> Result<Cell, Error> {
        let registry = &self.schema.registry;
        let name = arguments.given("klass").and_then(Input::as_str).unwrap_or_default();
        let klass = registry
            .klass(name)
            .filter(|klass| klass.enabled)
            .ok_or_else(|| Error::bad(format!("there is no klass \"{name}\".")))?;
        let text = |name: &str| arguments.given(name).and_then(Input::as_str);
        match (text("id"), text("externalId")) {
            (Some(id), None) => match ObjectId::parse(id) {
                Some((prefix, id)) if prefix == klass.id_prefix => Ok(Cell::Object(klass.clone(), id)),
                Some(_) => Err(Error::bad(format!(
                    "\"{id}\" is not the id of {name}: such ids begin with \"{}_\".",
                    klass.id_prefix
                ))),
                None => Err(Error::bad(format!("\"{id}\" is not an id."))),
            },
            (None, Some(key)) => {
                let (Some(external), Some(id)) = (klass.property("externalId"), klass.property("id")) else {
                    return Err(Error::internal("a klass without id and externalId"));
                };
                let read = Read::One {
                    klass: klass.clone(),
                    key: Key::Unique(
                        external.clone(),
                        klio_entities::klass::filter::Operand::Const(Value::String(key.to_owned())),
                    ),
                    deleted: false,
                    outputs: vec![Output::Value(id.clone())],
                };
                let statement = sql::compile(self.store.dialect(), registry, &read);
                let answer = self.answer(&statement, Vec::new()).await?;
                let found = answer.tape.element(0, 0).and_then(|at| super::leaf::uuid(answer.tape.raw(at)));
                Ok(found.map_or(Cell::NULL, |id| Cell::Object(klass.clone(), ObjectId(id))))
            }
            _ => Err(Error::bad("say which object by exactly one of id, externalId.")),
        }
    }

    /// The arguments of a statement in this run; `given` is what the executor itself gives.
    pub fn arguments(&self, fetch: &Fetch, given: Option<Value>) -> Result<Vec<Value>, Error> {
        let mut given = given;
        fetch
            .arguments
            .iter()
            .map(|source| match source {
                plan::argument::Source::Given => Ok(given.take().unwrap_or(Value::Null)),
                source => source.value(self.variables, self.now),
            })
            .collect()
    }

    /// What a root field may cost, in tenths of points.
    pub fn tenths(&self, root: &Root) -> u64 {
        match &root.work {
            Ok(Work::Fetch(fetch)) => {
                let number = |index: usize| match fetch.arguments.get(index).map(|source| source.value(self.variables, self.now)) {
                    Some(Ok(Value::Integer(number))) => u64::try_from(number).unwrap_or(0),
                    _ => u64::from(self.limits.page),
                };
                fetch.cost.tenths(&number)
            }
            Ok(Work::Record(record)) => record.cost.tenths(&|_| u64::from(self.limits.page)),
            Ok(Work::Nodes(nodes)) => {
                let many = match &nodes.lookup {
                    Lookup::Many(input) => input.with_leaves(&self.variables.leaves).items().len() as u64,
                    _ => 1,
                };
                cost::STATEMENT + many * (cost::ROW + nodes.fields * cost::VALUE)
            }
            _ => 0,
        }
    }

    /// Runs a statement.
    pub async fn read(&self, fetch: &Fetch, given: Option<Value>) -> Result<Arc<Answer>, Error> {
        let arguments = self.arguments(fetch, given)?;
        if fetch.log_cursor {
            self.position().await?;
        }
        let statement = fetch
            .statement
            .get_or_init(|| sql::compile(self.store.dialect(), &self.schema.registry, &fetch.read));
        self.answer(statement, arguments).await
    }

    async fn answer(&self, statement: &sql::Statement, arguments: Vec<Value>) -> Result<Arc<Answer>, Error> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let text: Bytes = self.store.read(self.actor.org, statement, &arguments).await.map_err(|error| {
            if matches!(error, StoreError::Database(_) | StoreError::Corrupt(_) | StoreError::Stale) {
                self.refused.store(true, Ordering::Relaxed);
            }
            store_error(error)
        })?;
        let tape = Tape::read(text).map_err(Error::internal)?;
        Ok(Arc::new(Answer { tape, arguments }))
    }

    /// Where the log stands, asked once for a request and before anything is read that tells it.
    async fn position(&self) -> Result<&String, Error> {
        self.log_cursor
            .get_or_try_init(|| async { super::position(self.store, self.actor.org).await })
            .await
    }

    /// Reads what answers left open, level by level: one statement for each place and klass.
    pub async fn load(&self, mut wanted: Wanted<'_>, loaded: &mut Loaded) -> Result<(), Error> {
        let ground = self.ground();
        while !wanted.is_empty() {
            let mut next = Wanted::new(&self.schema.registry);
            for (site, record) in wanted.records {
                let fields = site.record(&ground, record.type_name())?;
                next.fields(&fields, Node::Cell(&Cell::Record(record.clone())));
                loaded.records.insert((site.id, record.type_name().to_owned()), fields);
            }
            let objects = wanted.objects.into_values().map(|(site, klass, ids)| {
                let ids: Vec<Uuid> = ids.into_iter().filter(|id| !loaded.objects.contains_key(&(site.id, *id))).collect();
                let arm = site.arm(&ground, &klass);
                async move {
                    if ids.is_empty() {
                        return Ok(None);
                    }
                    let arm = arm?;
                    let ids = Value::List(ids.into_iter().map(|id| Value::Id(ObjectId(id))).collect());
                    let answer = self.read(&arm, Some(ids)).await?;
                    Ok::<_, Error>(Some((site, arm, answer)))
                }
            });
            let objects = try_join_all(objects.collect::<Vec<_>>()).await?;
            for (site, arm, answer) in objects.into_iter().flatten() {
                let Shape::Object(fields) = &arm.shape else { continue };
                for row in answer.tape.elements(0) {
                    let Some(id) = answer.tape.element(row, 0).and_then(|at| super::leaf::uuid(answer.tape.raw(at))) else {
                        continue;
                    };
                    if arm.deferred {
                        next.fields(fields, Node::Json(&answer, row));
                    }
                    let row = Row {
                        answer: answer.clone(),
                        node: row,
                        fields: fields.clone(),
                    };
                    loaded.objects.insert((site.id, id), row);
                }
            }
            wanted = next;
        }
        Ok(())
    }
}

fn write(on: &str, root: &Root, shape: &Shape, node: Node<'_>, loaded: &Loaded) -> Told {
    let mut writer = Writer::new(loaded);
    let done = writer.root(on, root, shape, node);
    Told {
        rows: writer.rows,
        json: match done {
            Ok(()) => Some(writer.out),
            Err(Rise) => None,
        },
        errors: writer.errors,
    }
}
