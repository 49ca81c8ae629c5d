//! A customer's timeline: its entries, their kinds, and the stream of them.

use std::sync::Arc;

use klio_entities::klass::{Fault, Kind, Klass, Registry};

use super::model::{Argument, ByName, EnumMeaning, EnumType, EnumValue, Field, Meaning, Name, Type, UnionType};
use super::roots::{after, change_fields};
use super::{Builder, Owner, Root, base, is_standard, kinds, list, names, object, req, t};

/// Entries that stand for no object: kind's name, stored kind, type, what it is.
pub(crate) const EVENTS: [(&str, &str, &str, &str); 3] = [
    (
        "CONVERSATION_STATUS",
        "conversation.status",
        "ConversationStatusChange",
        "A conversation's status changed.",
    ),
    (
        "CONVERSATION_ASSIGNMENT",
        "conversation.assignment",
        "ConversationAssignmentChange",
        "A conversation was assigned to others.",
    ),
    (
        "CONVERSATION_CREATED",
        "conversation.created",
        "ConversationCreated",
        "A conversation began.",
    ),
];

/// `customer.timeline(…)`.
pub(super) fn field(registry: &Registry) -> Field {
    let mut args = base::page_args();
    args.extend(filters(&channel_type(registry)));
    args.push(Argument::plain("since", t("DateTime"), "Only what happened then or later."));
    args.push(Argument::plain("until", t("DateTime"), "Only what happened before then."));
    Field::new(
        "timeline",
        req("TimelineConnection"),
        Meaning::Timeline,
        "Everything that befell the customer, newest first.",
    )
    .args(args)
}

fn filters(channel: &str) -> Vec<Argument> {
    vec![
        Argument::plain("kinds", list("TimelineKind"), "Only entries of these kinds."),
        Argument::plain("channels", list(Name::of(channel)), "Only entries of these channels."),
    ]
}

impl Builder<'_> {
    /// Everything on this page; made last, since the union holds klasses of the org.
    pub(super) fn timeline(&mut self, klasses: &[Arc<Klass>]) {
        self.owner = Owner::BuiltIn;
        let on_it: Vec<&Arc<Klass>> = klasses.iter().filter(|k| k.timeline.is_some()).collect();
        let Some(_) = klasses.iter().find(|k| is_standard(k, "customer")) else {
            return;
        };
        let conversation = klasses.iter().find(|k| is_standard(k, "conversation"));
        let channel = channel_type(self.registry);

        let mut values = ByName::default();
        let value = |stored: &str, text: String| EnumValue {
            description: Some(text.into()),
            deprecated: None,
            means: EnumMeaning::Stored(stored.to_owned()),
        };
        let mut members = Vec::new();
        for klass in on_it {
            members.push(Name::from(&klass.legal.type_name));
            let kind = names::timeline_kind(klass);
            if values
                .insert(
                    Name::from(&kind),
                    value(&klass.name, format!("An object of klass `{}`.", klass.name)),
                )
                .is_some()
            {
                let fault = Fault::bad(
                    ["klasses", &klass.name],
                    format!("Klass `{}` needs the timeline kind `{kind}`, which another klass has", klass.name),
                )
                .remedy("Give one of the two another name.");
                self.faults.push(fault);
            }
        }
        if let Some(conversation) = conversation {
            for (kind, stored, ty, text) in EVENTS {
                if values.insert(kind.into(), value(stored, text.into())).is_some() {
                    let fault = Fault::bad(
                        ["klasses"],
                        format!("A klass needs the timeline kind `{kind}`, which the schema itself has"),
                    )
                    .remedy("Give the klass another name.");
                    self.faults.push(fault);
                }
                members.push(ty.into());
                self.event_type(ty, text, conversation);
            }
        }
        if members.is_empty() {
            // A union needs a member; without any klass on the timeline there is no timeline.
            if let Some(Type::Object(customer)) = self.types.get_mut("Customer") {
                customer.fields.shift_remove("timeline");
            }
            return;
        }
        self.add(
            "TimelineEntry".into(),
            Type::Union(UnionType {
                name: "TimelineEntry".into(),
                description: Some("Whatever may stand on a customer's timeline.".into()),
                members,
            }),
        );
        self.add_enum(EnumType {
            name: "TimelineKind".into(),
            description: Some("A kind of timeline entry.".into()),
            values,
        });

        let place = || {
            vec![
                Field::new("at", t("DateTime"), Meaning::TimelineField("at"), "When it happened."),
                Field::new(
                    "kind",
                    t("TimelineKind"),
                    Meaning::TimelineField("kind"),
                    "What kind of entry it is.",
                ),
                Field::new(
                    "channel",
                    t(&channel),
                    Meaning::TimelineField("channel"),
                    "By which channel it came, if by one.",
                ),
            ]
        };
        let mut connection = object("TimelineConnection", "A page of a customer's timeline.");
        base::connection_fields(&mut connection, "TimelineEntry", "TimelineEdge");
        self.add_object(connection);
        let mut edge = object("TimelineEdge", "An entry of a timeline, and its place there.");
        for mut field in place() {
            if field.name != "channel" {
                field.ty = field.ty.required();
            }
            edge.fields.insert(field.name.clone(), field);
        }
        edge.fields.insert(
            "node".into(),
            Field::new("node", req("TimelineEntry"), Meaning::EdgeNode, "The entry."),
        );
        edge.fields.insert(
            "cursor".into(),
            Field::new(
                "cursor",
                req("String"),
                Meaning::EdgeCursor,
                "Its position, for `after` and `before`.",
            ),
        );
        self.add_object(edge);

        let mut change = object("TimelineChange", "A message of `timeline`.");
        let entry = Field::new(
            "entry",
            t("TimelineEntry"),
            Meaning::Record("entry"),
            "The entry as it is now; null when it is REMOVED and in CAUGHT_UP and RESYNC.",
        );
        change.fields.insert("entry".into(), entry);
        for field in place().into_iter().chain(change_fields()) {
            let means = match field.means {
                Meaning::TimelineField(name) => Meaning::Record(name),
                other => other,
            };
            change.fields.insert(field.name.clone(), Field { means, ..field });
        }
        self.add_object(change);
        let mut args = vec![Argument::plain("customer", req("ID"), "Whose."), after()];
        args.extend(filters(&channel));
        let field = Field::new(
            "timeline",
            req("TimelineChange"),
            Meaning::TimelineChanged,
            "A customer's timeline, live.",
        )
        .args(args);
        self.add_root(Root::Subscription, field);

        if conversation.is_some() {
            let field = Field::new(
                "conversation",
                req("ObjectChange"),
                Meaning::ConversationChanged,
                "Everything about one conversation, live: itself, its messages and its notes.",
            )
            .args(vec![Argument::plain("id", req("ID"), "Which."), after()]);
            self.add_root(Root::Subscription, field);
        }
    }

    fn event_type(&mut self, name: &'static str, text: &'static str, conversation: &Arc<Klass>) {
        let mut it = object(name, text);
        for field in [
            Field::new("id", req("ID"), Meaning::TimelineField("id"), "The entry's id."),
            Field::new("at", req("DateTime"), Meaning::TimelineField("at"), "When it happened."),
            Field::new(
                "conversation",
                t(&conversation.legal.type_name),
                Meaning::TimelineField("conversation"),
                "The conversation.",
            ),
        ] {
            it.fields.insert(field.name.clone(), field);
        }
        let status = conversation.property("status").and_then(|p| match &p.kind {
            Kind::Enum(kind) => Some(kinds::enum_name(kind, &conversation.legal.type_name, &p.legal)),
            _ => None,
        });
        let ty = match name {
            "ConversationStatusChange" => Some(status.unwrap_or_else(|| "String".into())),
            "ConversationAssignmentChange" => Some("JSON".into()),
            _ => None,
        };
        if let Some(ty) = ty {
            for (name, text) in [("from", "As it was before."), ("to", "As it was from then on.")] {
                it.fields
                    .insert(name.into(), Field::new(name, t(&ty), Meaning::TimelineField(name), text));
            }
        }
        self.add_object(it);
    }
}

/// The type of a message's channel.
fn channel_type(registry: &Registry) -> String {
    registry
        .enabled()
        .find(|k| is_standard(k, "message"))
        .and_then(|k| Some((k, k.property("channel")?)))
        .and_then(|(k, p)| match &p.kind {
            Kind::Enum(kind) => Some(kinds::enum_name(kind, &k.legal.type_name, &p.legal)),
            _ => None,
        })
        .unwrap_or_else(|| "String".into())
}
