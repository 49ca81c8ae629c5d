//! The nine questions: as GraphQL for the gateway, and as one hand-written statement for the floor, on each database.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::chance::Chance;

/// Objects to ask for.
#[derive(Debug, Default)]
pub struct Ids {
    /// Customers, those with the most conversations and orders first.
    pub customers: Vec<Uuid>,
    /// How many of the first of them are busy.
    pub busy: usize,
    /// Conversations.
    pub conversations: Vec<Uuid>,
}

/// A question.
pub struct Query {
    /// Q1 … Q9.
    pub name: &'static str,
    /// What it asks.
    pub what: &'static str,
    /// How much of the floor's requests per second the gateway must reach.
    pub bar: f64,
    /// As GraphQL.
    pub document: &'static str,
    /// As SQL for Postgres; its parameters stand in the order of the floor's variables.
    pub postgres: &'static str,
    /// As SQL for SQLite.
    pub sqlite: &'static str,
    /// What the statement's text answers, the floor puts between these two.
    pub wrap: (&'static str, &'static str),
    /// Variables for the gateway, and the same for the floor.
    pub variables: fn(&Ids, &mut Chance) -> (Json, Vec<Json>),
}

/// A TypeID (<https://github.com/jetify-com/typeid>): prefix and 26 letters in Crockford's base 32.
pub fn typeid(prefix: &str, id: Uuid) -> String {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let number = id.as_u128();
    let letters: String = (0..26)
        .rev()
        .map(|place| char::from(LETTERS[(number >> (5 * place)) as usize & 31]))
        .collect();
    format!("{prefix}_{letters}")
}

fn customer(ids: &Ids, chance: &mut Chance) -> (Json, Vec<Json>) {
    let id = chance.pick(&ids.customers);
    (json!({"id": typeid("customer", id)}), vec![json!(id)])
}

fn busy_customer(ids: &Ids, chance: &mut Chance) -> (Json, Vec<Json>) {
    let id = ids.customers[chance.below(ids.busy)];
    (json!({"id": typeid("customer", id)}), vec![json!(id)])
}

fn country(_: &Ids, chance: &mut Chance) -> (Json, Vec<Json>) {
    let country = chance.pick(&["US", "DE", "FR", "GB", "IT", "ES", "PL", "NL", "SE", "NO"]);
    (json!({"country": country}), vec![json!(country)])
}

fn nothing(_: &Ids, _: &mut Chance) -> (Json, Vec<Json>) {
    (json!({}), vec![])
}

fn spender(_: &Ids, chance: &mut Chance) -> (Json, Vec<Json>) {
    let status = chance.pick(&["pending", "processed", "cancelled"]);
    let amount = 500 + chance.below(1000);
    (
        json!({"status": status.to_uppercase(), "total": amount.to_string()}),
        vec![json!(status), json!(amount.to_string())],
    )
}

fn warehouse(_: &Ids, chance: &mut Chance) -> (Json, Vec<Json>) {
    let warehouse = format!("W{:03}", chance.below(100));
    (json!({"warehouse": warehouse}), vec![json!(warehouse)])
}

fn message(ids: &Ids, chance: &mut Chance) -> (Json, Vec<Json>) {
    let id = chance.pick(&ids.conversations);
    let body = format!(
        "Where is my parcel? I was told that it would be here on the {}th.",
        1 + chance.below(28)
    );
    (
        json!({"conversation": typeid("conversation", id), "body": body}),
        vec![json!(id), json!(body)],
    )
}

/// All questions.
pub const QUERIES: [Query; 9] = [
    Query {
        name: "Q1",
        what: "one customer by id, 6 fields",
        bar: 0.7,
        document: "query Q1($id: ID!) { customer(id: $id) { id name email phone lastActivityAt conversationCountOpen } }",
        postgres: "select json_build_object('id', id, 'name', name, 'email', email, 'phone', phone, 'lastActivityAt', last_activity_at, \
            'conversationCountOpen', conversation_count_open)::text from customer where id = $1 and deleted_at is null",
        sqlite: "select json_object('id', hex(id), 'name', name, 'email', email, 'phone', phone, 'lastActivityAt', last_activity_at, \
            'conversationCountOpen', conversation_count_open) from customer where id = ?1 and deleted_at is null",
        wrap: ("{\"data\":{\"customer\":", "}}"),
        variables: customer,
    },
    Query {
        name: "Q2",
        what: "a customer, 20 conversations with 5 messages each, 20 orders",
        bar: 0.8,
        document: "query Q2($id: ID!) { customer(id: $id) { id name email \
            conversations(first: 20, orderBy: [{lastMessageAt: DESC}]) { nodes { id name status lastMessageAt \
              messages(first: 5, orderBy: [{sentAt: DESC}]) { nodes { id direction channel preview sentAt } } } } \
            orders(first: 20, orderBy: [{placedAt: DESC}]) { nodes { id orderNumber status total { amount currency } placedAt } } } }",
        postgres: "select json_build_object('id', c.id, 'name', c.name, 'email', c.email, \
            'conversations', json_build_object('nodes', coalesce((select json_agg(json_build_object('id', v.id, 'name', v.name, 'status', v.status, \
              'lastMessageAt', v.last_message_at, 'messages', json_build_object('nodes', coalesce((select json_agg(json_build_object('id', m.id, \
                'direction', m.direction, 'channel', m.channel, 'preview', m.preview, 'sentAt', m.sent_at)) from (select id, direction, channel, preview, \
                sent_at from message where conversation_id = v.id and deleted_at is null order by sent_at desc, id desc limit 5) m), '[]'::json)))) \
              from (select id, name, status, last_message_at from conversation where customer_id = c.id and deleted_at is null \
                order by last_message_at desc nulls last, id desc limit 20) v), '[]'::json)), \
            'orders', json_build_object('nodes', coalesce((select json_agg(json_build_object('id', o.id, 'orderNumber', o.order_number, 'status', o.status, \
              'total', json_build_object('amount', o.total::text, 'currency', o.total_currency), 'placedAt', o.placed_at)) \
              from (select id, order_number, status, total, total_currency, placed_at from org_bench.\"order\" where customer_id = c.id \
                and deleted_at is null order by placed_at desc, id desc limit 20) o), '[]'::json)))::text \
            from customer c where c.id = $1 and c.deleted_at is null",
        sqlite: "select json_object('id', hex(c.id), 'name', c.name, 'email', c.email, \
            'conversations', json_object('nodes', json((select json_group_array(json_object('id', hex(v.id), 'name', v.name, 'status', v.status, \
              'lastMessageAt', v.last_message_at, 'messages', json_object('nodes', json((select json_group_array(json_object('id', hex(m.id), \
                'direction', m.direction, 'channel', m.channel, 'preview', m.preview, 'sentAt', m.sent_at)) from (select id, direction, channel, preview, \
                sent_at from message where conversation_id = v.id and deleted_at is null order by sent_at desc, id desc limit 5) m))))) \
              from (select id, name, status, last_message_at from conversation where customer_id = c.id and deleted_at is null \
                order by last_message_at desc nulls last, id desc limit 20) v))), \
            'orders', json_object('nodes', json((select json_group_array(json_object('id', hex(o.id), 'orderNumber', o.order_number, 'status', o.status, \
              'total', json_object('amount', o.total, 'currency', o.total_currency), 'placedAt', o.placed_at)) \
              from (select id, order_number, status, total, total_currency, placed_at from org_bench__order where customer_id = c.id \
                and deleted_at is null order by placed_at desc, id desc limit 20) o)))) \
            from customer c where c.id = ?1 and c.deleted_at is null",
        wrap: ("{\"data\":{\"customer\":", "}}"),
        variables: customer,
    },
    Query {
        name: "Q3",
        what: "50 customers of a country by lifetime value, company, 3 conversations each",
        bar: 0.8,
        document: "query Q3($country: String!) { customers(first: 50, filter: {country: {eq: $country}}, orderBy: [{lifetimeValue: DESC}]) { nodes { \
            id name email lifetimeValue { amount currency } company { id name } \
            conversations(first: 3, orderBy: [{lastMessageAt: DESC}]) { nodes { id status lastMessageAt } } } } }",
        postgres: "select coalesce(json_agg(json_build_object('id', t.id, 'name', t.name, 'email', t.email, \
            'lifetimeValue', case when t.lifetime_value is null then null else json_build_object('amount', t.lifetime_value::text, 'currency', t.lifetime_value_currency) end, \
            'company', (select json_build_object('id', k.id, 'name', k.name) from company k where k.id = t.company_id and k.deleted_at is null), \
            'conversations', json_build_object('nodes', coalesce((select json_agg(json_build_object('id', v.id, 'status', v.status, 'lastMessageAt', v.last_message_at)) \
              from (select id, status, last_message_at from conversation where customer_id = t.id and deleted_at is null \
                order by last_message_at desc nulls last, id desc limit 3) v), '[]'::json)))), '[]'::json)::text \
            from (select c.id, c.name, c.email, c.company_id, x.lifetime_value, x.lifetime_value_currency from org_bench.customer_extension x \
              join customer c on c.id = x.id where x.country = $1 and c.deleted_at is null order by x.lifetime_value desc nulls last, c.id desc limit 50) t",
        sqlite: "select json_group_array(json_object('id', hex(t.id), 'name', t.name, 'email', t.email, \
            'lifetimeValue', case when t.lifetime_value is null then null else json_object('amount', t.lifetime_value, 'currency', t.lifetime_value_currency) end, \
            'company', (select json_object('id', hex(k.id), 'name', k.name) from company k where k.id = t.company_id and k.deleted_at is null), \
            'conversations', json_object('nodes', json((select json_group_array(json_object('id', hex(v.id), 'status', v.status, 'lastMessageAt', v.last_message_at)) \
              from (select id, status, last_message_at from conversation where customer_id = t.id and deleted_at is null \
                order by last_message_at desc nulls last, id desc limit 3) v))))) \
            from (select c.id, c.name, c.email, c.company_id, x.lifetime_value, x.lifetime_value_currency from org_bench__customer_extension x \
              join customer c on c.id = x.id where x.country = ?1 and c.deleted_at is null order by x.lifetime_value desc nulls last, c.id desc limit 50) t",
        wrap: ("{\"data\":{\"customers\":{\"nodes\":", "}}}"),
        variables: country,
    },
    Query {
        name: "Q4",
        what: "conversations by status",
        bar: 1.0,
        document: "query Q4 { conversations { groups(by: [status]) { key { status } count } } }",
        postgres: "select json_agg(json_build_object('key', json_build_object('status', status), 'count', count))::text \
            from (select status, count(*) from conversation where deleted_at is null group by status order by status) t",
        sqlite: "select json_group_array(json_object('key', json_object('status', status), 'count', count)) \
            from (select status, count(*) as count from conversation where deleted_at is null group by status order by status) t",
        wrap: ("{\"data\":{\"conversations\":{\"groups\":", "}}}"),
        variables: nothing,
    },
    Query {
        name: "Q5",
        what: "create a message in a conversation",
        bar: 0.7,
        document: "mutation Q5($conversation: ID!, $body: String!) { createMessage(input: {channel: CHAT, direction: IN, body: $body, \
            conversation: {connect: {id: $conversation}}}) { message { id direction channel body sentAt conversation { id messageCountIn } } errors { message } cursor } }",
        postgres: "",
        sqlite: "",
        wrap: ("{\"data\":{\"createMessage\":", "}}"),
        variables: message,
    },
    Query {
        name: "Q6",
        what: "20 customers with some order of a status above an amount and no open conversation",
        bar: 0.8,
        document: "query Q6($status: OrderStatus!, $total: Decimal!) { customers(first: 20, filter: {orders: {some: {status: {eq: $status}, total: {gt: $total}}}, \
            conversations: {none: {status: {eq: OPEN}}}}) { nodes { id name email } } }",
        postgres: "select coalesce(json_agg(json_build_object('id', t.id, 'name', t.name, 'email', t.email)), '[]'::json)::text from (select c.id, c.name, c.email \
            from customer c where c.deleted_at is null and exists (select 1 from org_bench.\"order\" o where o.customer_id = c.id and o.status = $1 \
              and o.total > $2::text::numeric and o.deleted_at is null) \
            and not exists (select 1 from conversation v where v.customer_id = c.id and v.status = 'open' and v.deleted_at is null) order by c.id desc limit 20) t",
        sqlite: "select json_group_array(json_object('id', hex(t.id), 'name', t.name, 'email', t.email)) from (select c.id, c.name, c.email \
            from customer c where c.deleted_at is null and exists (select 1 from org_bench__order o where o.customer_id = c.id and o.status = ?1 \
              and o.total > ?2 * 10000 and o.deleted_at is null) \
            and not exists (select 1 from conversation v where v.customer_id = c.id and v.status = 'open' and v.deleted_at is null) order by c.id desc limit 20) t",
        wrap: ("{\"data\":{\"customers\":{\"nodes\":", "}}}"),
        variables: spender,
    },
    Query {
        name: "Q7",
        what: "the first 50 entries of a busy customer's timeline, typed",
        bar: 0.8,
        document: "query Q7($id: ID!) { customer(id: $id) { timeline(first: 50) { nodes { __typename \
            ... on Message { id direction channel preview sentAt } ... on Order { id orderNumber status total { amount currency } placedAt } \
            ... on ConversationCreated { at conversation { id name status } } } } } }",
        postgres: "select json_agg(case t.kind \
              when 'message' then (select json_build_object('__typename', 'Message', 'id', m.id, 'direction', m.direction, 'channel', m.channel, 'preview', m.preview, 'sentAt', m.sent_at) from message m where m.id = t.object_id) \
              when 'order' then (select json_build_object('__typename', 'Order', 'id', o.id, 'orderNumber', o.order_number, 'status', o.status, 'total', json_build_object('amount', o.total::text, 'currency', o.total_currency), 'placedAt', o.placed_at) from org_bench.\"order\" o where o.id = t.object_id) \
              else (select json_build_object('__typename', 'ConversationCreated', 'at', t.at, 'conversation', json_build_object('id', v.id, 'name', v.name, 'status', v.status)) from conversation v where v.id = t.object_id) end)::text \
            from (select kind, at, object_id from timeline_entry where customer_id = $1 and org_id = (select org_id from customer where id = $1) order by at desc, id desc limit 50) t",
        sqlite: "select json_group_array(json(case t.kind \
              when 'message' then (select json_object('__typename', 'Message', 'id', hex(m.id), 'direction', m.direction, 'channel', m.channel, 'preview', m.preview, 'sentAt', m.sent_at) from message m where m.id = t.object_id) \
              when 'order' then (select json_object('__typename', 'Order', 'id', hex(o.id), 'orderNumber', o.order_number, 'status', o.status, 'total', json_object('amount', o.total, 'currency', o.total_currency), 'placedAt', o.placed_at) from org_bench__order o where o.id = t.object_id) \
              else (select json_object('__typename', 'ConversationCreated', 'at', t.at, 'conversation', json_object('id', hex(v.id), 'name', v.name, 'status', v.status)) from conversation v where v.id = t.object_id) end)) \
            from (select kind, at, object_id from timeline_entry where customer_id = ?1 and org_id = (select org_id from customer where id = ?1) order by at desc, id desc limit 50) t",
        wrap: ("{\"data\":{\"customer\":{\"timeline\":{\"nodes\":", "}}}}"),
        variables: busy_customer,
    },
    Query {
        name: "Q8",
        what: "200 orders by a property, 12 properties each",
        bar: 0.8,
        document: "query Q8($warehouse: String!) { orders(first: 200, filter: {warehouse: {eq: $warehouse}}, orderBy: [{placedAt: DESC}]) { nodes { \
            id orderNumber status total { amount currency } placedAt warehouse channel itemCount city carrier weight expedited } } }",
        postgres: "select coalesce(json_agg(json_build_object('id', o.id, 'orderNumber', o.order_number, 'status', o.status, \
            'total', json_build_object('amount', o.total::text, 'currency', o.total_currency), 'placedAt', o.placed_at, 'warehouse', o.warehouse, 'channel', o.channel, \
            'itemCount', o.item_count, 'city', o.city, 'carrier', o.carrier, 'weight', o.weight::text, 'expedited', o.expedited)), '[]'::json)::text \
            from (select * from org_bench.\"order\" where warehouse = $1 and deleted_at is null order by placed_at desc, id desc limit 200) o",
        sqlite: "select json_group_array(json_object('id', hex(o.id), 'orderNumber', o.order_number, 'status', o.status, \
            'total', json_object('amount', o.total, 'currency', o.total_currency), 'placedAt', o.placed_at, 'warehouse', o.warehouse, 'channel', o.channel, \
            'itemCount', o.item_count, 'city', o.city, 'carrier', o.carrier, 'weight', o.weight, 'expedited', o.expedited)) \
            from (select * from org_bench__order where warehouse = ?1 and deleted_at is null order by placed_at desc, id desc limit 200) o",
        wrap: ("{\"data\":{\"orders\":{\"nodes\":", "}}}"),
        variables: warehouse,
    },
    Query {
        name: "Q9",
        what: "a page of 20 with totalCount",
        bar: 0.8,
        document: "query Q9($country: String!) { customers(first: 20, filter: {country: {eq: $country}}, orderBy: [{lifetimeValue: DESC}]) { totalCount nodes { id name email } } }",
        postgres: "select json_build_object('totalCount', (select count(*) from org_bench.customer_extension x join customer c on c.id = x.id \
              where x.country = $1 and c.deleted_at is null), \
            'nodes', coalesce((select json_agg(json_build_object('id', t.id, 'name', t.name, 'email', t.email)) from (select c.id, c.name, c.email \
              from org_bench.customer_extension x join customer c on c.id = x.id where x.country = $1 and c.deleted_at is null \
              order by x.lifetime_value desc nulls last, c.id desc limit 20) t), '[]'::json))::text",
        sqlite: "select json_object('totalCount', (select count(*) from org_bench__customer_extension x join customer c on c.id = x.id \
              where x.country = ?1 and c.deleted_at is null), \
            'nodes', json((select json_group_array(json_object('id', hex(t.id), 'name', t.name, 'email', t.email)) from (select c.id, c.name, c.email \
              from org_bench__customer_extension x join customer c on c.id = x.id where x.country = ?1 and c.deleted_at is null \
              order by x.lifetime_value desc nulls last, c.id desc limit 20) t)))",
        wrap: ("{\"data\":{\"customers\":", "}}"),
        variables: country,
    },
];
