//! A subscription's result is what a fresh query would answer: a change of a related row that it reads is told as well.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Messages, World, each};

const RENAME: &str =
    "mutation($id: ID!, $name: String!) { updateCustomer(id: $id, set: {name: $name}) { cursor errors { code message } } }";
const UPDATE: &str = "mutation($id: ID!, $set: UpdateOrderInput!) { updateOrder(id: $id, set: $set) { cursor errors { code message } } }";

async fn write(world: &World, mutation: &str, variables: Json) -> String {
    let done = world.write(mutation, variables).await;
    assert_eq!(done["errors"], json!([]), "{mutation}");
    done["cursor"].as_str().unwrap_or_default().to_owned()
}

async fn product(world: &World, sku: &str) -> String {
    let create = "mutation($sku: String!) { createProduct(input: {sku: $sku}) { product { id } errors { code message } } }";
    let done = world.write(create, json!({"sku": sku})).await;
    done["product"]["id"].as_str().unwrap_or_else(|| panic!("{done}")).to_owned()
}

/// Listens, and has caught up.
async fn listen(world: &World, query: &str, variables: Json) -> Messages {
    let mut messages = world.listen(query, variables).await;
    assert_eq!(messages.next().await["change"], "CAUGHT_UP");
    messages
}

fn told<'m>(message: &'m Json, field: &str, name: &str) -> (&'m str, Option<&'m str>) {
    (
        message["change"].as_str().unwrap_or_default(),
        message[field].pointer(name).and_then(Json::as_str),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_what_the_selection_reads_is_a_change_of_the_object() {
    each(async |world| {
        world.shop().await;
        let (ann, bob) = (world.customer("Ann").await, world.customer("Bob").await);
        let tent = product(&world, "tent").await;
        let order = world
            .order(json!({"number": "A-1", "customer": {"connect": {"id": ann}}, "products": {"connect": [{"key": {"id": tent}, "link": {"quantity": 2}}]}}))
            .await;
        let other = world.order(json!({"number": "B-1", "customer": {"connect": {"id": bob}}})).await;

        // Through the order's own column, from the feed and from the customer's stream; and through a table of links, from elsewhere.
        let with_customer = "subscription($id: ID, $after: Cursor) { orderChanged(id: $id, after: $after) { change cursor id order { number customer { name } } } }";
        let mut feed = listen(&world, with_customer, json!({})).await;
        let mut one = listen(&world, with_customer, json!({"id": order})).await;
        let mut not_this = listen(&world, with_customer, json!({"id": other})).await;
        let with_products = "subscription($id: ID!) { orderChanged(id: $id) { change cursor order { products { nodes { sku } } } } }";
        let mut products = listen(&world, with_products, json!({"id": order})).await;
        let plain = "subscription { orderChanged { change order { number } } }";
        let mut plain = listen(&world, plain, json!({})).await;
        // Along a column of the far row, and what is counted there.
        let with_orders = "subscription($id: ID!) { customerChanged(id: $id) { change cursor customer { name orders { totalCount nodes { number } } } } }";
        let mut orders = listen(&world, with_orders, json!({"id": ann})).await;
        let timeline = "subscription($c: ID!) { timeline(customer: $c, kinds: [ORDER]) { change id kind entry { ... on Order { number products { nodes { sku } } } } } }";
        let mut entries = listen(&world, timeline, json!({"c": ann})).await;

        let behind = write(&world, RENAME, json!({"id": ann, "name": "Anna"})).await;
        let mut cursor = Json::Null;
        for messages in [&mut feed, &mut one] {
            let message = messages.next().await;
            assert_eq!(told(&message, "order", "/customer/name"), ("UPDATED", Some("Anna")), "{message}");
            assert_eq!(message["order"]["number"], "A-1");
            cursor = message["cursor"].clone();
        }
        assert_eq!(told(&orders.next().await, "customer", "/name"), ("UPDATED", Some("Anna")));
        // What is not read is no news, and neither is what was told.
        write(&world, "mutation($id: ID!) { updateCustomer(id: $id, set: {locale: \"de-CH\"}) { errors { code message } } }", json!({"id": ann})).await;
        let resku = "mutation($id: ID!, $sku: String!) { updateProduct(id: $id, set: {sku: $sku}) { errors { code message } } }";
        write(&world, resku, json!({"id": tent, "sku": "tent-2"})).await;
        let message = products.next().await;
        assert_eq!(told(&message, "order", "/products/nodes/0/sku"), ("UPDATED", Some("tent-2")), "{message}");
        let message = entries.next().await;
        assert_eq!(told(&message, "entry", "/products/nodes/0/sku"), ("UPDATED", Some("tent-2")), "{message}");
        assert_eq!((&message["id"], &message["kind"]), (&json!(order), &json!("ORDER")));
        // An order comes to the customer, and goes.
        write(&world, UPDATE, json!({"id": other, "set": {"customer": {"connect": {"id": ann}}}})).await;
        let mut message = orders.next().await;
        if message["customer"]["orders"]["totalCount"] == 1 {
            // (The customer's own change for the locale.)
            message = orders.next().await;
        }
        assert_eq!(message["customer"]["orders"]["totalCount"], 2, "{message}");
        write(&world, "mutation($id: ID!) { deleteOrder(id: $id) { errors { code message } } }", json!({"id": other})).await;
        assert_eq!(orders.next().await["customer"]["orders"]["totalCount"], 1);
        for messages in [&mut one, &mut plain, &mut products] {
            while let Some(message) = messages.soon().await {
                assert_ne!(message["order"]["number"], "A-1", "{message}");
            }
        }
        while let Some(message) = not_this.soon().await {
            assert!(["UPDATED", "REMOVED"].contains(&told(&message, "order", "").0), "{message}");
        }

        // Who was away hears of it, once.
        let mut late = world.listen(with_customer, json!({"id": order, "after": behind})).await;
        while late.next().await["change"] != "CAUGHT_UP" {}
        write(&world, RENAME, json!({"id": ann, "name": "Annie"})).await;
        let mut again = world.listen(with_customer, json!({"id": order, "after": cursor})).await;
        let message = again.next().await;
        assert_eq!(told(&message, "order", "/customer/name"), ("UPDATED", Some("Annie")), "{message}");
        assert_eq!(again.next().await["change"], "CAUGHT_UP");
        assert_eq!(told(&late.next().await, "order", "/customer/name"), ("UPDATED", Some("Annie")));
        assert_eq!(told(&one.next().await, "order", "/customer/name"), ("UPDATED", Some("Annie")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_reads_its_customer_and_those_who_have_it() {
    each(async |world| {
        let ann = world.customer("Ann").await;
        let begin = "mutation($c: ID!) { createConversation(input: {name: \"Hello\", customer: {connect: {id: $c}}}) { conversation { id } errors { code message } } }";
        let id = world.write(begin, json!({"c": ann})).await["conversation"]["id"].clone();
        let user = "mutation { createUser(input: {name: \"Uma\", email: \"uma@example.com\"}) { user { id } errors { code message } } }";
        let uma = world.write(user, json!({})).await["user"]["id"].clone();
        let assign = "mutation($id: ID!, $u: ID!) { updateConversation(id: $id, set: {assignedUsers: {connect: [{id: $u}]}}) { errors { code message } } }";
        write(&world, assign, json!({"id": id, "u": uma})).await;
        let near = "subscription($id: ID!) { conversation(id: $id) { change klass object { ... on Conversation { name customer { name } } } } }";
        let mut near = listen(&world, near, json!({"id": id})).await;
        let far = "subscription($id: ID!) { conversation(id: $id) { change klass object { ... on Conversation { name assignedUsers { nodes { name } } } ... on Message { body } } } }";
        let mut far = listen(&world, far, json!({"id": id})).await;

        write(&world, RENAME, json!({"id": ann, "name": "Anna"})).await;
        let message = near.next().await;
        assert_eq!(told(&message, "object", "/customer/name"), ("UPDATED", Some("Anna")), "{message}");
        let rename = "mutation($id: ID!) { updateUser(id: $id, set: {name: \"Una\"}) { errors { code message } } }";
        write(&world, rename, json!({"id": uma})).await;
        let message = far.next().await;
        assert_eq!(told(&message, "object", "/assignedUsers/nodes/0/name"), ("UPDATED", Some("Una")), "{message}");
        // What is said in it comes as it did.
        let say = "mutation($c: ID!) { createMessage(input: {body: \"Hi\", channel: EMAIL, direction: IN, conversation: {connect: {id: $c}}}) { errors { code message } } }";
        write(&world, say, json!({"c": id})).await;
        let mut bodies = Vec::new();
        while bodies.is_empty() {
            let message = far.next().await;
            bodies.extend(message["object"]["body"].as_str().map(str::to_owned));
        }
        assert_eq!(bodies, ["Hi"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_filter_reads_decides_who_comes_and_goes() {
    each(async |world| {
        world.shop().await;
        let (ann, bob) = (world.customer("Ann").await, world.customer("Bob").await);
        let query = "subscription($filter: CustomerFilter!) { customerChanged(filter: $filter) { change id customer { name } } }";
        let pending = json!({"filter": {"orders": {"some": {"status": {"eq": "PENDING"}}}}});
        let mut some = listen(&world, query, pending).await;
        let mut none = listen(
            &world,
            query,
            json!({"filter": {"orders": {"none": {"status": {"eq": "PENDING"}}}}}),
        )
        .await;
        let of_ann = "subscription { orderChanged(filter: {customer: {name: {eq: \"Ann\"}}}) { change id order { number } } }";
        let mut anns = listen(&world, of_ann, json!({})).await;

        let first = world
            .order(json!({"number": "A-1", "status": "PENDING", "customer": {"connect": {"id": ann}}}))
            .await;
        assert_eq!(told(&some.next().await, "customer", "/name"), ("ADDED", Some("Ann")));
        let message = none.next().await;
        assert_eq!((&message["change"], &message["id"]), (&json!("REMOVED"), &json!(ann)));
        assert_eq!(told(&anns.next().await, "order", "/number"), ("ADDED", Some("A-1")));
        // A second one: still in view, as what it reads has changed; then one less, and none.
        let second = world
            .order(json!({"number": "A-2", "status": "PENDING", "customer": {"connect": {"id": ann}}}))
            .await;
        assert_eq!(told(&some.next().await, "customer", "/name").0, "UPDATED");
        assert_eq!(told(&anns.next().await, "order", "/number"), ("ADDED", Some("A-2")));
        write(&world, UPDATE, json!({"id": first, "set": {"status": "IN_PROGRESS"}})).await;
        assert_eq!(told(&some.next().await, "customer", "/name").0, "UPDATED");
        assert_eq!(told(&anns.next().await, "order", "/number").0, "UPDATED");
        write(&world, UPDATE, json!({"id": second, "set": {"customer": {"connect": {"id": bob}}}})).await;
        let mut both = [some.next().await, some.next().await];
        both.sort_by_key(|message| message["change"].to_string());
        assert_eq!(told(&both[0], "customer", "/name"), ("ADDED", Some("Bob")));
        assert_eq!((&both[1]["change"], &both[1]["id"]), (&json!("REMOVED"), &json!(ann)));
        assert_eq!(told(&anns.next().await, "order", "").0, "REMOVED");
        let mut both = [none.next().await, none.next().await];
        both.sort_by_key(|message| message["change"].to_string());
        assert_eq!(told(&both[0], "customer", "/name"), ("ADDED", Some("Ann")));
        assert_eq!((&both[1]["change"], &both[1]["id"]), (&json!("REMOVED"), &json!(bob)));
        // The far row changes: those that read it come and go.
        write(&world, RENAME, json!({"id": ann, "name": "Anna"})).await;
        let message = anns.next().await;
        assert_eq!((&message["change"], &message["id"]), (&json!("REMOVED"), &json!(first)));
        write(&world, RENAME, json!({"id": bob, "name": "Ann"})).await;
        let message = anns.next().await;
        assert_eq!(told(&message, "order", "/number"), ("ADDED", Some("A-2")));
        anns.quiet().await;
    })
    .await;
}

/// The same throws each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// The objects of a page by id, without it.
fn by_id(page: &Json) -> BTreeMap<String, Json> {
    let mut all = BTreeMap::new();
    for mut node in page["nodes"].as_array().cloned().unwrap_or_default() {
        let id = node.as_object_mut().and_then(|it| it.remove("id"));
        all.insert(id.as_ref().and_then(Json::as_str).unwrap_or_default().to_owned(), node);
    }
    all
}

/// What a subscriber has, as messages tell it: objects by id.
struct Folded(BTreeMap<String, Json>);

impl Folded {
    /// Takes messages in until nothing more comes.
    async fn take(&mut self, messages: &mut Messages, field: &str) {
        while let Some(mut message) = messages.soon().await {
            let id = message["id"].as_str().unwrap_or_default().to_owned();
            match message["change"].as_str() {
                Some("ADDED" | "UPDATED") => drop(self.0.insert(id, message[field].take())),
                Some("REMOVED") => drop(self.0.remove(&id)),
                Some("CAUGHT_UP") => {}
                _ => panic!("{message}"),
            }
        }
    }
}

/// Writers change all sorts of rows; whatever a subscription's messages fold to is what a query answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_fold_to_what_a_query_answers() {
    each(async |world| {
        world.shop().await;
        let mut customers = Vec::new();
        for name in ["Ann", "Bob", "Cy"] {
            customers.push(world.customer(name).await);
        }
        let mut products = Vec::new();
        for sku in ["tent", "stove"] {
            products.push(product(&world, sku).await);
        }
        let order = "number status customer { name } products { totalCount nodes { sku } }";
        let customer = "name orders(orderBy: [{number: ASC}]) { totalCount nodes { number status products { nodes { sku } } } }";
        let (pending, named) = (json!({"orders": {"some": {"status": {"eq": "PENDING"}}}}), json!({"customer": {"name": {"startsWith": "A"}}}));
        let with = |object: &str, field: &str, ty: &str| {
            format!("subscription($filter: {ty}) {{ {field}Changed(filter: $filter) {{ change id {field} {{ {object} }} }} }}")
        };
        let query = |object: &str, plural: &str, ty: &str| format!("query($filter: {ty}) {{ {plural}(filter: $filter, first: 100) {{ nodes {{ id {object} }} }} }}");
        let all = [
            ("order", "orders", "OrderFilter", order, Json::Null),
            ("order", "orders", "OrderFilter", order, named),
            ("customer", "customers", "CustomerFilter", customer, Json::Null),
            ("customer", "customers", "CustomerFilter", customer, pending),
        ];
        let mut folded: Vec<(Messages, Folded)> = Vec::new();
        for (field, plural, ty, object, filter) in &all {
            let variables = if filter.is_null() { json!({}) } else { json!({ "filter": filter }) };
            let messages = listen(&world, &with(object, field, ty), variables.clone()).await;
            // What there is already, as a client would read it first.
            let page = world.data(&query(object, plural, ty), variables).await;
            let its = Folded(by_id(&page[plural]));
            folded.push((messages, its));
        }
        let writers = [11, 12].map(|seed| {
            let (world, customers, products) = (world.clone(), customers.clone(), products.clone());
            tokio::spawn(async move {
                let mut dice = Dice(seed);
                let mut orders: Vec<String> = Vec::new();
                for n in 0..40 {
                    let customer = customers[dice.throw(customers.len())].clone();
                    let product = products[dice.throw(products.len())].clone();
                    let status = ["PENDING", "IN_PROGRESS"][dice.throw(2)];
                    let mine = |dice: &mut Dice| orders.get(dice.throw(orders.len().max(1))).cloned();
                    match dice.throw(7) {
                        0 | 1 => {
                            let input = json!({"number": format!("{seed}-{n}"), "status": status, "customer": {"connect": {"id": customer}},
                                "products": {"connect": [{"key": {"id": product}}]}});
                            orders.push(world.order(input).await);
                        }
                        2 => {
                            let name = ["Ann", "Abe", "Bob", "Zoe"][dice.throw(4)];
                            write(&world, RENAME, json!({"id": customer, "name": name})).await;
                        }
                        3 => {
                            let Some(id) = mine(&mut dice) else { continue };
                            write(&world, UPDATE, json!({"id": id, "set": {"status": status}})).await;
                        }
                        4 => {
                            let Some(id) = mine(&mut dice) else { continue };
                            write(&world, UPDATE, json!({"id": id, "set": {"customer": {"connect": {"id": customer}}}})).await;
                        }
                        5 => {
                            let sku = format!("sku {seed} {n}");
                            let change = "mutation($id: ID!, $sku: String!) { updateProduct(id: $id, set: {sku: $sku}) { errors { code message } } }";
                            write(&world, change, json!({"id": product, "sku": sku})).await;
                        }
                        _ => {
                            let Some(id) = mine(&mut dice) else { continue };
                            orders.retain(|it| *it != id);
                            write(&world, "mutation($id: ID!) { deleteOrder(id: $id) { errors { code message } } }", json!({"id": id})).await;
                        }
                    }
                }
            })
        });
        for writer in writers {
            writer.await.expect("writes");
        }
        for ((messages, its), (field, plural, ty, object, filter)) in folded.iter_mut().zip(&all) {
            let variables = if filter.is_null() { json!({}) } else { json!({ "filter": filter }) };
            let page = world.data(&query(object, plural, ty), variables).await;
            let wanted = by_id(&page[plural]);
            // The feed shows what is committed once all older transactions of the server have ended, whosever they are.
            let began = std::time::Instant::now();
            while its.0 != wanted && began.elapsed() < std::time::Duration::from_secs(20) {
                its.take(messages, field).await;
            }
            assert_eq!(its.0, wanted, "{field} of {filter}");
        }
    })
    .await;
}
