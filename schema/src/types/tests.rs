//! Klasses in, text of the schema out.

use std::sync::Arc;

use expect_test::{Expect, expect, expect_file};
use klio_entities::klass::property::Alias;
use klio_entities::klass::relationship::Cardinality;
use klio_entities::klass::{Kind, OrgId, Registry, resolve};

use super::model::Types;
use super::testing::{klass, property, registry, relate, shop};
use super::{build, emit};
use crate::sdl::{print, print_some};

fn types(registry: &Arc<Registry>) -> Types {
    build(registry).unwrap_or_else(|faults| panic!("{faults}"))
}

fn check(registry: &Arc<Registry>, names: &[&str], expected: Expect) {
    expected.assert_eq(&print_some(&types(registry), names));
}

/// `UPDATE_EXPECT=1 cargo test -p klio-schema` rewrites the file.
#[test]
fn the_standard_schema_is_as_committed() {
    let registry = resolve::resolve(OrgId(uuid::Uuid::nil()), "standard", 1, &[]).unwrap_or_else(|faults| panic!("{faults}"));
    let types = types(&Arc::new(registry));
    emit::emit(&types).unwrap_or_else(|error| panic!("{error}"));
    expect_file!["../../standard.graphql"].assert_eq(&print(&types));
}

#[test]
fn an_object_its_edges_and_its_key() {
    check(
        &shop(),
        &["Order", "OrderProductsConnection", "OrderProductsEdge", "OrderKey"],
        expect![[r#"
            "An object of klass `order`."
            type Order implements Node & Object & KObject {
              "Its id."
              id: ID!
              "Its key in other systems, unique within its klass."
              externalId: String
              "Rises by one with each write; give it to an update to be refused when another wrote meanwhile."
              version: Int!
              "When it was made."
              createdAt: DateTime!
              "Who made it."
              createdBy: Actor
              "When it was last written."
              updatedAt: DateTime!
              "Who last wrote it."
              updatedBy: Actor
              "When it was deleted; it can be restored."
              deletedAt: DateTime
              "When it was brought in from another system, if it was."
              importedAt: DateTime
              "Labels."
              tags: [String!]!
              "A property of the klass."
              orderNumber: String!
              "What the customer pays."
              total: Money
              "A property of the klass."
              status: OrderStatus
              "A property of the klass."
              placedAt: DateTime
              "Its klass."
              klass: Klass!
              "How it is named for people."
              title: String!
              "Its customer."
              customer: Customer
              "Its products."
              products(
                "Only those that match."
                filter: ProductFilter
                "Only those with these words in a searchable property."
                search: String
                "In this order: the first key counts most. The newest come first when none is given."
                orderBy: [OrderProductsOrder!]
                "How many from the beginning: 20 unless said, at most 200."
                first: Int
                "Only what comes behind this cursor."
                after: String
                "How many from the end."
                last: Int
                "Only what comes before this cursor."
                before: String
                "Deleted ones too."
                withDeleted: Boolean! = false
              ): OrderProductsConnection!
            }

            "A page of products."
            type OrderProductsConnection {
              "The objects of this page."
              nodes: [Product!]!
              "The objects of this page, each with its cursor."
              edges: [OrderProductsEdge!]!
              "Where this page stands in the list."
              pageInfo: PageInfo!
              "How many there are on all pages together."
              totalCount: Int!
              "The log's position as of this page: give it as `after` to a subscription to miss nothing."
              cursor: Cursor!
              "Numbers over all of them, on all pages."
              aggregate: ProductAggregate!
              "All of them, on all pages, gathered by what they share."
              groups(
                "What they must share."
                by: [ProductGroupKey!]!
                "Gathers the dates and times among the keys into buckets of this width."
                bucket: DateBucket
                "The time zone whose days and hours the buckets are."
                zone: TimeZone = "UTC"
                "Only groups that match."
                having: ProductHaving
                "In this order; by the keys when none is given."
                orderBy: [ProductGroupOrder!]
                "How many groups: at most 1000."
                first: Int! = 100
              ): [ProductGroup!]!
            }

            "One of a page of products."
            type OrderProductsEdge {
              "The object."
              node: Product!
              "Its position, for `after` and `before`."
              cursor: String!
              "A property of the link."
              quantity: Int
            }

            "One object, by exactly one key. (An upsert takes no `id`: it could not make one with it.)"
            input OrderKey @oneOf {
              "Its id."
              id: ID
              "A unique property."
              externalId: String
              "A unique property."
              orderNumber: String
            }
        "#]],
    );
}

#[test]
fn filters_and_orders() {
    check(
        &shop(),
        &[
            "OrderFilter",
            "OrderListFilter",
            "OrderCountFilter",
            "OrderProductsLinksFilter",
            "OrderProductsLinkedFilter",
            "OrderOrder",
            "OrderProductsOrder",
            "OrderProductsLinkOrder",
            "OrderStatusFilter",
        ],
        expect![[r#"
            "Which orders; all that is given must hold."
            input OrderFilter {
              "All of these hold."
              and: [OrderFilter!]
              "At least one of these holds."
              or: [OrderFilter!]
              "This does not hold."
              not: OrderFilter
              "Conditions on this property."
              id: IDFilter
              "Conditions on this property."
              externalId: StringFilter
              "Conditions on this property."
              version: IntFilter
              "Conditions on this property."
              createdAt: DateTimeFilter
              "Conditions on this property."
              updatedAt: DateTimeFilter
              "Conditions on this property."
              deletedAt: DateTimeFilter
              "Conditions on this property."
              importedAt: DateTimeFilter
              "Conditions on this property."
              tags: StringListFilter
              "Conditions on this property."
              orderNumber: StringFilter
              "What the customer pays."
              total: MoneyFilter
              "Conditions on this property."
              status: OrderStatusFilter
              "Conditions on this property."
              placedAt: DateTimeFilter
              "There is one, and it matches."
              customer: CustomerFilter
              "Conditions on the related ones."
              products: ProductListFilter
              "Conditions on the related ones and on the properties of the links to them."
              productsLinks: OrderProductsLinksFilter
            }

            "Which related orders there must be; all that is given must hold."
            input OrderListFilter {
              "At least one matches."
              some: OrderFilter
              "All match; true when there are none."
              every: OrderFilter
              "Not one matches."
              none: OrderFilter
              "How many there must be."
              count: OrderCountFilter
            }

            "How many of the related ones match; all comparisons that are given must hold."
            input OrderCountFilter {
              "Equals this."
              eq: Int
              "Does not equal this."
              ne: Int
              "Is greater than this."
              gt: Int
              "Is this or greater."
              gte: Int
              "Is less than this."
              lt: Int
              "Is this or less."
              lte: Int
              "Only these are counted: all when absent."
              filter: OrderFilter
            }

            "Which links there must be; all that is given must hold."
            input OrderProductsLinksFilter {
              "At least one matches."
              some: OrderProductsLinkedFilter
              "All match; true when there are none."
              every: OrderProductsLinkedFilter
              "Not one matches."
              none: OrderProductsLinkedFilter
            }

            "Conditions on a link and on the object to which it leads; all that are given must hold."
            input OrderProductsLinkedFilter {
              "All of these hold."
              and: [OrderProductsLinkedFilter!]
              "At least one of these holds."
              or: [OrderProductsLinkedFilter!]
              "This does not hold."
              not: OrderProductsLinkedFilter
              "On the link."
              link: OrderProductsLinkFilter
              "On the object."
              object: ProductFilter
            }

            "By what orders are ordered: exactly one; give a list for more."
            input OrderOrder @oneOf {
              "By this property."
              id: SortDirection
              "By this property."
              externalId: SortDirection
              "By this property."
              createdAt: SortDirection
              "By this property."
              updatedAt: SortDirection
              "By this property."
              orderNumber: SortDirection
              "What the customer pays."
              total: SortDirection
              "By this property."
              status: SortDirection
              "By something of the object at this end."
              customer: CustomerOrder
              "By how many there are at this end."
              products: CountOrder
            }

            "By what products are ordered: exactly one; give a list for more."
            input OrderProductsOrder @oneOf {
              "By this property."
              id: SortDirection
              "By this property."
              externalId: SortDirection
              "By this property."
              createdAt: SortDirection
              "By this property."
              updatedAt: SortDirection
              "By how many there are at this end."
              orders: CountOrder
              "By a property of the link that leads there."
              link: OrderProductsLinkOrder
            }

            "By a property of the link: exactly one."
            input OrderProductsLinkOrder @oneOf {
              "By this property."
              quantity: SortDirection
            }

            "Conditions on a value of `OrderStatus`."
            input OrderStatusFilter {
              "Equals this."
              eq: OrderStatus
              "Does not equal this, or has no value."
              ne: OrderStatus
              "Equals one of these."
              in: [OrderStatus!]
              "Equals none of these, or has no value."
              notIn: [OrderStatus!]
              "`true`: has no value; `false`: has one."
              isNull: Boolean
            }
        "#]],
    );
}

#[test]
fn a_far_klass_keeps_its_own_name_link() {
    let mut link = property("link", Kind::Url);
    link.indexed = true;
    let mut old = property("quantity", Kind::Integer { big: false });
    old.aliases.push(Alias {
        legal: "count".into(),
        reason: "Renamed to `quantity`.".into(),
    });
    let mut all = vec![klass("page", "pages", vec![link]), klass("menu", "menus", vec![])];
    let between = relate(
        &mut all,
        ("menu", "pages"),
        &["page"],
        Cardinality::Many,
        ("menus", Cardinality::Many),
        vec![old, property("extra", Kind::Json)],
    );
    check(
        &registry(all, vec![between]),
        &["MenuPagesOrder", "MenuPagesLinkOrder"],
        expect![[r#"
            "By what pages are ordered: exactly one; give a list for more."
            input MenuPagesOrder @oneOf {
              "By this property."
              id: SortDirection
              "By this property."
              externalId: SortDirection
              "By this property."
              createdAt: SortDirection
              "By this property."
              updatedAt: SortDirection
              "By this property."
              link: SortDirection
              "By how many there are at this end."
              menus: CountOrder
              "By a property of the link that leads there."
              pagesLink: MenuPagesLinkOrder
            }

            "By a property of the link: exactly one."
            input MenuPagesLinkOrder @oneOf {
              "By this property."
              quantity: SortDirection
              "By this property."
              count: SortDirection @deprecated(reason: "Renamed to `quantity`.")
            }
        "#]],
    );
}

#[test]
fn inputs_and_links() {
    check(
        &shop(),
        &[
            "CreateOrderInput",
            "UpdateOrderInput",
            "CustomerLink",
            "OrderLinks",
            "OrderProductsLinks",
            "OrderProductsConnect",
        ],
        expect![[r#"
            "A new object of klass `order`."
            input CreateOrderInput {
              "A property of the klass. Unique."
              externalId: String
              "A property of the klass."
              createdAt: DateTime
              "A property of the klass."
              importedAt: DateTime
              "A property of the klass."
              tags: [String!]
              "A property of the klass. Required. Unique."
              orderNumber: String
              "What the customer pays."
              total: MoneyInput
              "A property of the klass."
              status: OrderStatus
              "A property of the klass."
              placedAt: DateTime
              "Ties to other objects."
              customer: CustomerLink
              "Ties to other objects."
              products: OrderProductsLinks
            }

            "Changes to an object of klass `order`: what is absent stays, null clears."
            input UpdateOrderInput {
              "A property of the klass. Unique."
              externalId: String
              "A property of the klass."
              tags: [String!]
              "A property of the klass. Required. Unique."
              orderNumber: String
              "What the customer pays."
              total: MoneyInput
              "A property of the klass."
              status: OrderStatus
              "A property of the klass."
              placedAt: DateTime
              "Ties to other objects."
              customer: CustomerLink
              "Ties to other objects."
              products: OrderProductsLinks
            }

            "The object at a to-one end: exactly one of these."
            input CustomerLink @oneOf {
              "Ties to one that exists; it replaces whatever was tied."
              connect: CustomerKey
              "Makes one and ties to it."
              create: CreateCustomerInput
              "Makes or changes one and ties to it."
              upsert: UpsertCustomerInput
              "`true`: unties. The object itself stays."
              disconnect: Boolean
            }

            "Changes at a to-many end: all of them are made."
            input OrderLinks {
              "Ties to these, which exist."
              connect: [OrderKey!]
              "Makes these and ties to them."
              create: [CreateOrderInput!]
              "Makes or changes these and ties to them."
              upsert: [UpsertOrderInput!]
              "Unties these. The objects themselves stay."
              disconnect: [OrderKey!]
            }

            "Changes at a to-many end: all of them are made."
            input OrderProductsLinks {
              "Ties to these, which exist."
              connect: [OrderProductsConnect!]
              "Makes these and ties to them."
              create: [OrderProductsCreate!]
              "Makes or changes these and ties to them."
              upsert: [OrderProductsUpsert!]
              "Unties these. The objects themselves stay."
              disconnect: [ProductKey!]
            }

            "Ties to an object that exists; again: changes the link."
            input OrderProductsConnect {
              "Which."
              key: ProductKey!
              "The properties of the link."
              link: OrderProductsLinkInput
            }
        "#]],
    );
}

#[test]
fn numbers_and_groups() {
    check(
        &shop(),
        &[
            "OrderAggregate",
            "OrderSum",
            "OrderPercentile",
            "OrderGroup",
            "OrderGroupKeys",
            "OrderGroupKey",
            "OrderHaving",
            "OrderGroupOrder",
        ],
        expect![[r#"
            "Numbers over orders."
            type OrderAggregate {
              "How many there are."
              count: Int!
              "How many different values there are."
              countDistinct: OrderCountDistinct!
              "Sums. A sum of money is null where several currencies meet."
              sum: OrderSum!
              "Averages of those that have a value."
              avg: OrderAvg!
              "Smallest values."
              min: OrderMin!
              "Largest values."
              max: OrderMax!
              "Percentiles, interpolated: `total(p: 0.5)` is the median."
              percentile: OrderPercentile!
            }

            "Of orders, property by property. Sums. A sum of money is null where several currencies meet."
            type OrderSum {
              "What the customer pays."
              total: Money
            }

            "Of orders, property by property. Percentiles, interpolated: `total(p: 0.5)` is the median."
            type OrderPercentile {
              "What the customer pays."
              total(
                "Which: from 0 (smallest) to 1 (largest)."
                p: Float!
              ): Money
            }

            "A group of orders."
            type OrderGroup {
              "What they share."
              key: OrderGroupKeys!
              "How many they are."
              count: Int!
              "Numbers over them."
              aggregate: OrderAggregate!
            }

            "What a group of orders shares: fields that were not asked for in `by` are null."
            type OrderGroupKeys {
              "With `bucket`: the local date (`2026-11-01`) or hour (`2026-11-01T13:00`) at which the bucket begins."
              createdAt: String
              "With `bucket`: the local date (`2026-11-01`) or hour (`2026-11-01T13:00`) at which the bucket begins."
              updatedAt: String
              "A property."
              orderNumber: String
              "Its currency."
              total: String
              "A property."
              status: OrderStatus
              "With `bucket`: the local date (`2026-11-01`) or hour (`2026-11-01T13:00`) at which the bucket begins."
              placedAt: String
              "The object at this end."
              customer: Customer
              "A property."
              customer_name: String
            }

            "By what orders can be gathered; `x_y` is property `y` of the object at `x`."
            enum OrderGroupKey {
              "With `bucket`: the local date (`2026-11-01`) or hour (`2026-11-01T13:00`) at which the bucket begins."
              createdAt
              "With `bucket`: the local date (`2026-11-01`) or hour (`2026-11-01T13:00`) at which the bucket begins."
              updatedAt
              "A property."
              orderNumber
              "Its currency."
              total
              "A property."
              status
              "With `bucket`: the local date (`2026-11-01`) or hour (`2026-11-01T13:00`) at which the bucket begins."
              placedAt
              "The object at this end."
              customer
              "A property."
              customer_name
            }

            "Conditions on a group; all that are given must hold."
            input OrderHaving {
              "On how many they are."
              count: IntComparison
              "On this function."
              countDistinct: OrderHavingDistinct
              "On this function."
              sum: OrderHavingNumbers
              "On this function."
              avg: OrderHavingNumbers
              "On this function."
              min: OrderHavingValues
              "On this function."
              max: OrderHavingValues
              "On this function."
              percentile: OrderHavingPercentiles
            }

            "By what groups are ordered: exactly one."
            input OrderGroupOrder @oneOf {
              "By how many they are."
              count: SortDirection
              "By a key."
              key: OrderGroupKeyOrder
              "By this function."
              countDistinct: OrderDistinctOrder
              "By this function."
              sum: OrderNumbersOrder
              "By this function."
              avg: OrderNumbersOrder
              "By this function."
              min: OrderValuesOrder
              "By this function."
              max: OrderValuesOrder
              "By this function."
              percentile: OrderPercentilesOrder
            }
        "#]],
    );
}

#[test]
fn the_timeline() {
    check(
        &shop(),
        &["TimelineEntry", "TimelineKind", "TimelineChange"],
        expect![[r#"
        "Whatever may stand on a customer's timeline."
        union TimelineEntry = Order

        "A kind of timeline entry."
        enum TimelineKind {
          "An object of klass `order`."
          ORDER
        }

        "A message of `timeline`."
        type TimelineChange {
          "The entry as it is now; null when it is REMOVED and in CAUGHT_UP and RESYNC."
          entry: TimelineEntry
          "When it happened."
          at: DateTime
          "What kind of entry it is."
          kind: TimelineKind
          "By which channel it came, if by one."
          channel: String
          "What happened."
          change: ChangeKind!
          "The object's id."
          id: ID
          "The position right behind this message: give it as `after` to go on from here."
          cursor: Cursor
          "Why RESYNC is needed."
          reason: String
        }
    "#]],
    );
}

#[test]
fn a_polymorphic_end_is_a_union_one_way_and_a_field_for_each_klass_the_other() {
    let mut all = vec![klass("a", "as", vec![]), klass("b", "bs", vec![]), klass("note", "notes", vec![])];
    let relationships = vec![
        relate(
            &mut all,
            ("note", "subject"),
            &["a", "b"],
            Cardinality::One,
            ("notes", Cardinality::Many),
            vec![],
        ),
        relate(
            &mut all,
            ("note", "seen"),
            &["a", "b"],
            Cardinality::Many,
            ("seenBy", Cardinality::Many),
            vec![],
        ),
    ];
    let types = types(&registry(all, relationships));
    emit::emit(&types).unwrap_or_else(|error| panic!("{error}"));
    let note = types.object("Note").map(|o| {
        o.fields
            .iter()
            .filter(|(_, f)| f.ty.name() != "DateTime")
            .map(|(n, f)| format!("{n}: {}", f.ty))
    });
    let fields: Vec<String> = note.into_iter().flatten().skip_while(|f| !f.starts_with("title")).collect();
    assert_eq!(
        fields,
        [
            "title: String!",
            "subject: NoteSubject",
            "seenAs: AConnection!",
            "seenBs: BConnection!"
        ]
    );
    expect![[r#"
        "What `Note.subject` may be."
        union NoteSubject = A | B

        "By klass."
        input NoteSubjectLink @oneOf {
          "Where an object of klass `a` stands at the end."
          a: ALink
          "Where an object of klass `b` stands at the end."
          b: BLink
        }

        "By klass."
        input NoteSeenLinks {
          "Where an object of klass `a` stands at the end."
          a: ALinks
          "Where an object of klass `b` stands at the end."
          b: BLinks
        }

        "By klass: exactly one."
        input NoteSeenKey @oneOf {
          "An object of this klass."
          a: AKey
          "An object of this klass."
          b: BKey
        }
    "#]]
    .assert_eq(&print_some(
        &types,
        &["NoteSubject", "NoteSubjectLink", "NoteSeenLinks", "NoteSeenKey"],
    ));
    let filter = types
        .input("NoteFilter")
        .map(|i| i.fields.keys().any(|k| k == "subjectA") && i.fields.keys().any(|k| k == "seenBs"));
    assert_eq!(filter, Some(true));
}
