//! Text in, text out: definitions before and after, and the SQL of the steps between them.

use expect_test::{Expect, expect};

use super::*;
use crate::klass::{OrgId, Registry, read, resolve, settle, standard};
use crate::store::ddl::tables;

fn registry(stored: &[crate::klass::definition::Stored]) -> Registry {
    resolve::resolve(OrgId(uuid::Uuid::nil()), "acme", 1, stored).expect("fits together")
}

/// The steps from one list of definitions to the next (those that are not repeated stay).
fn between(before: &[&str], after: &[&str]) -> Steps {
    let read = |texts: &[&str]| texts.iter().map(|t| read::from_toml(t).expect("well formed")).collect::<Vec<_>>();
    let old = settle::settle(standard::standard(), &[], read(before));
    let new = settle::settle(standard::standard(), &old, read(after));
    steps(&tables(&registry(&old)), &tables(&registry(&new)))
}

fn text(steps: &Steps, dialect: Dialect) -> String {
    let mut out = String::new();
    for (part, steps) in [
        ("expand", &steps.expand),
        ("indexes", &steps.indexes),
        ("after", &steps.after),
        ("contract", &steps.contract),
    ] {
        for sql in steps.iter().flat_map(|s| s.sql(dialect)) {
            out.push_str(&format!(
                "{part}: {}{}\n",
                sql.text,
                if sql.unless.is_some() { " [guarded]" } else { "" }
            ));
        }
    }
    out
}

fn check(steps: &Steps, postgres: Expect, sqlite: Expect) {
    postgres.assert_eq(&text(steps, Dialect::Postgres));
    sqlite.assert_eq(&text(steps, Dialect::Sqlite));
}

const ORDER: &str = r#"
name = "order"
[properties]
orderNumber = { kind = "string", unique = true }
total = { kind = "money", indexed = true }
[relationships]
customer = { to = "customer", kind = "one" }
"#;

#[test]
fn a_new_klass() {
    check(
        &between(&[], &[ORDER]),
        expect![[r#"
        expand: create table if not exists "org_acme"."order" ("id" uuid not null, "external_id" text, "version" bigint not null default 1, "created_at" timestamptz not null, "created_by" text not null, "updated_at" timestamptz not null, "updated_by" text not null, "deleted_at" timestamptz, "imported_at" timestamptz, "tags" jsonb not null default '[]', "order_number" text, "total" numeric, "total_currency" text, "customer_id" uuid, primary key ("id"))
        expand: create unique index if not exists "order_external_id_key" on "org_acme"."order" ("external_id")
        expand: create index if not exists "order_created_at_idx" on "org_acme"."order" ("created_at", "id")
        expand: create index if not exists "order_updated_at_idx" on "org_acme"."order" ("updated_at", "id")
        expand: create unique index if not exists "order_order_number_key" on "org_acme"."order" ("order_number")
        expand: create index if not exists "order_total_idx" on "org_acme"."order" ("total", "id")
        expand: create index if not exists "order_customer_id_idx" on "org_acme"."order" ("customer_id", "id")
        expand: alter table "org_acme"."order" add constraint "order_customer_id_fkey" foreign key ("customer_id") references "customer" (id) not valid [guarded]
        expand: alter table "org_acme"."order" validate constraint "order_customer_id_fkey" [guarded]
    "#]],
        expect![[r#"
        expand: create table if not exists "org_acme__order" ("id" blob not null, "external_id" text, "version" integer not null default 1, "created_at" integer not null, "created_by" text not null, "updated_at" integer not null, "updated_by" text not null, "deleted_at" integer, "imported_at" integer, "tags" text not null default '[]', "order_number" text, "total" integer, "total_currency" text, "customer_id" blob references "customer" (id), primary key ("id")) strict
        expand: create unique index if not exists "org_acme__order_external_id_key" on "org_acme__order" ("external_id")
        expand: create index if not exists "org_acme__order_created_at_idx" on "org_acme__order" ("created_at", "id")
        expand: create index if not exists "org_acme__order_updated_at_idx" on "org_acme__order" ("updated_at", "id")
        expand: create unique index if not exists "org_acme__order_order_number_key" on "org_acme__order" ("order_number")
        expand: create index if not exists "org_acme__order_total_idx" on "org_acme__order" ("total", "id")
        expand: create index if not exists "org_acme__order_customer_id_idx" on "org_acme__order" ("customer_id", "id")
    "#]],
    );
}

#[test]
fn a_kind_changes_its_storage() {
    let after = ORDER.replace(r#"orderNumber = { kind = "string""#, r#"orderNumber = { kind = "integer""#);
    check(
        &between(&[ORDER], &[&after]),
        expect![[r#"
        expand: alter table "org_acme"."order" add column if not exists "order_number_2" bigint
        indexes: drop index concurrently if exists "org_acme"."order_order_number_2_key" [guarded]
        indexes: create unique index concurrently if not exists "order_order_number_2_key" on "org_acme"."order" ("order_number_2")
        after: drop index concurrently if exists "org_acme"."order_order_number_key"
        contract: alter table if exists "org_acme"."order" drop column if exists "order_number"
    "#]],
        expect![[r#"
        expand: alter table "org_acme__order" add column "order_number_2" integer [guarded]
        indexes: create unique index if not exists "org_acme__order_order_number_2_key" on "org_acme__order" ("order_number_2")
        after: drop index if exists "org_acme__order_order_number_key"
        contract: alter table "org_acme__order" drop column "order_number" [guarded]
    "#]],
    );
}

#[test]
fn additions_to_a_standard_klass_and_a_link_table() {
    let customer = r#"
name = "customer"
[properties]
tier = { kind = "string", indexed = true }
contact = { kind = "email", indexed = true }
"#;
    let order = r#"
name = "order"
[properties]
orderNumber = { kind = "string" }
[relationships]
products = { to = "product", kind = "many", properties = { quantity = { kind = "integer" } } }
"#;
    let product = "name = \"product\"\n[properties]\ntitle = { kind = \"string\" }\n";
    check(
        &between(&[ORDER], &[customer, order, product]),
        expect![[r#"
        expand: create table if not exists "org_acme"."product" ("id" uuid not null, "external_id" text, "version" bigint not null default 1, "created_at" timestamptz not null, "created_by" text not null, "updated_at" timestamptz not null, "updated_by" text not null, "deleted_at" timestamptz, "imported_at" timestamptz, "tags" jsonb not null default '[]', "title" text, primary key ("id"))
        expand: create unique index if not exists "product_external_id_key" on "org_acme"."product" ("external_id")
        expand: create index if not exists "product_created_at_idx" on "org_acme"."product" ("created_at", "id")
        expand: create index if not exists "product_updated_at_idx" on "org_acme"."product" ("updated_at", "id")
        expand: create table if not exists "org_acme"."customer_extension" ("id" uuid not null, "tier" text, "contact" text, primary key ("id"))
        expand: create index if not exists "customer_extension_tier_idx" on "org_acme"."customer_extension" ("tier", "id")
        expand: create index if not exists "customer_extension_contact_lower_idx" on "org_acme"."customer_extension" (lower("contact"), "id")
        expand: create table if not exists "org_acme"."order_products" ("from_id" uuid not null, "to_id" uuid not null, "linked_at" timestamptz not null, "quantity" bigint, primary key ("from_id", "to_id"))
        expand: create index if not exists "order_products_to_id_idx" on "org_acme"."order_products" ("to_id", "from_id")
        expand: alter table "org_acme"."customer_extension" add constraint "customer_extension_id_fkey" foreign key ("id") references "customer" (id) on delete cascade not valid [guarded]
        expand: alter table "org_acme"."customer_extension" validate constraint "customer_extension_id_fkey" [guarded]
        expand: alter table "org_acme"."order_products" add constraint "order_products_from_id_fkey" foreign key ("from_id") references "org_acme"."order" (id) not valid [guarded]
        expand: alter table "org_acme"."order_products" validate constraint "order_products_from_id_fkey" [guarded]
        expand: alter table "org_acme"."order_products" add constraint "order_products_to_id_fkey" foreign key ("to_id") references "org_acme"."product" (id) not valid [guarded]
        expand: alter table "org_acme"."order_products" validate constraint "order_products_to_id_fkey" [guarded]
        after: drop index concurrently if exists "org_acme"."order_order_number_key"
        after: drop index concurrently if exists "org_acme"."order_total_idx"
        after: drop index concurrently if exists "org_acme"."order_customer_id_idx"
        contract: alter table if exists "org_acme"."order" drop column if exists "total"
        contract: alter table if exists "org_acme"."order" drop column if exists "total_currency"
        contract: alter table if exists "org_acme"."order" drop column if exists "customer_id"
    "#]],
        expect![[r#"
        expand: create table if not exists "org_acme__product" ("id" blob not null, "external_id" text, "version" integer not null default 1, "created_at" integer not null, "created_by" text not null, "updated_at" integer not null, "updated_by" text not null, "deleted_at" integer, "imported_at" integer, "tags" text not null default '[]', "title" text, primary key ("id")) strict
        expand: create unique index if not exists "org_acme__product_external_id_key" on "org_acme__product" ("external_id")
        expand: create index if not exists "org_acme__product_created_at_idx" on "org_acme__product" ("created_at", "id")
        expand: create index if not exists "org_acme__product_updated_at_idx" on "org_acme__product" ("updated_at", "id")
        expand: create table if not exists "org_acme__customer_extension" ("id" blob not null references "customer" (id) on delete cascade, "tier" text, "contact" text, primary key ("id")) strict
        expand: create index if not exists "org_acme__customer_extension_tier_idx" on "org_acme__customer_extension" ("tier", "id")
        expand: create index if not exists "org_acme__customer_extension_contact_lower_idx" on "org_acme__customer_extension" (fold("contact"), "id")
        expand: create table if not exists "org_acme__order_products" ("from_id" blob not null references "org_acme__order" (id), "to_id" blob not null references "org_acme__product" (id), "linked_at" integer not null, "quantity" integer, primary key ("from_id", "to_id")) strict
        expand: create index if not exists "org_acme__order_products_to_id_idx" on "org_acme__order_products" ("to_id", "from_id")
        after: drop index if exists "org_acme__order_order_number_key"
        after: drop index if exists "org_acme__order_total_idx"
        after: drop index if exists "org_acme__order_customer_id_idx"
        contract: alter table "org_acme__order" drop column "total" [guarded]
        contract: alter table "org_acme__order" drop column "total_currency" [guarded]
        contract: alter table "org_acme__order" drop column "customer_id" [guarded]
    "#]],
    );
}

#[test]
fn a_rename_and_a_description_need_no_step() {
    let after = ORDER.replace("total = {", r#"amount = { formerly = ["total"], description = "All of it.","#);
    assert!(between(&[ORDER], &[&after]).is_empty());
}

#[test]
fn a_flag_that_goes_takes_its_index() {
    let after = ORDER.replace(", unique = true", "").replace(", indexed = true", "");
    check(
        &between(&[ORDER], &[&after]),
        expect![[r#"
        after: drop index concurrently if exists "org_acme"."order_order_number_key"
        after: drop index concurrently if exists "org_acme"."order_total_idx"
    "#]],
        expect![[r#"
        after: drop index if exists "org_acme__order_order_number_key"
        after: drop index if exists "org_acme__order_total_idx"
    "#]],
    );
}
