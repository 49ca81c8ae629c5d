//! From a request to a response: limits, parse, validate, plan (each kept once done), coerce, charge, run, write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_graphql_parser::types::{DocumentOperations, OperationDefinition, OperationType};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use klio_entities::klass::Actor;
use klio_entities::store::Store;
use klio_subscriptions::bus::{Bus, InProcess};
use klio_subscriptions::live::Lives;
use sha2::{Digest, Sha256};

use super::bucket::Buckets;
use super::run::{Run, Told};
use super::subscribe::share::Shares;
use super::{Allow, Answer, Request, Stats};
use crate::catalog::{Catalog, CatalogError, OrgSchema, PlanKey};
use crate::error::{Code, Error, write_errors, write_string};
use crate::limits::{self, Limits};
use crate::parse::parse;
use crate::plan::coerce::{Variables, coerce_variables};
use crate::plan::{Document, Plan, Root, Work, cost, root};
use crate::validate::validate;

/// The gateway: answers requests of every org. Clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {
    /// The store.
    pub store: Store,
    /// Orgs' schemas.
    pub catalog: Arc<Catalog>,
    /// The limits.
    pub limits: Limits,
    /// The log as it grows.
    pub live: Lives,
    /// Subscriptions under way.
    pub shares: Arc<Shares>,
    buckets: Arc<Buckets>,
    plans_kept: Arc<AtomicU64>,
    plans_made: Arc<AtomicU64>,
}

/// A request that may run.
pub struct Prepared {
    /// The org's schema.
    pub schema: Arc<OrgSchema>,
    /// The document.
    pub document: Arc<Document>,
    /// The operation's plan.
    pub plan: Arc<Plan>,
    /// The variables.
    pub variables: Variables,
}

/// Variants of a plan that differ in what it relies on beside the shape of the variables.
struct Variants(Vec<Arc<Plan>>);

/// How many variants of a plan are kept.
const VARIANTS: usize = 8;
/// Longer documents are read anew each time: what is kept is bounded in number, so each must be bounded in size.
const KEPT_TEXT: usize = 8 * 1024;

impl Gateway {
    /// A gateway over a store, on one node.
    pub fn new(store: Store, catalog: Arc<Catalog>, limits: Limits) -> Self {
        let bus = Arc::new(InProcess::new(store.clone()));
        Self::with_bus(store, catalog, limits, bus)
    }

    /// A gateway over a store, one of several nodes that tell each other news by a bus.
    pub fn with_bus(store: Store, catalog: Arc<Catalog>, limits: Limits, bus: Arc<dyn Bus>) -> Self {
        let live = Lives::with_bus(store.clone(), bus);
        let buckets = Arc::new(Buckets::new(limits.bucket, limits.refill));
        Self {
            store,
            catalog,
            limits,
            live,
            shares: Arc::default(),
            buckets,
            plans_kept: Arc::default(),
            plans_made: Arc::default(),
        }
    }

    /// How often a plan was there already, and how often one had to be made.
    pub fn plans(&self) -> (u64, u64) {
        (self.plans_kept.load(Ordering::Relaxed), self.plans_made.load(Ordering::Relaxed))
    }

    /// Answers a query or a mutation.
    pub fn execute<'a>(&'a self, actor: &'a Actor, request: Request, allow: Allow) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let mut stats = Stats {
                operation: request.operation.clone(),
                ..Stats::default()
            };
            let prepared = match self.prepare(actor, &request).await {
                Ok(prepared) => prepared,
                Err(errors) => return refused(errors, stats),
            };
            stats.operation.clone_from(&prepared.plan.name);
            stats.kind = Some(kind_name(prepared.plan.kind));
            match prepared.plan.kind {
                OperationType::Subscription => {
                    let error = Error::new(
                        Code::OperationNotAllowed,
                        "Subscriptions are answered over WebSocket and as event streams, not by a single response.",
                    );
                    return refused(vec![error], stats);
                }
                OperationType::Mutation if !allow.mutations => {
                    return refused(
                        vec![Error::new(
                            Code::OperationNotAllowed,
                            "Mutations are not allowed here; send a POST.",
                        )],
                        stats,
                    );
                }
                _ => {}
            }
            if let Some(answer) = self.introspection_alone(&request, &prepared, &mut stats).await {
                return answer;
            }
            let (kind, version) = (prepared.plan.kind, prepared.schema.registry.version);
            let (answer, refused) = self.run(actor, &request, prepared, stats).await;
            if refused && kind == OperationType::Query {
                // The database refused a statement: another node may have changed the klasses since this one looked.
                self.catalog.changed(actor.org);
                if let Ok(again) = self.prepare(actor, &request).await
                    && again.schema.registry.version != version
                {
                    let stats = Stats {
                        codes: Vec::new(),
                        ..answer.stats
                    };
                    return self.run(actor, &request, again, stats).await.0;
                }
            }
            answer
        })
    }

    /// What sort of operation a request asks for, so that a way in can tell a subscription before it is run.
    pub fn operation_kind<'a>(&'a self, actor: &'a Actor, request: &'a Request) -> BoxFuture<'a, Result<OperationType, Answer>> {
        Box::pin(async move {
            let refuse = |errors| refused(errors, Stats::default());
            let text = plan_key(&[b"document", request.query.as_bytes()]);
            let schema = self.schema(actor).await.map_err(|error| refuse(vec![error]))?;
            let document = match self.document(&schema, &request.query, text) {
                Ok(document) => document,
                Err(errors) => match self.newer(actor, &schema, &errors).await {
                    Some(newer) => self.document(&newer, &request.query, text).map_err(refuse)?,
                    None => return Err(refuse(errors)),
                },
            };
            let (_, operation) = select(&document, request.operation.as_deref()).map_err(|error| refuse(vec![error]))?;
            Ok(operation.ty)
        })
    }

    /// The org's schema.
    pub fn schema<'a>(&'a self, actor: &'a Actor) -> BoxFuture<'a, Result<Arc<OrgSchema>, Error>> {
        Box::pin(async move {
            self.catalog.schema(actor.org).await.map_err(|error| match error {
                CatalogError::Store(error) => {
                    tracing::error!(%error, "the klasses could not be read");
                    Error::new(Code::Unavailable, "The database does not answer; try again.")
                }
                other => Error::internal(other),
            })
        })
    }

    /// Everything before the run: what is wrong here is a request error.
    pub fn prepare<'a>(&'a self, actor: &'a Actor, request: &'a Request) -> BoxFuture<'a, Result<Prepared, Vec<Error>>> {
        Box::pin(async move {
            limits::check_variables(&request.variables, &self.limits).map_err(|error| vec![error])?;
            let schema = self.schema(actor).await.map_err(|error| vec![error])?;
            match self.prepare_by(schema.clone(), actor, request) {
                Err(errors) => match self.newer(actor, &schema, &errors).await {
                    Some(newer) => self.prepare_by(newer, actor, request),
                    None => Err(errors),
                },
                prepared => prepared,
            }
        })
    }

    /// The same, by a certain schema.
    fn prepare_by(&self, schema: Arc<OrgSchema>, actor: &Actor, request: &Request) -> Result<Prepared, Vec<Error>> {
        let text = plan_key(&[b"document", request.query.as_bytes()]);
        let document = self.document(&schema, &request.query, text)?;
        let (name, operation) = select(&document, request.operation.as_deref()).map_err(|error| vec![error])?;
        let variables = coerce_variables(&schema.types, operation, &request.variables)?;

        let sees_sensitive = actor.role.sees_sensitive();
        let key = plan_key(&[
            b"plan",
            &text,
            name.unwrap_or_default().as_bytes(),
            &[sees_sensitive.into()],
            variables.shape.as_bytes(),
        ]);
        let known = schema.plans.get(&key).and_then(|it| it.downcast::<Variants>().ok());
        if let Some(plan) = known
            .as_ref()
            .and_then(|it| it.0.iter().find(|plan| plan.guards.iter().all(|guard| guard.holds(&variables))))
        {
            let plan = plan.clone();
            self.plans_kept.fetch_add(1, Ordering::Relaxed);
            return Ok(Prepared {
                schema,
                document,
                plan,
                variables,
            });
        }
        self.plans_made.fetch_add(1, Ordering::Relaxed);
        let plan = {
            let run = Run::new(&self.store, &schema, actor, &variables, &self.limits, operation.ty);
            root::compile(&run.ground(), &document, name, operation).map_err(|error| vec![error])?
        };
        let plan = Arc::new(plan);
        // What is wrong with an argument may be a leaf of the variables, so such a plan is good for this request alone.
        if request.query.len() <= KEPT_TEXT && plan.roots.iter().all(|root| root.work.is_ok()) {
            let mut variants = known.map(|it| it.0.clone()).unwrap_or_default();
            if variants.len() >= VARIANTS {
                variants.remove(0);
            }
            variants.push(plan.clone());
            schema.plans.insert(key, Arc::new(Variants(variants)));
        }
        Ok(Prepared {
            schema,
            document,
            plan,
            variables,
        })
    }

    /// The org's schema if it is another one than this, for a request that was refused for what it says: it may be meant for klasses
    /// that another node (or the command line) changed a moment ago. So what was defined anywhere is there with the next request
    /// everywhere.
    async fn newer(&self, actor: &Actor, schema: &OrgSchema, errors: &[Error]) -> Option<Arc<OrgSchema>> {
        let of_klasses = |error: &Error| matches!(error.code, Code::ValidationFailed | Code::BadInput);
        if !errors.iter().all(of_klasses) {
            return None;
        }
        self.catalog.changed(actor.org);
        let newer = self.schema(actor).await.ok()?;
        (newer.registry.version != schema.registry.version).then_some(newer)
    }

    /// A document, checked against the limits and the schema; kept with the schema.
    fn document(&self, schema: &OrgSchema, text: &str, key: PlanKey) -> Result<Arc<Document>, Vec<Error>> {
        if let Some(document) = schema.plans.get(&key).and_then(|it| it.downcast::<Document>().ok()) {
            return Ok(document);
        }
        let ast = parse(text, &self.limits).map_err(|error| vec![error])?;
        limits::check_document(&ast, &self.limits).map_err(|error| vec![error])?;
        validate(&schema.types, &ast)?;
        let document = Arc::new(Document { ast });
        if text.len() <= KEPT_TEXT {
            schema.plans.insert(key, document.clone());
        }
        Ok(document)
    }

    /// An operation that asks for nothing but the schema itself: answered by async-graphql, and kept as bytes.
    async fn introspection_alone(&self, request: &Request, prepared: &Prepared, stats: &mut Stats) -> Option<Answer> {
        let roots = &prepared.plan.roots;
        let asks = |root: &Root| matches!(root.work, Ok(Work::Introspect(_)));
        let alone = roots.iter().any(asks) && roots.iter().all(|root| asks(root) || matches!(root.work, Ok(Work::Known(_))));
        if !alone {
            return None;
        }
        let variables = async_graphql::Variables::from_json(serde_json::Value::Object(request.variables.clone()));
        let document = prepared.document.ast.clone();
        let body = prepared
            .schema
            .introspect(&request.query, document, variables, request.operation.as_deref())
            .await;
        stats.cost = 1;
        Some(Answer {
            body,
            executed: true,
            stats: std::mem::take(stats),
        })
    }

    /// Runs what is prepared; tells too whether the database refused a statement.
    async fn run(&self, actor: &Actor, request: &Request, prepared: Prepared, mut stats: Stats) -> (Answer, bool) {
        let run = Run::new(
            &self.store,
            &prepared.schema,
            actor,
            &prepared.variables,
            &self.limits,
            prepared.plan.kind,
        );
        let plan = &prepared.plan;
        let requested = match self.charge(&run, plan, actor) {
            Ok(requested) => requested,
            Err(error) => return (refused(vec![error], stats), false),
        };
        let told = match plan.kind {
            OperationType::Mutation => self.mutate(&run, plan, request).await,
            _ => run.query(plan).await,
        };
        stats.statements = run.statements.load(Ordering::Relaxed);
        stats.rows = told.iter().map(|told| told.rows).sum();
        let actual = cost::points(cost::STATEMENT * stats.statements as u64 + cost::ROW * stats.rows as u64).min(requested);
        let remaining = self.buckets.give_back(actor, requested - actual);
        stats.cost = actual;

        let mut body = Vec::with_capacity(told.iter().map(|told| told.json.as_ref().map_or(8, Vec::len) + 32).sum::<usize>() + 128);
        body.extend_from_slice(b"{\"data\":");
        write_data(&mut body, plan, &told);
        let errors: Vec<Error> = told.into_iter().flat_map(|told| told.errors).collect();
        if !errors.is_empty() {
            stats.codes = codes(&errors);
            body.extend_from_slice(b",\"errors\":");
            write_errors(&mut body, &errors);
        }
        body.extend_from_slice(
            format!(",\"extensions\":{{\"cost\":{{\"requested\":{requested},\"actual\":{actual},\"remaining\":{remaining}}}}}}}")
                .as_bytes(),
        );
        let answer = Answer {
            body: body.into(),
            executed: true,
            stats,
        };
        (answer, run.refused.load(Ordering::Relaxed))
    }

    /// Takes what the operation may cost out of the actor's bucket.
    pub(super) fn charge(&self, run: &Run<'_>, plan: &Plan, actor: &Actor) -> Result<u64, Error> {
        let requested = cost::points(plan.roots.iter().fold(0, |sum, root| sum.saturating_add(run.tenths(root))));
        if requested > self.limits.cost {
            return Err(Error::new(
                Code::TooCostly,
                format!(
                    "The operation may cost {requested} points; at most {} are allowed (setting limits.cost). Ask for smaller pages, or filter by what is indexed.",
                    self.limits.cost
                ),
            )
            .with("cost", requested)
            .with("allowed", self.limits.cost));
        }
        self.buckets.take(actor, requested).map_err(|empty| {
            Error::new(
                Code::RateLimited,
                format!(
                    "The operation may cost {requested} points and {} are left; try again later.",
                    empty.remaining
                ),
            )
            .with("cost", requested)
            .with("remaining", empty.remaining)
            .with("retryAfter", (empty.retry_after * 1000.0).ceil() / 1000.0)
        })?;
        Ok(requested)
    }
}

/// `data`: null if a root field must be null and may not.
pub fn write_data(out: &mut Vec<u8>, plan: &Plan, told: &[Told]) {
    if told.iter().any(|told| told.json.is_none()) {
        out.extend_from_slice(b"null");
        return;
    }
    out.push(b'{');
    for (index, (root, told)) in plan.roots.iter().zip(told).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, &root.key);
        out.push(b':');
        out.extend_from_slice(told.json.as_deref().unwrap_or(b"null"));
    }
    out.push(b'}');
}

/// The operation that is meant.
pub fn select<'a>(document: &'a Document, name: Option<&str>) -> Result<(Option<&'a str>, &'a OperationDefinition), Error> {
    let unknown = |name: &str| Error::new(Code::UnknownOperation, format!("Unknown operation named \"{name}\"."));
    match (&document.ast.operations, name.filter(|name| !name.is_empty())) {
        (DocumentOperations::Single(operation), None) => Ok((None, &operation.node)),
        (DocumentOperations::Single(_), Some(name)) => Err(unknown(name)),
        (DocumentOperations::Multiple(operations), Some(name)) => operations
            .get_key_value(name)
            .map(|(name, operation)| (Some(name.as_str()), &operation.node))
            .ok_or_else(|| unknown(name)),
        (DocumentOperations::Multiple(operations), None) => match operations.iter().next() {
            Some((name, operation)) if operations.len() == 1 => Ok((Some(name.as_str()), &operation.node)),
            _ => Err(Error::new(
                Code::UnknownOperation,
                "Must provide operation name if query contains multiple operations.",
            )),
        },
    }
}

/// A response without data: the request did not run.
pub fn refused(errors: Vec<Error>, mut stats: Stats) -> Answer {
    let mut body = b"{\"errors\":".to_vec();
    write_errors(&mut body, &errors);
    body.push(b'}');
    stats.codes = codes(&errors);
    Answer {
        body: Bytes::from(body),
        executed: false,
        stats,
    }
}

fn codes(errors: &[Error]) -> Vec<&'static str> {
    errors
        .iter()
        .map(|error| error.code.as_str())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn kind_name(kind: OperationType) -> &'static str {
    match kind {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
    }
}

fn plan_key(parts: &[&[u8]]) -> PlanKey {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
