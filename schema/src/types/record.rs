//! Records that the gateway makes in memory rather than reads as objects: definitions of klasses, the viewer, errors; and the
//! mutations and the stream of klass definitions. Every field is a [`Meaning::Record`] by its own name.

use async_graphql_value::ConstValue;

use super::model::{Argument, Field, Meaning, TypeRef, Write};
use super::roots::{after, change_fields, outcome_fields};
use super::{Builder, Root, input, list, list_req, object, operators, req, t};

/// Name, type, what it is.
type Row = (&'static str, TypeRef, &'static str);

impl Builder<'_> {
    /// Everything on this page.
    pub(super) fn records(&mut self) {
        self.record(
            "Viewer",
            "Who is asking.",
            vec![
                ("kind", req("ActorKind"), "What sort of caller it is."),
                ("id", t("ID"), "The id of the user or token."),
                ("name", req("String"), "Its name."),
                ("role", req("ViewerRole"), "What it may do."),
                ("org", req("ID"), "The id of the org to which everything here belongs."),
                ("canWrite", req("Boolean"), "May create, update and delete objects."),
                ("canDestroy", req("Boolean"), "May destroy objects for good."),
                ("canDefine", req("Boolean"), "May define and change klasses."),
                ("seesSensitive", req("Boolean"), "Sees properties marked sensitive."),
            ],
        );
        self.record(
            "UserError",
            "One thing that the caller did wrong.",
            vec![
                ("code", req("ErrorCode"), "Of which sort it is."),
                (
                    "path",
                    list_req("String"),
                    "Where: from the arguments of the mutation inwards, `[\"input\", \"total\"]`.",
                ),
                ("message", req("String"), "What is wrong and why."),
                ("remedy", t("String"), "What to do about it."),
                ("object", t("Object"), "With CONFLICT: the object as it is now."),
            ],
        );
        let mut destroyed = object("DestroyPayload", "What became of a removal for good.");
        destroyed.fields.insert(
            "id".into(),
            Field::new(
                "id",
                t("ID"),
                Meaning::Record("id"),
                "The id of what is gone; null when nothing was removed.",
            ),
        );
        destroyed.fields.extend(outcome_fields().into_iter().map(|f| (f.name.clone(), f)));
        self.add_object(destroyed);

        let mut change = object("ObjectChange", "A message about an object of one of several klasses.");
        for field in [
            Field::new(
                "object",
                t("Object"),
                Meaning::Record("object"),
                "The object as it is now; null when it is REMOVED and in CAUGHT_UP and RESYNC.",
            ),
            Field::new("klass", t("String"), Meaning::Record("klass"), "The name of its klass."),
        ]
        .into_iter()
        .chain(change_fields())
        {
            change.fields.insert(field.name.clone(), field);
        }
        self.add_object(change);

        self.klass_records();
        self.klass_inputs();
        self.klass_roots();
    }

    /// A record of few fields, each a [`Meaning::Record`] by its own name.
    pub(super) fn record(&mut self, name: &'static str, text: &'static str, rows: Vec<Row>) {
        let mut it = object(name, text);
        for (name, ty, text) in rows {
            it.fields.insert(name.into(), Field::new(name, ty, Meaning::Record(name), text));
        }
        self.add_object(it);
    }

    fn klass_records(&mut self) {
        self.record(
            "Klass",
            "The definition of a type of object.",
            vec![
                ("name", req("String"), "As its author wrote it: `ecomm-order`."),
                ("plural", req("String"), "Its plural, as written."),
                ("typeName", req("String"), "The GraphQL type of its objects: `EcommOrder`."),
                ("fieldName", req("String"), "The root field for one of them: `ecommOrder`."),
                ("pluralFieldName", req("String"), "The root field for many: `ecommOrders`."),
                ("idPrefix", req("String"), "How the ids of its objects begin."),
                ("displayName", t("String"), "The label people see."),
                ("description", t("String"), "What it is."),
                ("icon", t("String"), "The name of an icon."),
                ("color", t("String"), "A colour: `#5B6CF9`."),
                ("enabled", req("Boolean"), "Whether the schema shows it."),
                ("standard", req("Boolean"), "Ships with the gateway."),
                ("title", req("String"), "How one of its objects is named: text with `{property}`."),
                ("onTimeline", req("Boolean"), "Its objects stand on their customer's timeline."),
                ("timelineAt", t("String"), "The property that gives their place there."),
                ("properties", list_req("KlassProperty"), "All properties, system ones first."),
                (
                    "relationships",
                    list_req("KlassRelationship"),
                    "All relationships that touch it, seen from it.",
                ),
                ("views", t("JSON"), "How an object is shown, as data for front ends."),
                (
                    "definition",
                    req("JSON"),
                    "The definition as it was written, fit for `defineKlass` and for a file.",
                ),
            ],
        );
        self.record(
            "KlassProperty",
            "A property of a klass.",
            vec![
                ("name", req("String"), "As its author wrote it."),
                ("fieldName", req("String"), "Its GraphQL field."),
                ("typeName", req("String"), "Its GraphQL type, without `!` and brackets."),
                ("kind", req("String"), "Its kind, as in a definition: `string`, `money`, `enum`, …"),
                ("list", req("Boolean"), "Holds a list of that."),
                ("displayName", t("String"), "The label people see."),
                ("description", t("String"), "What it is."),
                ("deprecated", t("String"), "Why one should no longer use it."),
                ("required", req("Boolean"), "Must be given and not null."),
                ("unique", req("Boolean"), "No two objects share it."),
                ("indexed", req("Boolean"), "Filters and sorts at speed."),
                ("searchable", req("Boolean"), "Is found by full-text search."),
                ("sensitive", req("Boolean"), "Is masked for roles that may not see it."),
                ("system", req("Boolean"), "Part of every klass."),
                ("standard", req("Boolean"), "Ships with the gateway."),
                ("writable", req("Boolean"), "Can be set by those who may write."),
                ("default", t("JSON"), "The value of an object that gives none."),
                ("values", list("KlassEnumValue"), "Of an enum: its values, in order."),
                ("paths", list("String"), "Of a tree: its paths."),
                ("parts", list("KlassPart"), "Of an object kind: its parts."),
                (
                    "validation",
                    t("JSON"),
                    "What a value must also satisfy: `min max minLength maxLength pattern format`.",
                ),
                (
                    "aliases",
                    list_req("String"),
                    "GraphQL names that it used to have and that still work.",
                ),
            ],
        );
        self.record(
            "KlassEnumValue",
            "A value of an enum property.",
            vec![
                ("value", req("String"), "As stored."),
                ("name", req("String"), "Its GraphQL name."),
                ("description", t("String"), "What it means."),
                ("deprecated", t("String"), "Why one should no longer use it."),
            ],
        );
        self.record(
            "KlassPart",
            "A part of an object kind.",
            vec![
                ("name", req("String"), "Its name."),
                ("kind", req("String"), "Its kind."),
                ("list", req("Boolean"), "Holds a list of that."),
                ("required", req("Boolean"), "Must be given."),
                ("description", t("String"), "What it is."),
            ],
        );
        self.record(
            "KlassRelationship",
            "A relationship, seen from one of its ends.",
            vec![
                ("name", req("String"), "As its author wrote it."),
                ("fieldName", req("String"), "Its GraphQL field here."),
                ("to", list_req("String"), "The klasses at the other end, by name."),
                ("many", req("Boolean"), "Any number may stand at the other end."),
                ("inverse", req("Boolean"), "It was declared on the other side."),
                ("required", req("Boolean"), "There must be one at the other end."),
                (
                    "onDelete",
                    req("String"),
                    "What the deletion of a far object does to those that point to it: `restrict`, `unlink` or `cascade`.",
                ),
                ("properties", list_req("KlassProperty"), "Properties of the link itself."),
                ("description", t("String"), "What it is."),
                ("deprecated", t("String"), "Why one should no longer use it."),
                (
                    "aliases",
                    list_req("String"),
                    "GraphQL names that it used to have and that still work.",
                ),
            ],
        );
        self.plain_enum(
            "ChangeClass",
            "How a change of a klass bears on clients and data.",
            &[
                ("SAFE", "No client notices."),
                ("DANGEROUS", "A client may notice."),
                ("BREAKING", "A client breaks, or data is lost; needs `force`."),
            ],
        );
        self.record(
            "KlassChangeNote",
            "One thing that a change of klasses changes.",
            vec![
                ("path", list_req("String"), "Where: `[\"order\", \"properties\", \"total\"]`."),
                ("class", req("ChangeClass"), "How it bears on clients and data."),
                ("message", req("String"), "What it changes."),
            ],
        );
        let mut payload = object("KlassPayload", "What became of a change of klasses.");
        let rows: Vec<Row> = vec![
            ("klass", t("Klass"), "The klass as it is now; with `dryRun` as it would be."),
            (
                "changes",
                list_req("KlassChangeNote"),
                "What it changes, each classed; with `dryRun` what it would change.",
            ),
            ("applied", req("Boolean"), "Whether it was done."),
            ("version", t("Int"), "The version of the schema from now on."),
        ];
        for (name, ty, text) in rows {
            payload
                .fields
                .insert(name.into(), Field::new(name, ty, Meaning::Record(name), text));
        }
        payload.fields.extend(outcome_fields().into_iter().map(|f| (f.name.clone(), f)));
        self.add_object(payload);

        let mut change = object("KlassChange", "A message of `klassChanged`.");
        for field in [
            Field::new(
                "klass",
                t("Klass"),
                Meaning::Record("klass"),
                "The klass as it is now; null in CAUGHT_UP and RESYNC.",
            ),
            Field::new("name", t("String"), Meaning::Record("name"), "Its name."),
        ]
        .into_iter()
        .chain(change_fields().into_iter().filter(|f| f.name != "id"))
        {
            change.fields.insert(field.name.clone(), field);
        }
        self.add_object(change);
    }

    fn klass_inputs(&mut self) {
        let mut fields = |name: &'static str, text: &'static str, rows: Vec<Row>| {
            let mut it = input(name, None, text);
            operators::insert(
                &mut it,
                rows.into_iter().map(|(name, ty, text)| Argument::plain(name, ty, text)).collect(),
            );
            self.add_input(it);
        };
        let klass: fn() -> Vec<Row> = || {
            vec![
                ("plural", t("String"), "Its plural; made from the name when absent."),
                ("title", t("String"), "How one of its objects is named: text with `{property}`."),
                ("displayName", t("String"), "The label people see."),
                ("description", t("String"), "What it is."),
                ("icon", t("String"), "The name of an icon."),
                ("color", t("String"), "A colour: `#5B6CF9`."),
                (
                    "timeline",
                    t("KlassTimelineInput"),
                    "Present: its objects stand on their customer's timeline.",
                ),
                ("properties", list("KlassPropertyInput"), "Its properties, in order."),
                (
                    "relationships",
                    list("KlassRelationshipInput"),
                    "Its relationships, in order; each is said once, on one of its klasses.",
                ),
                ("views", t("JSON"), "How an object is shown, as data for front ends."),
            ]
        };
        let mut whole = vec![(
            "name",
            req("String"),
            "Its name: `order`; may hold what other systems use: `ecomm-order`.",
        )];
        whole.extend(klass());
        fields("KlassInput", "A klass, as a definition file says it: the whole of it.", whole);
        let mut patch = klass();
        patch.extend([
            (
                "removeProperties",
                list("String"),
                "Properties to remove, by name, with their data (breaking).",
            ),
            (
                "removeRelationships",
                list("String"),
                "Relationships to remove, by name, with their links (breaking).",
            ),
        ]);
        fields(
            "KlassPatch",
            "Changes to a klass: what is absent stays. Properties and relationships that are given replace those of the same name or are added; \
             with `formerly` they replace the one that had that name.",
            patch,
        );
        fields(
            "KlassTimelineInput",
            "Where a klass's objects stand on the timeline.",
            vec![("at", t("String"), "A datetime property, by name; `createdAt` when absent.")],
        );
        fields(
            "KlassPropertyInput",
            "A property, as a definition file says it.",
            vec![
                ("name", req("String"), "Its name."),
                (
                    "kind",
                    req("String"),
                    "`string text integer decimal boolean date datetime url email phone enum tree money json object`, or a shared type such as `Channel`.",
                ),
                ("list", t("Boolean"), "Holds a list of that."),
                ("big", t("Boolean"), "Integers: 64 bits rather than 32."),
                ("type", t("String"), "Enums and objects: the GraphQL type's name, to share it."),
                ("values", list("KlassEnumValueInput"), "Enums: the values, in order."),
                ("paths", list("String"), "Trees: the leaves."),
                ("parts", list("KlassPartInput"), "Objects: the parts, in order."),
                ("required", t("Boolean"), "Must be given and not null."),
                ("unique", t("Boolean"), "No two objects share it."),
                ("indexed", t("Boolean"), "Filters and sorts at speed."),
                ("searchable", t("Boolean"), "Is found by full-text search."),
                ("sensitive", t("Boolean"), "Is masked for roles that may not see it."),
                ("default", t("JSON"), "The value of an object that gives none."),
                ("displayName", t("String"), "The label people see."),
                ("description", t("String"), "What it is."),
                ("deprecated", t("String"), "Why one should no longer use it."),
                ("min", t("JSON"), "Smallest value."),
                ("max", t("JSON"), "Largest value."),
                ("minLength", t("Int"), "Fewest characters or items."),
                ("maxLength", t("Int"), "Most characters or items."),
                ("pattern", t("String"), "A regular expression that the text must match somewhere."),
                ("format", t("String"), "What sort of name or code the text must be: `timeZone`."),
                ("formerly", list("String"), "Names that it used to have: this is a rename."),
            ],
        );
        fields(
            "KlassEnumValueInput",
            "A value of an enum.",
            vec![
                ("value", req("String"), "As stored."),
                ("name", t("String"), "Its GraphQL name; made from the value when absent."),
                ("description", t("String"), "What it means."),
                ("deprecated", t("String"), "Why one should no longer use it."),
            ],
        );
        fields(
            "KlassPartInput",
            "A part of an object kind.",
            vec![
                ("name", req("String"), "Its name."),
                ("kind", req("String"), "A scalar kind, `enum`, or a shared enum."),
                ("list", t("Boolean"), "Holds a list of that."),
                ("big", t("Boolean"), "Integers: 64 bits."),
                ("values", list("KlassEnumValueInput"), "Enums: the values."),
                ("required", t("Boolean"), "Must be given."),
                ("description", t("String"), "What it is."),
            ],
        );
        fields(
            "KlassRelationshipInput",
            "A relationship, as a definition file says it.",
            vec![
                ("name", req("String"), "Its name."),
                ("to", list_req("String"), "The far klass, or several (polymorphic), by name."),
                (
                    "kind",
                    t("String"),
                    "How many far objects one has: `one` or `many`; `one` when absent.",
                ),
                (
                    "inverse",
                    t("String"),
                    "The name of its other end; made from the klass's name when absent.",
                ),
                (
                    "inverseKind",
                    t("String"),
                    "How many of this klass a far object may have: `one` or `many`; `many` when absent.",
                ),
                ("required", t("Boolean"), "Must be given (only of kind `one`)."),
                (
                    "onDelete",
                    t("String"),
                    "What the deletion of a far object does to those that point to it: `restrict`, `unlink` or `cascade`. When absent: `restrict` if the relationship is required, `unlink` otherwise.",
                ),
                ("description", t("String"), "What it is."),
                ("inverseDescription", t("String"), "What the other end is."),
                ("deprecated", t("String"), "Why one should no longer use it."),
                ("formerly", list("String"), "Names that it used to have: this is a rename."),
                (
                    "properties",
                    list("KlassPropertyInput"),
                    "Properties of the link itself (only of kind `many`).",
                ),
            ],
        );
    }

    fn klass_roots(&mut self) {
        let flag = |name: &'static str, text: &'static str| Argument::plain(name, req("Boolean"), text).or(ConstValue::Boolean(false));
        let dry = || flag("dryRun", "Only tells what it would change.");
        let force = || flag("force", "Also what would break clients or lose data.");
        let name = || Argument::plain("name", req("String"), "The klass, by name.");
        let rows = [
            (
                "defineKlass",
                vec![Argument::plain("input", req("KlassInput"), "The definition."), dry(), force()],
                Write::DefineKlass,
                "Defines a klass; one that is there already becomes as defined. The next request sees the new schema.",
            ),
            (
                "changeKlass",
                vec![name(), Argument::plain("set", req("KlassPatch"), "What changes."), dry(), force()],
                Write::ChangeKlass,
                "Changes a klass, or adds to a standard one. The next request sees the new schema.",
            ),
            (
                "disableKlass",
                vec![name(), dry(), force()],
                Write::DisableKlass,
                "Takes a klass out of the schema; its objects stay (breaking).",
            ),
            (
                "enableKlass",
                vec![name(), dry()],
                Write::EnableKlass,
                "Puts a klass back into the schema.",
            ),
        ];
        for (name, args, write, text) in rows {
            let field = Field::new(name, req("KlassPayload"), Meaning::Write(write), text).args(args);
            self.add_root(Root::Mutation, field);
        }
        let field = Field::new(
            "klassChanged",
            req("KlassChange"),
            Meaning::KlassChanged,
            "Every change of a klass: the schema is a new one from then on.",
        )
        .args(vec![after()]);
        self.add_root(Root::Subscription, field);
    }
}
