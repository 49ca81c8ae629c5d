//! A root field of a mutation: from its arguments to drafts, from what became of them to its payload. What the caller did wrong is
//! data of the payload; only what befell the gateway is an error of the field.
//!
//! The payload is a record; the objects in it are read after the commit, by the plan of the payload's selection, so they are at
//! least as new as the write.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::Utc;
use klio_entities::klass::draft::{LinkChange, Object, Written};
use klio_entities::klass::fault::Code;
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::Key;
use klio_entities::klass::{Actor, Draft, End, Fault, Faults, Filter, Klass, ObjectId, Role, Value};
use klio_entities::store::write::{Idempotency, WriteOptions};
use klio_entities::store::{Store, StoreError};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::input::Inputs;
use super::record::{Cell, Record};
use super::run::{Run, Told, store_error};
use super::{Gateway, Request};
use crate::error::{Code as ErrorCode, Error};
use crate::plan::coerce::{Arguments, Input, Variables};
use crate::plan::compiler::Ground;
use crate::plan::{Plan, Root, Work, filter};
use crate::types::model::{Field, Meaning, TypeRef, Types, Write};

/// How many items a bulk mutation takes.
pub const MAX_ITEMS: usize = 1_000;

/// Why a mutation has no payload.
#[derive(Debug)]
pub enum Failure {
    /// A klass that it concerns has changed since the plan was made: plan again, with the present registry.
    Stale,
    /// Something befell the gateway.
    Error(Box<Error>),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stale => Failure::Stale,
            other => Failure::Error(Box::new(store_error(other))),
        }
    }
}

/// How often a mutation is planned anew because its klasses changed under it.
const TRIES: u32 = 3;

impl Gateway {
    /// Runs the root fields of a mutation, one after another. A field that must be null and may not be ends the operation.
    pub(super) async fn mutate(&self, run: &Run<'_>, plan: &Plan, request: &Request) -> Vec<Told> {
        let mut all = Vec::with_capacity(plan.roots.len());
        for index in 0..plan.roots.len() {
            let told = self.mutate_root(run, plan, index, request).await;
            let over = told.json.is_none();
            all.push(told);
            if over {
                break;
            }
        }
        all
    }

    async fn mutate_root(&self, run: &Run<'_>, plan: &Plan, index: usize, request: &Request) -> Told {
        let root = &plan.roots[index];
        match self.attempt(run, root).await {
            Ok(told) => return told,
            Err(Failure::Error(error)) => return Told::failed(root, *error),
            Err(Failure::Stale) => {}
        }
        for _ in 0..TRIES {
            self.catalog.changed(run.actor.org);
            let prepared = match self.prepare(run.actor, request).await {
                Ok(prepared) => prepared,
                Err(errors) => {
                    return Told {
                        json: None,
                        errors,
                        rows: 0,
                    };
                }
            };
            // The same document and variables make the same fields in the same order.
            let Some(root) = prepared.plan.roots.get(index) else { break };
            let again = Run::new(
                &self.store,
                &prepared.schema,
                run.actor,
                &prepared.variables,
                &self.limits,
                plan.kind,
            );
            let done = self.attempt(&again, root).await;
            run.statements
                .fetch_add(again.statements.load(Ordering::Relaxed), Ordering::Relaxed);
            match done {
                Ok(told) => return told,
                Err(Failure::Error(error)) => return Told::failed(root, *error),
                Err(Failure::Stale) => {}
            }
        }
        let error = Error::new(ErrorCode::Unavailable, "The klasses keep changing; nothing was written. Try again.");
        Told::failed(root, error)
    }

    async fn attempt(&self, run: &Run<'_>, root: &Root) -> Result<Told, Failure> {
        let failed = |error: Error| Failure::Error(Box::new(error));
        let record = match &root.work {
            Ok(Work::Record(record)) => record,
            Ok(Work::Known(json)) => {
                return Ok(Told {
                    json: Some(json.clone().into_bytes()),
                    errors: Vec::new(),
                    rows: 0,
                });
            }
            Err(error) => return Err(failed(error.clone())),
            Ok(_) => return Err(failed(Error::internal("a field of Mutation that is no record"))),
        };
        let Meaning::Write(write) = &record.means else {
            return Err(failed(Error::internal("a field of Mutation that writes nothing")));
        };
        let mutation = Mutation {
            store: run.store,
            actor: run.actor,
            types: &run.schema.types,
            field: &record.field,
            arguments: record.arguments.with_leaves(&run.variables.leaves),
        };
        let cell = mutation.run(write).await?;
        if matches!(
            write,
            Write::DefineKlass | Write::ChangeKlass | Write::DisableKlass | Write::EnableKlass
        ) {
            // The next request sees the new schema.
            self.catalog.changed(run.actor.org);
        }
        run.told(root, &record.shape, &cell).await.map_err(failed)
    }
}

/// Who writes what, where.
pub struct Mutation<'a> {
    /// The store.
    pub store: &'a Store,
    /// Who.
    pub actor: &'a Actor,
    /// The types by which the arguments were coerced.
    pub types: &'a Types,
    /// The root field's name in the schema.
    pub field: &'a str,
    /// Its arguments, of this run.
    pub arguments: Arguments,
}

impl Mutation<'_> {
    /// Does it, and answers the payload's record.
    pub async fn run(&self, write: &Write) -> Result<Cell, Failure> {
        match write {
            Write::Create(klass) | Write::Update(klass) | Write::Upsert(klass) | Write::Delete(klass) | Write::Restore(klass) => {
                self.one(klass, write).await
            }
            Write::Link(klass, _) | Write::Unlink(klass, _) => self.one(klass, write).await,
            Write::Destroy(klass) => self.destroy(klass).await,
            Write::CreateMany(klass) | Write::UpsertMany(klass) => self.bulk(klass, write).await,
            Write::UpdateMany(klass) | Write::DeleteMany(klass) => self.all(klass, write).await,
            Write::DefineKlass | Write::ChangeKlass | Write::DisableKlass | Write::EnableKlass => self.klass(write).await,
        }
    }

    pub(super) fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The root field in the schema.
    fn field(&self) -> Option<&Field> {
        self.types.object("Mutation")?.fields.get(self.field)
    }

    fn type_of(&self, argument: &str) -> TypeRef {
        let field = self.field().and_then(|f| f.arg(argument));
        field.map_or_else(|| TypeRef::named("JSON"), |a| a.ty.clone())
    }

    /// A fault when the role does not allow it.
    pub(super) fn forbidden(&self, allows: fn(Role) -> bool, what: &str) -> Option<Fault> {
        let role = self.actor.role;
        if allows(role) {
            return None;
        }
        // The roles are in order, so the first that may is the least that is needed.
        let needed = [Role::Reader, Role::Agent, Role::Admin, Role::Owner]
            .into_iter()
            .find(|r| allows(*r))
            .unwrap_or(Role::Owner);
        let (mine, needed) = (role_name(role), role_name(needed));
        Some(
            Fault::new(
                Code::Forbidden,
                Vec::<String>::new(),
                format!("Your role, {mine}, does not allow you to {what}."),
            )
            .remedy(format!("It takes the role {needed} or a higher one.")),
        )
    }

    fn options(&self, atomic: bool) -> Result<WriteOptions, Fault> {
        let idempotency = match self.arguments().given("idempotencyKey").and_then(|key| key.as_str()) {
            Some("") => return Err(Fault::bad(["idempotencyKey"], "The key is empty.").remedy("Give a text of your own, or leave it out.")),
            Some(key) if key.len() > 255 => return Err(Fault::bad(["idempotencyKey"], "The key is longer than 255 bytes.")),
            Some(key) => Some(Idempotency {
                key: key.to_owned(),
                input_hash: self.input_hash(),
            }),
            None => None,
        };
        Ok(WriteOptions {
            atomic,
            idempotency,
            ..WriteOptions::default()
        })
    }

    /// What tells one input from another under the same idempotency key: the mutation and its arguments, names in order.
    fn input_hash(&self) -> Vec<u8> {
        let mut arguments: Vec<(&str, Json)> = self
            .arguments()
            .0
            .iter()
            .filter(|(name, _)| *name != "idempotencyKey")
            .map(|(n, v)| (n.as_str(), sorted(v.to_json())))
            .collect();
        arguments.sort_by(|a, b| a.0.cmp(b.0));
        let mut hash = Sha256::new();
        hash.update(self.field.as_bytes());
        hash.update([0]);
        hash.update(json!(arguments).to_string().as_bytes());
        hash.finalize().to_vec()
    }

    async fn store(&self, drafts: Vec<Draft>, options: WriteOptions) -> Result<Vec<Result<Written, Faults>>, Failure> {
        match self.store.write(self.actor, &self.types.registry, drafts, options).await {
            // A fault of the request as a whole (its idempotency key) is the caller's as well.
            Err(StoreError::Faults(faults)) => Ok(vec![Err(faults)]),
            other => Ok(other?),
        }
    }

    // ---- one object

    async fn one(&self, klass: &Arc<Klass>, write: &Write) -> Result<Cell, Failure> {
        let drafted = match self.forbidden(Role::can_write, "write") {
            Some(fault) => Err(vec![fault]),
            None => self.draft(klass, write),
        };
        let (draft, options) = match drafted.and_then(|draft| Ok((draft, self.options(true).map_err(|f| vec![f])?))) {
            Ok(ready) => ready,
            Err(faults) => return Ok(self.payload(klass, None, Err(Faults(faults)))),
        };
        let target = target(&draft);
        let result = self.store(vec![draft], options).await?.pop().unwrap_or_else(|| Err(nothing()));
        Ok(self.payload(klass, target, result))
    }

    /// The record of one object's payload.
    fn payload(&self, klass: &Arc<Klass>, target: Option<ObjectId>, result: Result<Written, Faults>) -> Cell {
        let (object, outcome, cursor, faults) = match result {
            Ok(written) => {
                let object = written.ids.first().map_or(Cell::NULL, |id| Cell::Object(klass.clone(), *id));
                let outcome = Cell::Leaf(serde_json::to_value(written.outcome).unwrap_or(Json::Null));
                (object, outcome, Cell::optional(&written.cursor), Vec::new())
            }
            Err(faults) => (Cell::NULL, Cell::NULL, Cell::NULL, faults.0),
        };
        let fields = vec![
            ("object", object),
            ("outcome", outcome),
            ("cursor", cursor),
            ("errors", errors(faults, target.map(|id| (klass, id)))),
        ];
        Cell::Record(Record::Made("Payload".into(), fields))
    }

    /// The draft of a mutation of one object.
    fn draft(&self, klass: &Arc<Klass>, write: &Write) -> Result<Draft, Vec<Fault>> {
        let mut inputs = Inputs::new(self.types);
        let arguments = self.arguments();
        let version = arguments.given("version").and_then(|v| v.as_i64());
        let id = |inputs: &mut Inputs<'_>| {
            let text = arguments.given("id").and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            inputs.id(klass, &text, &path(&["id"]))
        };
        let draft = match write {
            Write::Create(_) => Some(Draft::Create(self.object(&mut inputs, klass, "input"))),
            Write::Update(_) => {
                let id = id(&mut inputs);
                let set = self.object(&mut inputs, klass, "set");
                id.map(|id| Draft::Update {
                    key: by_id(id),
                    version,
                    set,
                })
            }
            Write::Upsert(_) => {
                let key = inputs.key(klass, &self.type_of("key"), self.argument("key"), &path(&["key"]));
                let create = self.object(&mut inputs, klass, "create");
                let update = self.object(&mut inputs, klass, "update");
                key.and_then(|key| upsert(&mut inputs, key, create, update, &path(&["key"])))
            }
            Write::Delete(_) => id(&mut inputs).map(|id| Draft::Delete {
                klass: klass.clone(),
                id,
                version,
            }),
            Write::Restore(_) => id(&mut inputs).map(|id| Draft::Restore { klass: klass.clone(), id }),
            Write::Destroy(_) => id(&mut inputs).map(|id| Draft::Destroy { klass: klass.clone(), id }),
            Write::Link(_, end) | Write::Unlink(_, end) => {
                let verb = if matches!(write, Write::Link(..)) { "to" } else { "from" };
                let id = id(&mut inputs);
                let changes = self.link_changes(&mut inputs, end, verb);
                id.map(|id| {
                    let set = Object {
                        klass: klass.clone(),
                        values: Vec::new(),
                        links: vec![(end.clone(), changes)],
                        path: Vec::new(),
                    };
                    Draft::Update {
                        key: by_id(id),
                        version,
                        set,
                    }
                })
            }
            _ => None,
        };
        match draft {
            Some(draft) if inputs.faults.is_empty() => Ok(draft),
            _ if inputs.faults.is_empty() => Err(nothing().0),
            _ => Err(inputs.faults),
        }
    }

    fn argument(&self, name: &str) -> &Input {
        self.arguments().get(name).unwrap_or(&Input::Null)
    }

    fn object(&self, inputs: &mut Inputs<'_>, klass: &Arc<Klass>, argument: &str) -> Object {
        inputs.object(klass, &self.type_of(argument), self.argument(argument), &path(&[argument]))
    }

    /// `to` of a link mutation, `from` of an unlink.
    fn link_changes(&self, inputs: &mut Inputs<'_>, end: &Arc<End>, argument: &str) -> Vec<LinkChange> {
        let verb = if argument == "to" { "connect" } else { "disconnect" };
        let ty = self.type_of(argument);
        let TypeRef::List(item) = ty.nullable() else { return Vec::new() };
        let mut out = Vec::new();
        for (i, value) in self.argument(argument).items().iter().enumerate() {
            inputs.link(end, verb, item, value, &[argument.to_owned(), i.to_string()], &mut out);
        }
        out
    }

    async fn destroy(&self, klass: &Arc<Klass>) -> Result<Cell, Failure> {
        let drafted = match self.forbidden(Role::can_destroy, "destroy objects") {
            Some(fault) => Err(vec![fault]),
            None => self.draft(klass, &Write::Destroy(klass.clone())),
        };
        let result = match drafted.and_then(|draft| Ok((draft, self.options(true).map_err(|f| vec![f])?))) {
            Ok((draft, options)) => self.store(vec![draft], options).await?.pop().unwrap_or_else(|| Err(nothing())),
            Err(faults) => Err(Faults(faults)),
        };
        let (id, cursor, faults) = match result {
            Ok(written) => (
                written
                    .ids
                    .first()
                    .map_or(Cell::NULL, |id| Cell::text(id.to_text(&klass.id_prefix))),
                written.cursor,
                Vec::new(),
            ),
            Err(faults) => (Cell::NULL, None, faults.0),
        };
        let fields = vec![("id", id), ("cursor", Cell::optional(&cursor)), ("errors", errors(faults, None))];
        Ok(Cell::Record(Record::Made("DestroyPayload".into(), fields)))
    }

    // ---- many objects, a draft each

    async fn bulk(&self, klass: &Arc<Klass>, write: &Write) -> Result<Cell, Failure> {
        let items = self.argument("inputs").items();
        let atomic = self.arguments().given("atomic").and_then(|v| v.as_bool()).unwrap_or(false);
        let options = match (self.forbidden(Role::can_write, "write"), self.options(atomic)) {
            (Some(fault), _) | (None, Err(fault)) => return Ok(bulk_payload(Vec::new(), None, vec![fault])),
            (None, Ok(_)) if items.len() > MAX_ITEMS => {
                let fault = Fault::new(
                    Code::TooMany,
                    ["inputs"],
                    format!("{} items are given; one mutation takes at most {MAX_ITEMS}.", items.len()),
                );
                return Ok(bulk_payload(
                    Vec::new(),
                    None,
                    vec![fault.remedy("Give them in several mutations.")],
                ));
            }
            (None, Ok(options)) => options,
        };
        let drafted: Vec<Result<Draft, Faults>> = items.iter().enumerate().map(|(i, item)| self.item(klass, write, i, item)).collect();
        let refused = drafted.iter().any(Result::is_err);
        if drafted.is_empty() {
            return Ok(bulk_payload(Vec::new(), None, Vec::new()));
        }
        if atomic && refused {
            // None is written. Those without fault say so by having neither an object nor an error.
            let results = drafted.into_iter().map(|d| self.item_payload(klass, None, d.err())).collect();
            return Ok(bulk_payload(results, None, vec![undone()]));
        }
        let mut targets = Vec::with_capacity(drafted.len());
        let mut wishes = Vec::with_capacity(drafted.len());
        let mut faulty = Vec::new();
        for item in drafted {
            match item {
                Ok(draft) => {
                    targets.push(Ok(target(&draft)));
                    wishes.push(draft);
                }
                Err(faults) => {
                    targets.push(Err(()));
                    faulty.push(faults);
                }
            }
        }
        let expected = wishes.len();
        let results = if wishes.is_empty() {
            Vec::new()
        } else {
            self.store(wishes, options).await?
        };
        if results.len() != expected {
            // The request was refused as a whole (its idempotency key).
            let faults = results.into_iter().filter_map(Result::err).flat_map(|f| f.0).collect();
            return Ok(bulk_payload(Vec::new(), None, faults));
        }
        let failed = results.iter().any(Result::is_err);
        let cursor = results.iter().rev().find_map(|r| r.as_ref().ok()?.cursor.clone());
        let (mut results, mut faulty) = (results.into_iter(), faulty.into_iter());
        let cells = targets
            .into_iter()
            .map(|target| match target {
                Ok(target) => match results.next() {
                    Some(Err(faults)) => self.item_payload(klass, target, Some(faults)),
                    Some(Ok(written)) => self.payload(klass, target, Ok(written)),
                    None => self.item_payload(klass, target, None),
                },
                Err(()) => self.item_payload(klass, None, faulty.next()),
            })
            .collect();
        let errors = if atomic && failed { vec![undone()] } else { Vec::new() };
        Ok(bulk_payload(cells, cursor, errors))
    }

    /// A result of an item of which nothing was written.
    fn item_payload(&self, klass: &Arc<Klass>, target: Option<ObjectId>, faults: Option<Faults>) -> Cell {
        self.payload(klass, target, Err(faults.unwrap_or(Faults(Vec::new()))))
    }

    fn item(&self, klass: &Arc<Klass>, write: &Write, index: usize, item: &Input) -> Result<Draft, Faults> {
        let mut inputs = Inputs::new(self.types);
        let ty = self.type_of("inputs");
        let item_type = match ty.nullable() {
            TypeRef::List(item) => (**item).clone(),
            other => other.clone(),
        };
        let path = path(&["inputs", &index.to_string()]);
        let draft = match write {
            Write::CreateMany(_) => Some(Draft::Create(inputs.object(klass, &item_type, item, &path))),
            _ => {
                let at = |name: &str| [path.clone(), vec![name.to_owned()]].concat();
                let field = |name: &str| {
                    self.types
                        .input(item_type.name())
                        .and_then(|i| i.fields.get(name))
                        .map(|a| a.ty.clone())
                };
                let part = |inputs: &mut Inputs<'_>, name: &str| match (field(name), item.get(name)) {
                    (Some(ty), Some(value)) => inputs.object(klass, &ty, value, &at(name)),
                    _ => Object {
                        klass: klass.clone(),
                        values: Vec::new(),
                        links: Vec::new(),
                        path: at(name),
                    },
                };
                let key = match (field("key"), item.get("key")) {
                    (Some(ty), Some(value)) => inputs.key(klass, &ty, value, &at("key")),
                    _ => None,
                };
                let create = part(&mut inputs, "create");
                let update = part(&mut inputs, "update");
                key.and_then(|key| upsert(&mut inputs, key, create, update, &at("key")))
            }
        };
        match draft {
            Some(draft) if inputs.faults.is_empty() => Ok(draft),
            _ if inputs.faults.is_empty() => Err(nothing()),
            _ => Err(Faults(inputs.faults)),
        }
    }

    // ---- all that match

    async fn all(&self, klass: &Arc<Klass>, write: &Write) -> Result<Cell, Failure> {
        let drafted = match self.forbidden(Role::can_write, "write") {
            Some(fault) => Err(vec![fault]),
            None => self.draft_all(klass, write),
        };
        let result = match drafted.and_then(|draft| Ok((draft, self.options(true).map_err(|f| vec![f])?))) {
            Ok((draft, options)) => self.store(vec![draft], options).await?.pop().unwrap_or_else(|| Err(nothing())),
            Err(faults) => Err(Faults(faults)),
        };
        let (ids, cursor, faults) = match result {
            Ok(written) => (written.ids, written.cursor, Vec::new()),
            Err(faults) => (Vec::new(), None, faults.0),
        };
        let fields = vec![
            ("count", Cell::Leaf(json!(ids.len()))),
            (
                "ids",
                Cell::List(ids.iter().map(|id| Cell::text(id.to_text(&klass.id_prefix))).collect()),
            ),
            (
                "objects",
                Cell::List(ids.iter().map(|id| Cell::Object(klass.clone(), *id)).collect()),
            ),
            ("cursor", Cell::optional(&cursor)),
            ("errors", errors(faults, None)),
        ];
        Ok(Cell::Record(Record::Made("ManyPayload".into(), fields)))
    }

    fn draft_all(&self, klass: &Arc<Klass>, write: &Write) -> Result<Draft, Vec<Fault>> {
        let mut inputs = Inputs::new(self.types);
        let filter = self.filter(klass);
        let at_most = self.arguments().given("atMost").and_then(|v| v.as_i64()).unwrap_or(1);
        let at_most = match u32::try_from(at_most) {
            Ok(most) if most as usize <= MAX_ITEMS => most,
            _ => {
                let message = format!("`atMost` is {at_most}; it may be from 0 to {MAX_ITEMS}.");
                inputs
                    .faults
                    .push(Fault::bad(["atMost"], message).remedy("Change more than that in several mutations."));
                0
            }
        };
        let draft = match write {
            Write::UpdateMany(_) => {
                let set = self.object(&mut inputs, klass, "set");
                filter.map(|filter| Draft::UpdateAll {
                    klass: klass.clone(),
                    filter,
                    set,
                    at_most,
                })
            }
            _ => filter.map(|filter| Draft::DeleteAll {
                klass: klass.clone(),
                filter,
                at_most,
            }),
        };
        match draft {
            Ok(draft) if inputs.faults.is_empty() => Ok(draft),
            Ok(_) => Err(inputs.faults),
            Err(fault) => {
                inputs.faults.insert(0, fault);
                Err(inputs.faults)
            }
        }
    }

    fn filter(&self, klass: &Arc<Klass>) -> Result<Filter, Fault> {
        let variables = Variables::default();
        let ground = Ground {
            types: self.types,
            variables: &variables,
            sees_sensitive: self.actor.role.sees_sensitive(),
            scaled: self.store.dialect().scaled(),
            page_most: 0,
            page_default: 0,
            now: Utc::now(),
        };
        let ty = self.type_of("filter");
        let filter =
            filter::constant(&ground, klass, ty.name(), self.argument("filter")).map_err(|error| Fault::bad(["filter"], error.message))?;
        if truth(&filter) == Some(true) {
            return Err(Fault::bad(["filter"], "The filter is empty: every object matches it.")
                .remedy("Say which objects are meant. To mean all of them, say so: {id: {isNull: false}}."));
        }
        Ok(filter)
    }
}

/// What a filter is worth whatever the object: `{}` is true, `{or: []}` is false.
fn truth(filter: &Filter) -> Option<bool> {
    match filter {
        Filter::And(all) => {
            let mut known = true;
            for it in all {
                match truth(it) {
                    Some(false) => return Some(false),
                    Some(true) => {}
                    None => known = false,
                }
            }
            known.then_some(true)
        }
        Filter::Or(any) => {
            let mut known = true;
            for it in any {
                match truth(it) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => known = false,
                }
            }
            known.then_some(false)
        }
        Filter::Not(it) => truth(it).map(|it| !it),
        Filter::Compare { .. } | Filter::Related { .. } | Filter::Count { .. } => None,
    }
}

fn path(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| (*step).to_owned()).collect()
}

fn by_id(id: ObjectId) -> Key {
    Key::Id(Operand::Const(Value::Id(id)))
}

/// An upsert needs a key that says what the new object's is: an id is made by the gateway.
fn upsert(inputs: &mut Inputs<'_>, key: Key, create: Object, update: Object, path: &[String]) -> Option<Draft> {
    if matches!(key, Key::Id(_)) {
        inputs.faults.push(
            Fault::bad(path.to_vec(), "An upsert cannot go by `id`: a new object gets an id of its own.")
                .remedy("Give `externalId` or another unique property; to change an object by its id, use the update mutation."),
        );
        return None;
    }
    Some(Draft::Upsert { key, create, update })
}

/// The id of the object that a draft is about, if it says it.
fn target(draft: &Draft) -> Option<ObjectId> {
    match draft {
        Draft::Update {
            key: Key::Id(Operand::Const(Value::Id(id))),
            ..
        } => Some(*id),
        Draft::Delete { id, .. } | Draft::Restore { id, .. } | Draft::Destroy { id, .. } => Some(*id),
        _ => None,
    }
}

/// Faults as records; with a conflict, the object as it is now.
pub(super) fn errors(faults: Vec<Fault>, target: Option<(&Arc<Klass>, ObjectId)>) -> Cell {
    let present = |fault: &Fault| {
        target
            .filter(|_| fault.code == Code::Conflict)
            .map(|(klass, id)| (klass.clone(), id))
    };
    Cell::List(
        faults
            .into_iter()
            .map(|fault| {
                let present = present(&fault);
                Cell::Record(Record::Fault(fault, present))
            })
            .collect(),
    )
}

fn bulk_payload(results: Vec<Cell>, cursor: Option<String>, faults: Vec<Fault>) -> Cell {
    let fields = vec![
        ("results", Cell::List(results)),
        ("cursor", Cell::optional(&cursor)),
        ("errors", errors(faults, None)),
    ];
    Cell::Record(Record::Made("BulkPayload".into(), fields))
}

fn undone() -> Fault {
    Fault::bad(["inputs"], "Nothing was written: an item is at fault, and `atomic` is set.").remedy("See the errors of the results.")
}

/// The store answered nothing for a draft, which it never should.
fn nothing() -> Faults {
    Fault::bad(Vec::<String>::new(), "Nothing was written.").into()
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Agent => "agent",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

/// JSON with the names of its objects in order, so that equal inputs have equal texts.
fn sorted(json: Json) -> Json {
    match json {
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(fields.into_iter().collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
