//! What every schema has, whatever its klasses: scalars, interfaces, money, small enums, the built-in root fields.

use async_graphql_value::ConstValue;
use klio_entities::klass::query::Bucket;

use super::model::{Argument, ByName, EnumMeaning, EnumType, EnumValue, Field, InputMeaning, Meaning, Name, ObjectType, Text, Type};
use super::{Builder, Root, input, list, list_req, object, req, t};

impl Builder<'_> {
    /// Everything on this page, and the records.
    pub(super) fn base(&mut self) {
        for scalar in crate::scalars::all() {
            self.add(scalar.name.clone(), Type::Scalar(scalar));
        }
        self.interfaces();
        self.values();
        self.operators();
        self.enums();
        self.records();
        self.states();
        self.builtin_roots();
    }

    fn interfaces(&mut self) {
        let mut node = object("Node", "Anything with an id that `node` finds again.");
        node.interface = true;
        node.fields
            .insert("id".into(), Field::new("id", req("ID"), Meaning::Record("id"), "Its id."));
        self.add_object(node);
        for (name, text) in [
            ("Object", "An object of any klass."),
            ("KObject", "An object of a klass that the org defined."),
        ] {
            let mut it = object(name, text);
            it.interface = true;
            for field in common_fields() {
                it.fields.insert(field.name.clone(), field);
            }
            self.add_object(it);
        }
    }

    fn values(&mut self) {
        let mut money = object("Money", "An amount of money.");
        let mut given = input("MoneyInput", None, "An amount of money.");
        for (name, ty, text) in [
            (
                "amount",
                "Decimal",
                "The amount, in units of the currency: `\"12.50\"`; at most four digits behind the point.",
            ),
            ("currency", "String", "The currency by its ISO 4217 code: `EUR`."),
        ] {
            money
                .fields
                .insert(name.into(), Field::new(name, req(ty), Meaning::Part(name.into()), text));
            given.fields.insert(
                name.into(),
                Argument::new(name, req(ty), InputMeaning::ValuePart(name.into()), text),
            );
        }
        self.add_object(money);
        self.add_input(given);

        let mut actor = object("Actor", "Who did it.");
        for (name, ty, text) in [
            ("kind", req("ActorKind"), "What sort of caller it was."),
            ("id", t("ID"), "The id of the user or token; null for the gateway itself."),
            ("name", req("String"), "Its name at that time."),
        ] {
            actor
                .fields
                .insert(name.into(), Field::new(name, ty, Meaning::Part(name.into()), text));
        }
        self.add_object(actor);

        let mut page = object("PageInfo", "Where a page stands in its list.");
        for (name, ty, text) in [
            ("hasNextPage", req("Boolean"), "There are more behind this page."),
            ("hasPreviousPage", req("Boolean"), "There are more before this page."),
            (
                "startCursor",
                t("String"),
                "The first one's cursor: `before` it comes the previous page.",
            ),
            ("endCursor", t("String"), "The last one's cursor: `after` it comes the next page."),
        ] {
            page.fields
                .insert(name.into(), Field::new(name, ty, Meaning::PageInfoField(name), text));
        }
        self.add_object(page);
    }

    fn enums(&mut self) {
        self.plain_enum(
            "SortDirection",
            "A direction of sorting. Unless said otherwise, those without a value come last.",
            &[
                ("ASC", "Smallest first."),
                ("DESC", "Largest first."),
                ("ASC_NULLS_FIRST", "Those without a value, then smallest first."),
                ("ASC_NULLS_LAST", "Smallest first, then those without a value."),
                ("DESC_NULLS_FIRST", "Those without a value, then largest first."),
                ("DESC_NULLS_LAST", "Largest first, then those without a value."),
            ],
        );
        self.plain_enum(
            "ChangeKind",
            "What a message of a subscription says.",
            &[
                ("ADDED", "It came into view: created, restored, or now matches."),
                ("UPDATED", "It changed."),
                ("REMOVED", "It left the view: deleted, or no longer matches. Only its id is told."),
                ("CAUGHT_UP", "All that happened before has been told; from here on it is live."),
                (
                    "RESYNC",
                    "The stream cannot go on from the given cursor: read again, then subscribe with the new cursor. `reason` says why.",
                ),
            ],
        );
        self.plain_enum(
            "UpsertOutcome",
            "What an upsert did.",
            &[
                ("CREATED", "There was none with this key: one was made."),
                ("UPDATED", "The one with this key was changed."),
                ("UNCHANGED", "The one with this key was so already."),
            ],
        );
        self.plain_enum(
            "ActorKind",
            "A sort of caller.",
            &[
                ("USER", "A person."),
                ("TOKEN", "A program, by its token."),
                ("SYSTEM", "The gateway itself."),
            ],
        );
        self.plain_enum(
            "ViewerRole",
            "What a caller may do.",
            &[
                ("READER", "Reads objects."),
                ("AGENT", "Reads and writes objects."),
                ("ADMIN", "Also defines klasses, destroys objects and makes tokens."),
                ("OWNER", "Also changes the org itself."),
            ],
        );
        self.plain_enum(
            "ErrorCode",
            "What a caller did wrong.",
            &[
                ("BAD_INPUT", "A value or definition is not acceptable."),
                ("REQUIRED", "A required value is missing."),
                ("DUPLICATE", "Another object holds this unique value."),
                ("NOT_FOUND", "There is no such object."),
                (
                    "CONFLICT",
                    "The object is not as the caller believed: another wrote it meanwhile, or it is deleted.",
                ),
                ("RESTRICTED", "Others still point to it."),
                ("FORBIDDEN", "The caller's role does not allow it."),
                (
                    "BREAKING",
                    "The change would break clients or lose data; `force` does it all the same.",
                ),
                ("IDEMPOTENCY_MISMATCH", "The same idempotency key came with other input."),
                ("TOO_MANY", "More objects match than `atMost` allows."),
            ],
        );
        let buckets = [
            ("HOUR", Bucket::Hour, "An hour: its key is `2026-11-24T13:00`."),
            ("DAY", Bucket::Day, "A day: its key is `2026-11-24`."),
            ("WEEK", Bucket::Week, "A week from Monday: its key is the Monday."),
            ("MONTH", Bucket::Month, "A month: its key is its first day."),
            ("QUARTER", Bucket::Quarter, "Three months: its key is their first day."),
            ("YEAR", Bucket::Year, "A year: its key is its first day."),
        ];
        let values = buckets.into_iter().map(|(name, bucket, text)| {
            let value = EnumValue {
                description: Some(text.into()),
                deprecated: None,
                means: EnumMeaning::Bucket(bucket),
            };
            (Name::Fixed(name), value)
        });
        self.add_enum(EnumType {
            name: "DateBucket".into(),
            description: Some("The width of the buckets into which dates and times are gathered.".into()),
            values: values.collect(),
        });
    }

    /// An enum whose values' names say what they mean.
    pub(super) fn plain_enum(&mut self, name: &'static str, text: &'static str, values: &[(&'static str, &'static str)]) {
        let values: ByName<EnumValue> = values
            .iter()
            .map(|&(name, text)| {
                let value = EnumValue {
                    description: Some(text.into()),
                    deprecated: None,
                    means: EnumMeaning::Plain,
                };
                (Name::Fixed(name), value)
            })
            .collect();
        self.add_enum(EnumType {
            name: name.into(),
            description: Some(text.into()),
            values,
        });
    }

    fn builtin_roots(&mut self) {
        let fields = [
            Field::new("node", t("Node"), Meaning::Node, "The object with this id, of whatever klass.").args(vec![Argument::plain(
                "id",
                req("ID"),
                "Its id.",
            )]),
            Field::new(
                "nodes",
                t("Node").list().required(),
                Meaning::Nodes,
                "The objects with these ids, in this order; null where there is none.",
            )
            .args(vec![Argument::plain("ids", list_req("ID"), "Their ids.")]),
            Field::new(
                "object",
                t("Object"),
                Meaning::ObjectOf,
                "An object of a klass, by exactly one key.",
            )
            .args(vec![
                Argument::plain("klass", req("String"), "The klass, by name: `order`."),
                Argument::plain("id", t("ID"), "Its id."),
                Argument::plain("externalId", t("String"), "Its key in other systems."),
            ]),
            Field::new("klass", t("Klass"), Meaning::KlassByName, "The definition of a klass.").args(vec![Argument::plain(
                "name",
                req("String"),
                "Its name: `order`.",
            )]),
            Field::new(
                "klasses",
                list_req("Klass"),
                Meaning::Klasses,
                "The definitions of all klasses, standard ones first.",
            ),
            Field::new("viewer", req("Viewer"), Meaning::Viewer, "Who is asking."),
        ];
        for field in fields {
            self.add_root(Root::Query, field);
        }
    }
}

/// What an object of any klass has: name, type, whether it is never null, what it is.
const COMMON: [(&str, &str, bool, &str); 12] = [
    ("id", "ID", true, "Its id."),
    ("externalId", "String", false, "Its key in other systems, unique within its klass."),
    (
        "version",
        "Int",
        true,
        "Rises by one with each write; give it to an update to be refused when another wrote meanwhile.",
    ),
    ("createdAt", "DateTime", true, "When it was made."),
    ("createdBy", "Actor", false, "Who made it."),
    ("updatedAt", "DateTime", true, "When it was last written."),
    ("updatedBy", "Actor", false, "Who last wrote it."),
    ("deletedAt", "DateTime", false, "When it was deleted; it can be restored."),
    (
        "importedAt",
        "DateTime",
        false,
        "When it was brought in from another system, if it was.",
    ),
    ("tags", "String", true, "Labels."),
    ("klass", "Klass", true, "Its klass."),
    ("title", "String", true, "How it is named for people."),
];

/// The same as fields of an interface; an object type's own fields carry the meanings.
fn common_fields() -> impl Iterator<Item = Field> {
    COMMON.into_iter().map(|(name, ty, required, text)| {
        let ty = if name == "tags" { list(ty) } else { t(ty) };
        Field::new(name, if required { ty.required() } else { ty }, Meaning::Record(name), text)
    })
}

/// The description of a system property.
pub(super) fn common_text(name: &str) -> Option<Text> {
    COMMON.iter().find(|row| row.0 == name).map(|row| Text::Borrowed(row.3))
}

/// The arguments that cut a page out of a list.
pub(super) fn page_args() -> Vec<Argument> {
    vec![
        Argument::plain("first", t("Int"), "How many from the beginning: 20 unless said, at most 200."),
        Argument::plain("after", t("String"), "Only what comes behind this cursor."),
        Argument::plain("last", t("Int"), "How many from the end."),
        Argument::plain("before", t("String"), "Only what comes before this cursor."),
    ]
}

/// `withDeleted`.
pub(super) fn with_deleted() -> Argument {
    Argument::plain("withDeleted", req("Boolean"), "Deleted ones too.").or(ConstValue::Boolean(false))
}

/// `nodes edges pageInfo totalCount cursor` of a connection.
pub(super) fn connection_fields(into: &mut ObjectType, node: &str, edge: &str) {
    for field in [
        Field::new(
            "nodes",
            list_req(Name::of(node)),
            Meaning::ConnectionNodes,
            "The objects of this page.",
        ),
        Field::new(
            "edges",
            list_req(Name::of(edge)),
            Meaning::Edges,
            "The objects of this page, each with its cursor.",
        ),
        Field::new(
            "pageInfo",
            req("PageInfo"),
            Meaning::PageInfo,
            "Where this page stands in the list.",
        ),
        Field::new(
            "totalCount",
            req("Int"),
            Meaning::TotalCount,
            "How many there are on all pages together.",
        ),
        Field::new(
            "cursor",
            req("Cursor"),
            Meaning::LogCursor,
            "The log's position as of this page: give it as `after` to a subscription to miss nothing.",
        ),
    ] {
        into.fields.insert(field.name.clone(), field);
    }
}
