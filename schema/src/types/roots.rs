//! The root fields of a klass, and the payloads that its mutations and subscriptions answer with.

use std::sync::Arc;

use async_graphql_value::ConstValue;
use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{End, Klass};

use super::input::{key_args, link_name, upsert_fields};
use super::model::{Argument, Field, InputMeaning, Meaning, ObjectType, Write};
use super::object::list_args;
use super::{Builder, Root, has_link_properties, input, list_req, names, object, req, t};

/// A mutation: verb, object, type, arguments, meaning, what it does.
type Row<'a> = (&'static str, &'a String, String, Vec<Argument>, Write, String);

impl Builder<'_> {
    /// `order(…)`, `orders(…)`.
    pub(super) fn query_fields(&mut self, klass: &Arc<Klass>) {
        let names = &klass.legal;
        let mut args = key_args(klass);
        args.push(super::base::with_deleted());
        let one = Field::new(
            &names.field,
            t(&names.type_name),
            Meaning::ByKey(Arc::clone(klass)),
            format!("The object of klass `{}` with exactly one of these keys.", klass.name),
        );
        self.add_root(Root::Query, one.args(args));
        let many = Field::new(
            &names.plural,
            req(names::of_klass(klass, "Connection")),
            Meaning::Connection(Arc::clone(klass)),
            format!("The {} that match, page by page.", klass.plural),
        );
        self.add_root(Root::Query, many.args(list_args(klass, names::of_klass(klass, "Order"))));
    }

    /// `OrderPayload` and its kin, `OrderChange`.
    pub(super) fn payloads(&mut self, klass: &Arc<Klass>) {
        let field = &klass.legal.field;
        let ty = &klass.legal.type_name;
        let the_object = |text: &'static str| Field::new(field, t(ty), Meaning::Record("object"), text);

        let mut one = object(names::of_klass(klass, "Payload"), "What became of a mutation.");
        self.put(&mut one, the_object("The object as it is now; null when nothing was written."));
        self.put_all(&mut one, outcome_fields());
        self.add_object(one);

        let upsert_name = names::of_klass(klass, "UpsertPayload");
        let mut upsert = object(&upsert_name, "What became of an upsert, or of an item of a bulk mutation.");
        self.put(&mut upsert, the_object("The object as it is now; null when nothing was written."));
        let outcome = Field::new(
            "outcome",
            t("UpsertOutcome"),
            Meaning::Record("outcome"),
            "What was done; null when nothing was, because of errors.",
        );
        self.put(&mut upsert, outcome);
        self.put_all(&mut upsert, outcome_fields());
        self.add_object(upsert);

        let mut bulk = object(names::of_klass(klass, "BulkPayload"), "What became of a bulk mutation.");
        let results = Field::new(
            "results",
            list_req(upsert_name),
            Meaning::Record("results"),
            "A result for each item, in order.",
        );
        bulk.fields.insert("results".into(), results);
        self.put_all(&mut bulk, outcome_fields());
        self.add_object(bulk);

        let mut many = object(
            names::of_klass(klass, "ManyPayload"),
            "What became of a mutation of all that match.",
        );
        for it in [
            Field::new("count", req("Int"), Meaning::Record("count"), "How many were written."),
            Field::new("ids", list_req("ID"), Meaning::Record("ids"), "Their ids."),
        ] {
            many.fields.insert(it.name.clone(), it);
        }
        let objects = Field::new(
            &klass.legal.plural,
            list_req(ty),
            Meaning::Record("objects"),
            "The objects as they are now.",
        );
        self.put(&mut many, objects);
        self.put_all(&mut many, outcome_fields());
        self.add_object(many);

        let mut change = object(
            names::of_klass(klass, "Change"),
            format!("A message of `{}`.", names::changed(klass)),
        );
        self.put(
            &mut change,
            the_object("The object as it is now; null when it is REMOVED and in CAUGHT_UP and RESYNC."),
        );
        self.put_all(&mut change, change_fields());
        self.add_object(change);
    }

    fn put_all(&mut self, into: &mut ObjectType, fields: Vec<Field>) {
        for field in fields {
            self.put(into, field);
        }
    }

    pub(super) fn mutation_fields(&mut self, klass: &Arc<Klass>) {
        let (one, many, ty) = (&klass.legal.field, &klass.legal.plural, &klass.legal.type_name);
        let (name, plural) = (&klass.name, &klass.plural);
        let create = format!("Create{ty}Input");
        let update = format!("Update{ty}Input");
        let upsert = format!("Upsert{ty}Input");
        let key = names::of_klass(klass, "Key");
        let payload = names::of_klass(klass, "Payload");
        let upserted = names::of_klass(klass, "UpsertPayload");
        let bulk = names::of_klass(klass, "BulkPayload");
        let all = names::of_klass(klass, "ManyPayload");
        let filter = names::of_klass(klass, "Filter");
        let id = || Argument::plain("id", req("ID"), "Which.");
        let atomic = || Argument::plain("atomic", req("Boolean"), "All or none: one fault undoes all.").or(ConstValue::Boolean(false));
        let at_most = || Argument::plain("atMost", req("Int"), "Refused with TOO_MANY when more match.").or(ConstValue::Number(1.into()));
        let matching = || Argument::plain("filter", req(&filter), "Which: it must not be empty.");

        let mut rows: Vec<Row<'_>> = vec![
            (
                "create",
                one,
                payload.clone(),
                vec![Argument::plain("input", req(&create), "The object."), once()],
                Write::Create(Arc::clone(klass)),
                format!("Makes an object of klass `{name}`."),
            ),
            (
                "update",
                one,
                payload.clone(),
                vec![
                    id(),
                    Argument::plain("set", req(&update), "What changes: what is absent stays, null clears."),
                    version(),
                    once(),
                ],
                Write::Update(Arc::clone(klass)),
                format!("Changes an object of klass `{name}`."),
            ),
            (
                "upsert",
                one,
                upserted,
                {
                    let mut args = upsert_fields(&key, &create, &update);
                    args.push(once());
                    args
                },
                Write::Upsert(Arc::clone(klass)),
                format!("Changes the object of klass `{name}` with this key if there is one, makes one otherwise."),
            ),
            (
                "delete",
                one,
                payload.clone(),
                vec![id(), version(), once()],
                Write::Delete(Arc::clone(klass)),
                format!("Deletes an object of klass `{name}`; it can be restored."),
            ),
            (
                "restore",
                one,
                payload,
                vec![id(), once()],
                Write::Restore(Arc::clone(klass)),
                format!("Undoes the deletion of an object of klass `{name}`."),
            ),
            (
                "destroy",
                one,
                "DestroyPayload".into(),
                vec![id(), once()],
                Write::Destroy(Arc::clone(klass)),
                format!("Removes an object of klass `{name}` for good."),
            ),
        ];
        rows.extend([
            (
                "create",
                many,
                bulk.clone(),
                vec![
                    Argument::plain("inputs", list_req(&create), "The objects: at most 1000."),
                    atomic(),
                    once(),
                ],
                Write::CreateMany(Arc::clone(klass)),
                format!("Makes many {plural}, with a result for each."),
            ),
            (
                "upsert",
                many,
                bulk,
                vec![
                    Argument::plain("inputs", list_req(&upsert), "The upserts: at most 1000."),
                    atomic(),
                    once(),
                ],
                Write::UpsertMany(Arc::clone(klass)),
                format!("Makes or changes many {plural}, with a result for each."),
            ),
            (
                "update",
                many,
                all.clone(),
                vec![
                    matching(),
                    Argument::plain("set", req(&update), "What changes in each."),
                    at_most(),
                    once(),
                ],
                Write::UpdateMany(Arc::clone(klass)),
                format!("Makes the same change to all {plural} that match."),
            ),
            (
                "delete",
                many,
                all,
                vec![matching(), at_most(), once()],
                Write::DeleteMany(Arc::clone(klass)),
                format!("Deletes all {plural} that match; they can be restored."),
            ),
        ]);
        for (verb, object, ty, args, write, text) in rows {
            let field = Field::new(names::mutation(verb, object), req(ty), Meaning::Write(write), text);
            self.add_root(Root::Mutation, field.args(args));
        }
        for end in klass.ends.iter().filter(|e| e.cardinality == Cardinality::Many) {
            self.link_mutations(klass, end);
        }
    }

    /// `linkOrderProducts`, `unlinkOrderProducts`.
    fn link_mutations(&mut self, klass: &Arc<Klass>, end: &Arc<End>) {
        let far = self.far(end);
        let (to, from) = match far.as_slice() {
            [] => return,
            [only] if !end.is_polymorphic() => {
                let key = names::of_klass(only, "Key");
                (
                    if has_link_properties(end) {
                        link_name(klass, end, only, "Connect")
                    } else {
                        key.clone()
                    },
                    key,
                )
            }
            _ => {
                let by_klass = |name: String, item: &dyn Fn(&Arc<Klass>) -> String| {
                    let mut it = input(name, None, "By klass: exactly one.");
                    it.one_of = true;
                    for there in &far {
                        let field = Argument::new(
                            &there.legal.field,
                            t(item(there)),
                            InputMeaning::LinkKlass(Arc::clone(there)),
                            "An object of this klass.",
                        );
                        it.fields.insert(field.name.clone(), field);
                    }
                    it
                };
                let keys = by_klass(names::of_end(klass, end, "Key"), &|k| names::of_klass(k, "Key"));
                let from = String::from(&keys.name);
                self.add_input(keys);
                if has_link_properties(end) {
                    let connects = by_klass(names::of_end(klass, end, "Connect"), &|k| link_name(klass, end, k, "Connect"));
                    let to = String::from(&connects.name);
                    self.add_input(connects);
                    (to, from)
                } else {
                    (from.clone(), from)
                }
            }
        };
        let object = [&klass.legal.type_name, &*names::upper_first(&end.legal)].concat();
        let payload = names::of_klass(klass, "Payload");
        let id = || Argument::plain("id", req("ID"), format!("The object of klass `{}`.", klass.name));
        let link = Field::new(
            names::mutation("link", &object),
            req(&payload),
            Meaning::Write(Write::Link(Arc::clone(klass), Arc::clone(end))),
            format!("Ties an object of klass `{}` to others at `{}`.", klass.name, end.legal),
        );
        self.add_root(
            Root::Mutation,
            link.args(vec![id(), Argument::plain("to", list_req(to), "To these."), version(), once()]),
        );
        let unlink = Field::new(
            names::mutation("unlink", &object),
            req(payload),
            Meaning::Write(Write::Unlink(Arc::clone(klass), Arc::clone(end))),
            format!("Unties an object of klass `{}` from others at `{}`.", klass.name, end.legal),
        );
        self.add_root(
            Root::Mutation,
            unlink.args(vec![
                id(),
                Argument::plain("from", list_req(from), "From these."),
                version(),
                once(),
            ]),
        );
    }

    /// `orderChanged`.
    pub(super) fn subscription_fields(&mut self, klass: &Arc<Klass>) {
        let field = Field::new(
            names::changed(klass),
            req(names::of_klass(klass, "Change")),
            Meaning::Changed(Arc::clone(klass)),
            format!(
                "Every change of {}, in order; a change of something related that the selection reads is one of the object.",
                klass.plural
            ),
        );
        let args = vec![
            Argument::plain("id", t("ID"), "Only of this object."),
            Argument::plain(
                "filter",
                t(names::of_klass(klass, "Filter")),
                "Only of those that match: what comes to match is ADDED, what no longer matches is REMOVED, be it by a change of what it is related to.",
            ),
            after(),
        ];
        self.add_root(Root::Subscription, field.args(args));
    }
}

/// `errors`, `cursor` of a payload.
pub(super) fn outcome_fields() -> Vec<Field> {
    vec![
        Field::new(
            "errors",
            list_req("UserError"),
            Meaning::Record("errors"),
            "What the caller did wrong: all of it. Empty when all went well.",
        ),
        Field::new(
            "cursor",
            t("Cursor"),
            Meaning::Record("cursor"),
            "The log's position right behind this write: give it as `after` to a subscription.",
        ),
    ]
}

/// `change id cursor reason` of a subscription's message.
pub(super) fn change_fields() -> Vec<Field> {
    vec![
        Field::new("change", req("ChangeKind"), Meaning::Record("change"), "What happened."),
        Field::new("id", t("ID"), Meaning::Record("id"), "The object's id."),
        Field::new(
            "cursor",
            t("Cursor"),
            Meaning::Record("cursor"),
            "The position right behind this message: give it as `after` to go on from here.",
        ),
        Field::new("reason", t("String"), Meaning::Record("reason"), "Why RESYNC is needed."),
    ]
}

/// `version` of a mutation of one object.
fn version() -> Argument {
    Argument::plain("version", t("Int"), "Refused with CONFLICT unless this is still its version.")
}

/// `idempotencyKey` of a mutation.
fn once() -> Argument {
    Argument::plain(
        "idempotencyKey",
        t("String"),
        "Any text of yours: the same mutation with the same key within 24 hours is done once and answered alike.",
    )
}

/// `after` of a subscription.
pub(super) fn after() -> Argument {
    Argument::plain(
        "after",
        t("Cursor"),
        "Goes on from here and misses nothing. From now on when absent.",
    )
}
