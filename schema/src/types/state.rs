//! What is told as it is now: who is there, a customer at a glance, how many match. Of these only the latest counts; see
//! `execute/subscribe/state.rs`.

use std::sync::Arc;

use async_graphql_value::{ConstValue, Name as ValueName};
use klio_entities::klass::Klass;

use super::model::{Argument, Field, Meaning};
use super::{Builder, Owner, Root, is_standard, kinds, list_req, names, object, req, t};

impl Builder<'_> {
    /// Presence, and the record of every count.
    pub(super) fn states(&mut self) {
        self.plain_enum(
            "PresenceActivity",
            "What somebody does at an object.",
            &[
                ("VIEWING", "Looks at it."),
                ("TYPING", "Types there."),
                ("GONE", "Does neither any more: is told as absent at once."),
            ],
        );
        self.record(
            "PresentActor",
            "Somebody who is at an object.",
            vec![
                ("actor", req("Actor"), "Who."),
                ("typing", req("Boolean"), "Types there, and does not only look."),
                ("since", req("DateTime"), "Since when."),
            ],
        );
        self.record(
            "ObjectPresence",
            "Who is at an object now.",
            vec![
                ("id", req("ID"), "The object's id."),
                (
                    "present",
                    list_req("PresentActor"),
                    "Those who look at it or type there: at most 200, by kind, id and name.",
                ),
            ],
        );
        self.record(
            "BeatPayload",
            "What became of a beat.",
            vec![
                (
                    "until",
                    t("DateTime"),
                    "Until when it is good: beat again well before, every five seconds or so. Null when one is gone, or was not heard.",
                ),
                (
                    "errors",
                    list_req("UserError"),
                    "What the caller did wrong: all of it. Empty when all went well.",
                ),
            ],
        );
        self.record(
            "ObjectCount",
            "How many objects there are now.",
            vec![("count", req("Int"), "How many.")],
        );

        let beat = Field::new(
            "beat",
            req("BeatPayload"),
            Meaning::Beat,
            "Tells all who listen that the caller is at an object. It is good for fifteen seconds, is told by no log and leaves no trace.",
        )
        .args(vec![
            Argument::plain("of", req("ID"), "The object."),
            Argument::plain("activity", req("PresenceActivity"), "What the caller does there.")
                .or(ConstValue::Enum(ValueName::new("VIEWING"))),
        ]);
        self.add_root(Root::Mutation, beat);
        let presence = Field::new(
            "presence",
            req("ObjectPresence"),
            Meaning::PresenceState,
            "Who is at an object, by their beats. A state: told at once, then whenever it changes; who is slow gets the latest.",
        )
        .args(vec![Argument::plain("of", req("ID"), "The object, of any klass.")]);
        self.add_root(Root::Subscription, presence);
    }

    /// `customerState`.
    pub(super) fn customer_state(&mut self, klasses: &[Arc<Klass>]) {
        let Some(customer) = klasses.iter().find(|klass| is_standard(klass, "customer")) else {
            return;
        };
        self.owner = Owner::BuiltIn;
        self.record(
            "ConversationCounts",
            "How many conversations a customer has.",
            vec![
                ("open", req("Int"), "That are open."),
                ("snoozed", req("Int"), "That are snoozed."),
                ("done", req("Int"), "That are done."),
                ("all", req("Int"), "In all."),
            ],
        );
        let mut state = object("CustomerState", "A customer at a glance, now.");
        let mut put = |name: &'static str, ty, text: &'static str| {
            state.fields.insert(name.into(), Field::new(name, ty, Meaning::Record(name), text));
        };
        put("id", req("ID"), "The customer's id.");
        put(
            "conversations",
            req("ConversationCounts"),
            "How many conversations the customer has.",
        );
        put("lastActivityAt", t("DateTime"), "When something last happened on the timeline.");
        if let Some(property) = customer.property("sentiment") {
            let ty = kinds::output(property.kind.item(), &customer.legal.type_name, &property.legal);
            put("sentiment", ty, "How the customer feels.");
        }
        put(
            "viewers",
            list_req("PresentActor"),
            "Those who look at the customer or type there, by their beats.",
        );
        self.add_object(state);
        let field = Field::new(
            "customerState",
            req("CustomerState"),
            Meaning::CustomerState(customer.clone()),
            "A customer at a glance. A state: told at once, then whenever it changes; who is slow gets the latest.",
        )
        .args(vec![Argument::plain("id", req("ID"), "The customer.")]);
        self.add_root(Root::Subscription, field);
    }

    /// `ordersCount`: a field for each klass, beside `orders`, since what may be asked of a klass is a type of its own.
    pub(super) fn count_field(&mut self, klass: &Arc<Klass>) {
        let field = Field::new(
            names::counted(klass),
            req("ObjectCount"),
            Meaning::Counted(Arc::clone(klass)),
            format!(
                "How many {} match, as `{}` would find them: exact, under the rights of who asks. A state: told at once, then whenever it changes; who is slow gets the latest.",
                klass.plural, klass.legal.plural
            ),
        );
        let args = vec![
            Argument::plain("filter", t(names::of_klass(klass, "Filter")), "Only those that match."),
            Argument::plain(
                "search",
                t("String"),
                "Only those that hold each of these words in a searchable property.",
            ),
        ];
        self.add_root(Root::Subscription, field.args(args));
    }
}
