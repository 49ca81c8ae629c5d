//! What an event means to a subscription: which objects it may have to tell of, and whether they were in view before and are now.
//! Pure; what the images of the event do not say is asked of the store by `subscribe`.

use std::collections::HashSet;
use std::sync::Arc;

use klio_entities::klass::registry::CustomerLink;
use klio_entities::klass::relationship::{Link, Side};
use klio_entities::klass::{End, Filter, Klass, ObjectId, Registry};
use klio_entities::store::event::{Event, EventOp, customer_stream, object_stream};
use serde_json::{Map, Value as Json};

use super::change::{Judgement, alive, judge};

/// An object's row by column, as the log keeps it.
pub type Image = Map<String, Json>;

/// What a subscription follows.
#[derive(Debug)]
pub enum Watch {
    /// The objects of a klass.
    Klass {
        /// The klass.
        klass: Arc<Klass>,
        /// Only this one.
        id: Option<ObjectId>,
        /// Only those that match.
        filter: Option<Filter>,
    },
    /// A customer's timeline.
    Timeline {
        /// Whose.
        customer: ObjectId,
        /// Only entries of these kinds, as stored.
        kinds: Option<HashSet<String>>,
        /// Only entries of these channels, as stored.
        channels: Option<HashSet<String>>,
    },
    /// A conversation, its messages and its notes.
    Conversation {
        /// Which.
        id: ObjectId,
        /// Whose it is.
        customer: Option<ObjectId>,
    },
    /// The definitions of klasses.
    Klasses,
}

/// What an event may mean.
#[derive(Debug, PartialEq)]
pub enum Matter {
    /// An object that is or was in view, or may be.
    Object {
        /// Its klass.
        klass: Arc<Klass>,
        /// Which.
        id: ObjectId,
        /// It was in view.
        before: Judgement,
        /// It is in view.
        after: Judgement,
    },
    /// What is read of an object beside itself has changed.
    Related {
        /// Its klass.
        klass: Arc<Klass>,
        /// Which.
        id: ObjectId,
        /// It is in view and was; unknown where the filter reads what has changed.
        after: Judgement,
        /// Of an entry of the timeline: when it stands there, as the store answers it.
        at: Json,
        /// Of an entry of the timeline: its channel, as stored.
        channel: Option<String>,
    },
    /// An entry of the timeline that stands for no object was written.
    Entry {
        /// Its kind, as stored.
        kind: &'static str,
        /// The conversation of which it tells.
        conversation: ObjectId,
    },
    /// A conversation goes to another customer or comes from one, and with it the entries of that sort that it has.
    Entries {
        /// Which.
        conversation: ObjectId,
        /// It comes.
        came: bool,
    },
    /// A klass was defined or changed.
    Klass(String),
    /// What is followed stands in another stream from here on.
    Moved {
        /// Its klass.
        klass: Arc<Klass>,
        /// Which.
        id: ObjectId,
    },
    /// So much changed at once that the client must read anew, and why.
    Reshaped(&'static str),
}

/// How the store's filter is read on an image; unknown where the image does not say.
pub type Reader<'a> = &'a dyn Fn(&Filter, &Klass, &Image) -> Judgement;

impl Watch {
    /// What an event means to it; `in_feed`: it is read in the feed, and not in the stream of what is followed.
    pub fn matters(&self, registry: &Registry, event: &Event, in_feed: bool, read: Reader<'_>) -> Vec<Matter> {
        let (before, after) = (event.before.as_ref(), event.after.as_ref());
        match self {
            Watch::Klasses if event.op == EventOp::Klass => vec![Matter::Klass(event.klass.clone())],
            Watch::Klasses => Vec::new(),
            _ => {
                let (Some(klass), Some(id)) = (registry.klass(&event.klass).filter(|k| k.enabled), event.object) else {
                    return Vec::new();
                };
                let home = at_home(klass, id, event);
                if in_feed && !home {
                    // The copy for those who follow the stream that the object has left; the feed has the other as well.
                    return Vec::new();
                }
                match self {
                    Watch::Klass {
                        klass: its,
                        id: only,
                        filter,
                    } => {
                        if its.name != klass.name || only.is_some_and(|only| only != id) {
                            return Vec::new();
                        }
                        let matches = |image: &Image| filter.as_ref().map_or(Some(true), |filter| read(filter, klass, image));
                        let mut out = vec![Matter::Object {
                            klass: klass.clone(),
                            id,
                            before: judge(before, matches),
                            after: judge(after, matches),
                        }];
                        if !home {
                            out.push(Matter::Moved { klass: klass.clone(), id });
                        }
                        out
                    }
                    Watch::Timeline { customer, kinds, channels } => {
                        let view = TimelineView {
                            customer: *customer,
                            kinds,
                            channels,
                        };
                        view.matters(klass, id, event)
                    }
                    Watch::Conversation {
                        id: conversation,
                        customer,
                    } => {
                        if klass.name == "conversation" && klass.standard {
                            if id != *conversation {
                                return Vec::new();
                            }
                            let always = |_: &Image| Some(true);
                            let mut out = vec![Matter::Object {
                                klass: klass.clone(),
                                id,
                                before: judge(before, always),
                                after: judge(after, always),
                            }];
                            if !in_feed && after.is_some_and(|it| customer_of(klass, id, it) != *customer) {
                                out.push(Matter::Moved { klass: klass.clone(), id });
                            }
                            return out;
                        }
                        let Some(column) = conversation_column(klass) else {
                            return Vec::new();
                        };
                        let belongs = |image: &Image| Some(reference(image, column) == Some(*conversation));
                        let (before, after) = (judge(before, belongs), judge(after, belongs));
                        if (before, after) == (Some(false), Some(false)) {
                            return Vec::new();
                        }
                        vec![Matter::Object {
                            klass: klass.clone(),
                            id,
                            before,
                            after,
                        }]
                    }
                    Watch::Klasses => Vec::new(),
                }
            }
        }
    }
}

struct TimelineView<'a> {
    customer: ObjectId,
    kinds: &'a Option<HashSet<String>>,
    channels: &'a Option<HashSet<String>>,
}

impl TimelineView<'_> {
    fn kind(&self, kind: &str) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(kind))
    }

    fn channel(&self, channel: Option<&str>) -> bool {
        self.channels
            .as_ref()
            .is_none_or(|channels| channel.is_some_and(|it| channels.contains(it)))
    }

    fn matters(&self, klass: &Arc<Klass>, id: ObjectId, event: &Event) -> Vec<Matter> {
        let (before, after) = (event.before.as_ref(), event.after.as_ref());
        let mine = |image: &Image| customer_of(klass, id, image) == Some(self.customer);
        let mut out = Vec::new();
        if klass.timeline.is_some() && self.kind(&klass.name) {
            let in_view = |image: &Image| Some(mine(image) && self.channel(channel_of(klass, image)));
            let (before, after) = (judge(before, in_view), judge(after, in_view));
            if (before, after) != (Some(false), Some(false)) {
                out.push(Matter::Object {
                    klass: klass.clone(),
                    id,
                    before,
                    after,
                });
            }
        }
        if !(klass.standard && klass.name == "conversation") {
            return out;
        }
        let (Some(after), true) = (alive(after), after.is_some_and(mine)) else {
            // It goes to another customer, and with it all that it left here.
            if before.is_some_and(mine) && after.is_some_and(|it| !mine(it)) {
                out.push(Matter::Entries {
                    conversation: id,
                    came: false,
                });
            }
            return out;
        };
        let mut entry = |kind: &'static str| {
            // None of these entries has a channel.
            if self.kind(kind) && self.channel(None) {
                out.push(Matter::Entry { kind, conversation: id });
            }
        };
        match before {
            None => entry("conversation.created"),
            Some(before) if !mine(before) => out.push(Matter::Entries {
                conversation: id,
                came: true,
            }),
            Some(before) => {
                if before.get("status") != after.get("status") {
                    entry("conversation.status");
                }
                if event.changed.iter().any(|name| name == "assignedUsers" || name == "assignedTeams") {
                    entry("conversation.assignment");
                }
            }
        }
        out
    }
}

/// An id in an image.
pub fn reference(image: &Image, column: &str) -> Option<ObjectId> {
    image.get(column)?.as_str()?.parse().ok().map(ObjectId)
}

/// The column of the to-one end through which objects of a klass belong to a customer.
pub fn customer_column(klass: &Klass) -> Option<&str> {
    let CustomerLink::Through(end) = &klass.customer else { return None };
    match &klass.end(end)?.relationship.link {
        Link::Column { column, .. } => Some(column),
        Link::Table { .. } => None,
    }
}

/// To which customer an object belongs.
pub fn customer_of(klass: &Klass, id: ObjectId, image: &Image) -> Option<ObjectId> {
    match &klass.customer {
        CustomerLink::Itself => Some(id),
        CustomerLink::Through(_) => reference(image, customer_column(klass)?),
        CustomerLink::None => None,
    }
}

/// The stream of an object, given its customer.
pub fn stream_of(klass: &Klass, id: ObjectId, customer: Option<ObjectId>) -> String {
    match customer {
        Some(customer) => customer_stream(customer.0),
        None => object_stream(&klass.name, id.0),
    }
}

/// Whether an event stands in the stream to which its object belongs now. (An object that moves leaves a copy in the old one.)
fn at_home(klass: &Klass, id: ObjectId, event: &Event) -> bool {
    match event.after.as_ref().or(event.before.as_ref()) {
        Some(image) => event.stream == stream_of(klass, id, customer_of(klass, id, image)),
        None => true,
    }
}

/// The channel under which an object stands on the timeline.
pub fn channel_of<'i>(klass: &Klass, image: &'i Image) -> Option<&'i str> {
    image.get("channel").filter(|_| klass.standard)?.as_str()
}

/// When an object stands on the timeline, as the log writes instants.
pub fn at_of<'i>(klass: &Klass, image: &'i Image) -> Option<&'i str> {
    let place = klass.timeline.as_ref()?;
    let own = klass.property(&place.at).and_then(|p| image.get(&p.column)).and_then(Json::as_str);
    own.or_else(|| image.get("created_at")?.as_str())
}

/// The end by which messages and notes belong to a conversation.
pub fn conversation_end(klass: &Klass) -> Option<&Arc<End>> {
    let leads = |end: &&Arc<End>| end.side == Side::From && end.legal == "conversation" && end.to == ["conversation"];
    klass.ends.iter().find(leads).filter(|_| klass.standard)
}

/// The column of that end.
pub fn conversation_column(klass: &Klass) -> Option<&str> {
    match &conversation_end(klass)?.relationship.link {
        Link::Column { column, .. } => Some(column),
        Link::Table { .. } => None,
    }
}
