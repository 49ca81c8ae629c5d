//! What every schema has, whatever its klasses: scalars, interfaces, money, operator inputs, small enums, the built-in root fields.

use async_graphql_value::ConstValue;
use klio_entities::klass::filter::Op;
use klio_entities::klass::query::Bucket;

use super::kinds::{equality, is_null};
use super::model::{
    Argument, ByName, EnumMeaning, EnumType, EnumValue, Field, InputMeaning, InputType, Meaning, Name, ObjectType, Text, Type,
};
use super::{Builder, Root, input, list, list_req, object, req, t};

/// Kinds with an order whose operands have a scalar of their own: the scalar, and whether its filter tells `between`.
const ORDERED: [&str; 5] = ["Int", "BigInt", "Decimal", "Date", "DateTime"];

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

    fn operators(&mut self) {
        for scalar in ORDERED {
            self.add_input(range(scalar));
            self.add_input(comparison(
                &format!("{scalar}Comparison"),
                scalar,
                &format!("Comparisons with a `{scalar}`; all that are given must hold."),
            ));
            let mut filter = filter_input(scalar, equality(scalar));
            insert(&mut filter, ordering(scalar));
            insert(&mut filter, vec![between(scalar)]);
            if matches!(scalar, "Date" | "DateTime") {
                insert(
                    &mut filter,
                    vec![
                        Argument::new(
                            "withinLast",
                            t("Duration"),
                            InputMeaning::WithinLast,
                            "Between so long ago and now: `\"P7D\"`.",
                        ),
                        Argument::new(
                            "withinNext",
                            t("Duration"),
                            InputMeaning::WithinNext,
                            "Between now and so long from now: `\"PT12H\"`.",
                        ),
                    ],
                );
            }
            self.add_input(filter);
        }
        let mut percentile = comparison(
            "PercentileComparison",
            "Decimal",
            "Comparisons with a percentile; all that are given must hold.",
        );
        percentile.fields.insert(
            "p".into(),
            Argument::plain("p", req("Float"), "Which: from 0 (smallest) to 1 (largest)."),
        );
        self.add_input(percentile);
        self.add_input(range("String"));
        let mut text = filter_input("String", equality("String"));
        insert(&mut text, ordering("String"));
        insert(&mut text, vec![between("String")]);
        insert(&mut text, looking("String"));
        self.add_input(text);

        self.add_input(filter_input("ID", equality("ID")));

        let mut tree = input(
            "TreeFilter",
            None,
            "Conditions on a path in a tree, such as `sports/ball/tennis`; all that are given must hold.",
        );
        insert(&mut tree, equality("String"));
        insert(&mut tree, vec![op("under", "String", Op::Under, "Is this path or one below it.")]);
        self.add_input(tree);

        let mut boolean = filter_input("Boolean", Vec::new());
        insert(
            &mut boolean,
            vec![
                op("eq", "Boolean", Op::Eq, "Equals this."),
                op("ne", "Boolean", Op::Ne, "Does not equal this, or has no value."),
                is_null(),
            ],
        );
        self.add_input(boolean);

        let mut money = input(
            "MoneyFilter",
            None,
            "Conditions on an amount of money; all that are given must hold. Operators compare amounts, whatever the currency.",
        );
        insert(
            &mut money,
            vec![
                Argument::new(
                    "amount",
                    t("DecimalFilter"),
                    InputMeaning::TargetPart("amount".into()),
                    "Conditions on the amount.",
                ),
                Argument::new(
                    "currency",
                    t("StringFilter"),
                    InputMeaning::TargetPart("currency".into()),
                    "Conditions on the currency.",
                ),
            ],
        );
        insert(&mut money, equality("Decimal"));
        insert(&mut money, ordering("Decimal"));
        insert(&mut money, vec![between("Decimal")]);
        self.add_input(money);

        self.add_input(items_filter("MoneyListFilter", "Money", "MoneyFilter"));

        let mut json = input(
            "JSONFilter",
            None,
            "Conditions on a place in a JSON value; all that are given must hold. A string operand compares text, a number compares numbers.",
        );
        insert(
            &mut json,
            vec![Argument::new(
                "path",
                list("String"),
                InputMeaning::TargetPart("path".into()),
                "The place: keys and indexes from the outside in, `[\"shipping\", \"city\"]`. Without it only `isNull` may be given.",
            )],
        );
        insert(&mut json, equality("JSON"));
        insert(&mut json, ordering("JSON"));
        insert(&mut json, looking("String"));
        self.add_input(json);

        for scalar in [
            "String",
            "Int",
            "BigInt",
            "Decimal",
            "Boolean",
            "Date",
            "DateTime",
            "URL",
            "EmailAddress",
            "PhoneNumber",
            "ID",
        ] {
            let filter = list_filter(&format!("{scalar}ListFilter"), scalar);
            self.add_input(filter);
        }
        let mut presence = input("IsNullFilter", None, "Whether there is a value.");
        insert(&mut presence, vec![is_null()]);
        self.add_input(presence);

        let mut contact = input(
            "ContactFilter",
            None,
            "Conditions on any of a customer's contact points, normalised.",
        );
        insert(
            &mut contact,
            vec![
                op("eq", "String", Op::Eq, "One of them is this."),
                Argument::new("in", list("String"), InputMeaning::Operator(Op::In), "One of them is one of these."),
            ],
        );
        self.add_input(contact);

        let mut near = input("NearInput", None, "A circle on the earth.");
        insert(
            &mut near,
            vec![
                Argument::plain("latitude", req("Float"), "Of its centre, in degrees north."),
                Argument::plain("longitude", req("Float"), "Of its centre, in degrees east."),
                Argument::plain("km", req("Float"), "Its radius, in kilometres."),
            ],
        );
        self.add_input(near);

        let mut count = input("CountOrder", None, "By the number of objects at the far end.");
        count.one_of = true;
        insert(&mut count, vec![Argument::plain("count", t("SortDirection"), "In this direction.")]);
        self.add_input(count);

        let mut percentile = input("PercentileOrder", None, "By a percentile.");
        insert(
            &mut percentile,
            vec![
                Argument::plain("p", req("Float"), "Which: from 0 (smallest) to 1 (largest)."),
                Argument::plain("direction", req("SortDirection"), "In this direction.")
                    .or(ConstValue::Enum(async_graphql_value::Name::new("ASC"))),
            ],
        );
        self.add_input(percentile);
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

/// `hasAny hasAll hasNone isNull` with operands of one type.
pub(super) fn list_filter(name: &str, item: &str) -> InputType {
    let mut it = input(
        Name::of(name),
        None,
        format!("Conditions on a list of `{item}`; all that are given must hold."),
    );
    insert(
        &mut it,
        vec![
            Argument::new(
                "hasAny",
                list(Name::of(item)),
                InputMeaning::Operator(Op::HasAny),
                "Holds at least one of these.",
            ),
            Argument::new(
                "hasAll",
                list(Name::of(item)),
                InputMeaning::Operator(Op::HasAll),
                "Holds all of these.",
            ),
            Argument::new(
                "hasNone",
                list(Name::of(item)),
                InputMeaning::Operator(Op::HasNone),
                "Holds none of these, or is no list at all.",
            ),
            is_null(),
        ],
    );
    it
}

/// `some every none isNull` of a list whose items have parts.
pub(super) fn items_filter(name: &str, item: &str, filter: &str) -> InputType {
    let mut it = input(
        Name::of(name),
        None,
        format!("Conditions on a list of `{item}`; all that are given must hold."),
    );
    super::filter::quantifiers(&mut it, filter);
    insert(&mut it, vec![is_null()]);
    it
}

fn filter_input(scalar: &str, fields: Vec<Argument>) -> InputType {
    let mut it = input(
        format!("{scalar}Filter"),
        None,
        format!("Conditions on a `{scalar}`; all that are given must hold."),
    );
    insert(&mut it, fields);
    it
}

fn range(scalar: &str) -> InputType {
    let mut it = input(format!("{scalar}Range"), None, "From one value to another, both included.");
    insert(
        &mut it,
        vec![
            Argument::plain("from", req(Name::of(scalar)), "The smallest that is in it."),
            Argument::plain("to", req(Name::of(scalar)), "The largest that is in it."),
        ],
    );
    it
}

/// `eq ne gt gte lt lte`.
pub(super) fn comparison(name: &str, scalar: &str, text: &str) -> InputType {
    let mut it = input(Name::of(name), None, text.to_owned());
    insert(
        &mut it,
        vec![
            op("eq", scalar, Op::Eq, "Equals this."),
            op("ne", scalar, Op::Ne, "Does not equal this."),
        ],
    );
    insert(&mut it, ordering(scalar));
    it
}

fn op(name: &'static str, operand: &str, op: Op, text: &'static str) -> Argument {
    Argument::new(name, t(Name::of(operand)), InputMeaning::Operator(op), text)
}

fn ordering(scalar: &str) -> Vec<Argument> {
    vec![
        op("gt", scalar, Op::Gt, "Is greater than this."),
        op("gte", scalar, Op::Gte, "Is this or greater."),
        op("lt", scalar, Op::Lt, "Is less than this."),
        op("lte", scalar, Op::Lte, "Is this or less."),
    ]
}

fn between(scalar: &str) -> Argument {
    Argument::new(
        "between",
        t(format!("{scalar}Range")),
        InputMeaning::Between,
        "Lies in this range, ends included.",
    )
}

fn looking(scalar: &str) -> Vec<Argument> {
    let mut out = vec![op("eqIgnoreCase", scalar, Op::EqFold, "Equals this, without regard to case.")];
    type Make = fn(bool) -> Op;
    let rows: [(&str, &str, Make); 4] = [
        ("contains", "Contains this", |fold| Op::Contains { fold }),
        ("startsWith", "Starts with this", |fold| Op::StartsWith { fold }),
        ("endsWith", "Ends with this", |fold| Op::EndsWith { fold }),
        ("matches", "Matches this regular expression somewhere", |fold| Op::Matches { fold }),
    ];
    for (name, text, make) in rows {
        out.push(Argument::new(
            name,
            t(Name::of(scalar)),
            InputMeaning::Operator(make(false)),
            format!("{text}."),
        ));
        let folded = format!("{name}IgnoreCase");
        out.push(Argument::new(
            folded,
            t(Name::of(scalar)),
            InputMeaning::Operator(make(true)),
            format!("{text}, without regard to case."),
        ));
    }
    out
}

pub(super) fn insert(into: &mut InputType, fields: Vec<Argument>) {
    into.fields.extend(fields.into_iter().map(|f| (f.name.clone(), f)));
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
