//! A root field of a mutation: from its arguments to drafts, from what became of them to its payload. What the caller did wrong is
//! data of the payload; only what befell the gateway is an error of the field.
//!
//! The payload is a record; the objects in it are read after the commit, by the plan of the payload's selection, so they are at
//! least as new as the write.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use klio_entities::klass::draft::{LinkChange, Object, Written};
use klio_entities::klass::fault::Code;
use klio_entities::klass::filter::Operand;
use klio_entities::klass::query::Key;
use klio_entities::klass::{Actor, Draft, End, Fault, Faults, Klass, ObjectId, Role, Value};
use klio_entities::store::write::{Idempotency, WriteOptions};
use klio_entities::store::{Store, StoreError};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::input::Inputs;
use super::record::{Cell, Record};
use super::run::{Run, Told, store_error};
use super::{Gateway, Request};
use crate::catalog::Catalog;
use crate::error::{Code as ErrorCode, Error};
use crate::plan::coerce::{Arguments, Input};
use crate::plan::{Plan, Root, Work};
use crate::types::model::{Field, Meaning, TypeRef, Types, Write};

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
        let arguments = record.arguments.with_leaves(&run.variables.leaves);
        let write = match &record.means {
            Meaning::Write(write) => write,
            Meaning::Beat => {
                let cell = self.beat(run, &arguments).await.map_err(failed)?;
                return run.told(root, &record.shape, &cell).await.map_err(failed);
            }
            _ => return Err(failed(Error::internal("a field of Mutation that writes nothing"))),
        };
        let mutation = Mutation {
            store: run.store,
            catalog: &self.catalog,
            actor: run.actor,
            types: &run.schema.types,
            field: &record.field,
            arguments,
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
    /// To which types made on the way are offered.
    pub catalog: &'a Catalog,
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

    pub(super) fn type_of(&self, argument: &str) -> TypeRef {
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

    pub(super) fn options(&self, atomic: bool) -> Result<WriteOptions, Fault> {
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

    pub(super) async fn store(&self, drafts: Vec<Draft>, options: WriteOptions) -> Result<Vec<Result<Written, Faults>>, Failure> {
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
    pub(super) fn payload(&self, klass: &Arc<Klass>, target: Option<ObjectId>, result: Result<Written, Faults>) -> Cell {
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

    pub(super) fn argument(&self, name: &str) -> &Input {
        self.arguments().get(name).unwrap_or(&Input::Null)
    }

    pub(super) fn object(&self, inputs: &mut Inputs<'_>, klass: &Arc<Klass>, argument: &str) -> Object {
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
}

pub(super) fn path(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| (*step).to_owned()).collect()
}

fn by_id(id: ObjectId) -> Key {
    Key::Id(Operand::Const(Value::Id(id)))
}

/// An upsert needs a key that says what the new object's is: an id is made by the gateway.
pub(super) fn upsert(inputs: &mut Inputs<'_>, key: Key, create: Object, update: Object, path: &[String]) -> Option<Draft> {
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
pub(super) fn target(draft: &Draft) -> Option<ObjectId> {
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

/// The store answered nothing for a draft, which it never should.
pub(super) fn nothing() -> Faults {
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
